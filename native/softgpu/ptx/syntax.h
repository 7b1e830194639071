// A function body as it stands in the text: statements with resolved registers, variables and
// labels.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "softgpu/ptx/text.h"
#include "softgpu/ptx/types.h"

namespace vgpu::softgpu::ptx {

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kParam, kConst, kReg };

// A .param, .local or .shared variable of a function, formal parameters included.
struct LocalVariable {
  std::string_view name;
  Space space = Space::kLocal;
  Type type = Type::kB8;
  uint64_t size = 0;
  uint64_t align = 1;
  uint64_t offset = 0;        // within the frame's area of its space
  uint32_t reg = UINT32_MAX;  // formal .reg parameter: its register
};

struct Operand {
  enum class Kind : uint8_t {
    kNone,
    kRegister,   // reg
    kImmediate,  // literal, bits
    kVariable,   // reg indexes Body::variables; offset
    kSymbol,     // a name of the module; offset
    kSpecial,    // a special register by name
    kSink,       // _
    kVector,     // {a, b}: parts
    kAddress,    // [a+offset]: parts[0] is the base, further parts are coordinates
    kPair,       // p|q: parts
    kList,       // (a, b) of a call: parts
  };
  Kind kind = Kind::kNone;
  bool negated = false;  // !p, and -a of vmad
  Literal::Kind literal = Literal::Kind::kInteger;
  uint32_t reg = 0;
  uint64_t bits = 0;
  int64_t offset = 0;
  std::string_view name;
  std::string_view select;  // `h1` of %r2.h1: the part that a video instruction takes
  std::vector<Operand> parts;

  [[nodiscard]] bool is(Kind k) const { return kind == k; }
};

struct Statement {
  std::string_view opcode;      // whole, with its modifiers
  uint32_t guard = UINT32_MAX;  // predicate register
  bool guard_negated = false;
  std::vector<Operand> operands;
  std::vector<uint32_t> targets;  // statements that a branch goes to
  size_t position = 0;
  uint32_t loc = 0;  // index into Body::locs, 0: none
};

struct Prototype {
  std::vector<LocalVariable> results, parameters;
};

struct Loc {
  uint32_t file = 0, line = 0;
};

struct Body {
  std::vector<Type> registers;
  std::vector<LocalVariable> variables;  // formal results, formal parameters, then locals
  std::vector<Statement> statements;
  std::vector<Prototype> prototypes;  // .callprototype; a call's operand `reg` indexes it
  std::vector<Loc> locs{Loc{}};
  uint64_t param_bytes = 0;  // frame area of .param variables; call sequences share it
  uint64_t local_bytes = 0;
  uint64_t shared_bytes = 0;
};

// The head of a .entry or .func.
struct Signature {
  std::string_view name;
  bool entry = false;
  bool external = false, visible = false, weak = false;
  std::vector<LocalVariable> results, parameters;
  std::map<std::string_view, std::vector<uint64_t>> directives;  // .maxntid and the like
  size_t position = 0;
  size_t body_begin = std::string_view::npos;  // at the opening brace; npos: a declaration
  size_t body_end = 0;                         // at the closing brace
};

struct SyntaxError {
  size_t position = 0;
  std::string message;
};

// Offsets of parameters in order, each at its own alignment; returns the total size.
uint64_t lay_out(std::vector<LocalVariable>& variables);

// `(.param .u64 a, .param .align 8 .b8 b[24])`, the opening parenthesis already taken.
bool parse_formals(Lexer& lexer, std::vector<LocalVariable>& out, SyntaxError& error);

bool parse_body(std::string_view text, const Signature& signature, Body& out, SyntaxError& error);

}  // namespace vgpu::softgpu::ptx

// Statements of a function body (PTX ISA section 4.3), with scopes, labels and register ranges.
#include <algorithm>

#include "softgpu/ptx/constant.h"
#include "softgpu/ptx/scope.h"
#include "softgpu/ptx/syntax.h"

namespace vgpu::softgpu::ptx {
namespace {

class BodyParser {
 public:
  BodyParser(std::string_view text, const Signature& signature, Body& out, SyntaxError& error)
      : lexer_(text, signature.body_begin), signature_(signature), out_(out), error_(error) {}

  bool parse() {
    open_scope();
    declare_formals(signature_.results);
    declare_formals(signature_.parameters);
    if (!lexer_.accept('{')) return fail("expected {");
    int depth = 1;
    while (depth > 0) {
      const Token& token = lexer_.peek();
      if (token.is('{')) {
        if (depth >= kMostScopes) return fail("blocks nest too deeply");
        lexer_.take();
        open_scope();
        ++depth;
      } else if (token.is('}')) {
        lexer_.take();
        scope_ = scopes_[scope_].parent;
        --depth;
      } else if (token.is(';')) {
        lexer_.take();
      } else if (token.kind == TokenKind::kEnd) {
        return fail("the body ends early");
      } else if (!parse_item()) {
        return false;
      }
    }
    return resolve_labels();
  }

 private:
  bool fail(std::string message) {
    error_ = {lexer_.peek().position, std::move(message)};
    return false;
  }
  bool expect(char c) {
    if (lexer_.accept(c)) return true;
    return fail(std::string("expected ") + c + " before '" + std::string(lexer_.peek().text) + "'");
  }
  void open_scope() {
    const uint64_t param_end = scope_ < 0 ? 0 : scope().param_end;
    scopes_.push_back({.parent = scope_, .param_end = param_end});
    scope_ = static_cast<int>(scopes_.size()) - 1;
  }
  Scope& scope() { return scopes_[static_cast<size_t>(scope_)]; }

  void declare_formals(const std::vector<LocalVariable>& formals) {
    for (LocalVariable variable : formals) {
      if (variable.space == Space::kReg) {
        // The caller passes it in the parameter area like the others; the decoder moves it.
        variable.reg = static_cast<uint32_t>(out_.registers.size());
        variable.space = Space::kParam;
        out_.registers.push_back(variable.type);
        scope().registers[variable.name] = variable.reg;
      } else {
        scope().variables[variable.name] = static_cast<uint32_t>(out_.variables.size());
      }
      if (!signature_.entry && variable.space == Space::kParam) {
        place(variable, scope().param_end);
        out_.param_bytes = std::max(out_.param_bytes, scope().param_end);
      }
      out_.variables.push_back(variable);
    }
  }

  static void place(LocalVariable& variable, uint64_t& end) {
    // Words are the unit of the frame's parameter area.
    const uint64_t align = std::max<uint64_t>(variable.align, 4);
    variable.offset = (end + align - 1) / align * align;
    end = variable.offset + variable.size;
  }
  void place(LocalVariable& variable) {
    switch (variable.space) {
      case Space::kParam:
        place(variable, scope().param_end);
        out_.param_bytes = std::max(out_.param_bytes, scope().param_end);
        break;
      case Space::kLocal:
        place(variable, out_.local_bytes);
        break;
      default:
        place(variable, out_.shared_bytes);
        break;
    }
  }

  bool parse_item() {
    const Token& token = lexer_.peek();
    if (token.is('@')) return parse_statement();
    if (token.kind != TokenKind::kWord) {
      return fail("unexpected '" + std::string(token.text) + "'");
    }
    if (token.text[0] == '.') return parse_directive();
    // A label is a word followed by one colon.
    const Token word = token;
    Lexer ahead = lexer_;
    ahead.take();
    if (!ahead.peek().is(':')) return parse_statement();
    lexer_ = ahead;
    lexer_.take();
    return parse_label(word.text);
  }

  bool parse_label(std::string_view name) {
    if (lexer_.accept(".branchtargets") || lexer_.accept(".calltargets")) {
      std::vector<std::string_view> names;
      do {
        names.push_back(lexer_.take().text);
      } while (lexer_.accept(','));
      scope().tables[name] = std::move(names);
      return expect(';');
    }
    if (lexer_.accept(".callprototype")) return parse_prototype(name);
    scope().labels[name] = static_cast<uint32_t>(out_.statements.size());
    return true;
  }

  bool parse_prototype(std::string_view name) {
    Prototype prototype;
    if (lexer_.accept('(') && !parse_formals(lexer_, prototype.results, error_)) return false;
    lexer_.take();  // the placeholder name
    if (lexer_.accept('(') && !parse_formals(lexer_, prototype.parameters, error_)) return false;
    while (!lexer_.peek().is(';') && lexer_.peek().kind != TokenKind::kEnd) lexer_.take();
    lay_out(prototype.results);
    lay_out(prototype.parameters);
    scope().prototypes[name] = static_cast<uint32_t>(out_.prototypes.size());
    out_.prototypes.push_back(std::move(prototype));
    return expect(';');
  }

  bool parse_directive() {
    const Token word = lexer_.take();
    if (word.text == ".loc") return parse_loc();
    if (word.text == ".reg") return parse_registers();
    if (word.text == ".local") return parse_variable(Space::kLocal);
    if (word.text == ".shared") return parse_variable(Space::kShared);
    if (word.text == ".param") return parse_variable(Space::kParam);
    if (word.text == ".pragma" || word.text == ".file" || word.text == ".maxnreg") {
      while (!lexer_.peek().is(';') && lexer_.peek().kind != TokenKind::kEnd) lexer_.take();
      return expect(';');
    }
    error_ = {word.position, "unknown directive " + std::string(word.text)};
    return false;
  }

  bool parse_loc() {
    // .loc file line column [, function_name label [+ n], inlined_at file line column]
    Loc loc;
    loc.file = static_cast<uint32_t>(parse_literal(lexer_.take().text).bits);
    loc.line = static_cast<uint32_t>(parse_literal(lexer_.take().text).bits);
    lexer_.take();
    while (lexer_.accept(',')) {
      const bool inlined = lexer_.accept("inlined_at");
      if (!inlined) lexer_.take();
      if (inlined) {
        for (int i = 0; i < 3; ++i) lexer_.take();
      } else {
        lexer_.take();
        if (lexer_.accept('+')) lexer_.take();
      }
    }
    out_.locs.push_back(loc);
    return true;
  }

  bool parse_registers() {
    Type type = Type::kNone;
    uint32_t lanes = 1;
    while (lexer_.peek().kind == TokenKind::kWord && lexer_.peek().text[0] == '.') {
      const std::string_view word = lexer_.take().text.substr(1);
      if (type_of(word) != Type::kNone) {
        type = type_of(word);
      } else if (word == "v2" || word == "v4") {
        lanes = word == "v2" ? 2 : 4;
      } else {
        return fail("a register of type ." + std::string(word));
      }
    }
    if (type == Type::kNone) return fail("a register without a type");
    do {
      const std::string_view name = lexer_.take().text;
      const auto first = static_cast<uint32_t>(out_.registers.size());
      uint32_t count = lanes;
      if (lexer_.peek().is('<')) {
        if (lanes > 1) return fail("a range of vector registers");
        lexer_.take();
        count = static_cast<uint32_t>(
            std::min<uint64_t>(parse_literal(lexer_.take().text).bits, kMostRegisters + 1));
        if (!expect('>')) return false;
        scope().ranges.push_back({name, first, count});
      } else if (lanes > 1) {
        scope().vectors[name] = {first, lanes};
      } else {
        scope().registers[name] = first;
      }
      if (count > kMostRegisters || out_.registers.size() + count > kMostRegisters) {
        return fail("too many registers");
      }
      out_.registers.insert(out_.registers.end(), count, type);
    } while (lexer_.accept(','));
    return expect(';');
  }

  bool parse_variable(Space space) {
    LocalVariable variable;
    variable.space = space;
    uint64_t lanes = 1;
    bool aligned = false;
    while (lexer_.peek().kind == TokenKind::kWord && lexer_.peek().text[0] == '.') {
      const std::string_view word = lexer_.take().text.substr(1);
      if (word == "align") {
        variable.align = parse_literal(lexer_.take().text).bits;
        aligned = true;
      } else if (word == "v2" || word == "v4") {
        lanes = word == "v2" ? 2 : 4;
      } else {
        variable.type = type_of(word);
      }
    }
    do {
      LocalVariable one = variable;
      one.name = lexer_.take().text;
      one.size = size_of(one.type) * lanes;
      if (!aligned) one.align = std::max<uint64_t>(one.size, 1);
      if (lexer_.accept('<')) {
        return fail("a variable range is not supported");
      }
      bool unsized = false;
      if (!parse_extents(lexer_, one.size, unsized)) return fail("a malformed extent");
      if (unsized) one.size = 0;
      if (one.size > kMostVariableBytes || one.align == 0 || one.align > 65536) {
        return fail("a variable of absurd size");
      }
      place(one);
      if (out_.local_bytes > kMostLocalBytes) return fail("more than 512 KiB of local memory");
      if (out_.param_bytes > kMostParameterBytes || out_.shared_bytes > kMostVariableBytes) {
        return fail("variables of absurd size");
      }
      scope().variables[one.name] = static_cast<uint32_t>(out_.variables.size());
      out_.variables.push_back(one);
    } while (lexer_.accept(','));
    return expect(';');
  }

  bool parse_statement() {
    Statement statement;
    statement.loc = static_cast<uint32_t>(out_.locs.size()) - 1;
    if (lexer_.accept('@')) {
      statement.guard_negated = lexer_.accept('!');
      Operand guard;
      if (!find_register(lexer_.peek().text, guard)) return fail("unknown guard predicate");
      lexer_.take();
      statement.guard = guard.reg;
    }
    const Token opcode = lexer_.take();
    if (opcode.kind != TokenKind::kWord) return fail("expected an instruction");
    statement.opcode = opcode.text;
    statement.position = opcode.position;
    calls_ = opcode.text.starts_with("call");
    video_ = opcode.text[0] == 'v' && !opcode.text.starts_with("vote");
    if (!lexer_.peek().is(';')) {
      do {
        Operand operand;
        if (!parse_operand(operand)) return false;
        statement.operands.push_back(std::move(operand));
      } while (lexer_.accept(','));
    }
    if (!expect(';')) return false;
    statement_scopes_.push_back(scope_);
    out_.statements.push_back(std::move(statement));
    return true;
  }

  bool parse_list(char close, std::vector<Operand>& parts) {
    if (lexer_.accept(close)) return true;
    do {
      Operand part;
      if (!parse_operand(part)) return false;
      parts.push_back(std::move(part));
    } while (lexer_.accept(','));
    return expect(close);
  }

  bool parse_operand(Operand& out) {
    if (!parse_simple(out)) return false;
    if (lexer_.accept('|')) {
      Operand second;
      if (!parse_simple(second)) return false;
      Operand pair;
      pair.kind = Operand::Kind::kPair;
      pair.parts = {std::move(out), std::move(second)};
      out = std::move(pair);
    }
    return true;
  }

  // Operands nest once or twice; a fuzzed text must not nest without end.
  bool parse_simple(Operand& out) {
    if (depth_ > 8) return fail("operands nest too deeply");
    ++depth_;
    const bool good = parse_nested(out);
    --depth_;
    return good;
  }

  bool parse_nested(Operand& out) {
    const Token token = lexer_.take();
    if (token.is('[')) return parse_address(out);
    if (token.is('{')) {
      out.kind = Operand::Kind::kVector;
      return parse_list('}', out.parts);
    }
    if (token.is('(') && calls_) {
      out.kind = Operand::Kind::kList;
      return parse_list(')', out.parts);
    }
    if (starts_expression(token)) {
      lexer_.seek(token.position);
      out.kind = Operand::Kind::kImmediate;
      return parse_constant(lexer_, out.bits) || fail("a malformed constant expression");
    }
    if (token.is('!')) {
      if (!parse_simple(out)) return false;
      out.negated = !out.negated;
      return true;
    }
    if (token.is('-') || token.is('+')) {
      if (video_ && token.is('-') && lexer_.peek().kind == TokenKind::kWord) {
        out.negated = true;
        return parse_name(lexer_.take().text, out);
      }
      const Token number = lexer_.take();
      if (number.kind != TokenKind::kNumber) return fail("expected a number");
      return set_literal(number.text, token.is('-'), out);
    }
    if (token.kind == TokenKind::kNumber) return set_literal(token.text, false, out);
    if (token.kind == TokenKind::kWord) return parse_name(token.text, out);
    error_ = {token.position, "unexpected '" + std::string(token.text) + "'"};
    return false;
  }

  // An integer with an operator before or after it; a sign alone is part of a literal.
  bool starts_expression(const Token& first) {
    if (first.is('(')) return true;
    const Token& next = lexer_.peek();
    if (first.is('!') || first.is('~')) return next.kind == TokenKind::kNumber || next.is('(');
    Token number = first;
    Lexer ahead = lexer_;
    if (first.is('-') || first.is('+')) {
      if (next.is('(')) return true;
      number = ahead.take();
    }
    if (number.kind != TokenKind::kNumber || !continues_constant(ahead.peek())) return false;
    return parse_literal(number.text).kind == Literal::Kind::kInteger;
  }

  bool set_literal(std::string_view text, bool negative, Operand& out) {
    const Literal literal = parse_literal(text);
    if (!literal.valid) return fail("a malformed number " + std::string(text));
    out.kind = Operand::Kind::kImmediate;
    out.literal = literal.kind;
    out.bits = literal.bits;
    if (negative) {
      switch (literal.kind) {
        case Literal::Kind::kInteger:
          out.bits = ~out.bits + 1;
          break;
        case Literal::Kind::kSingle:
          out.bits ^= 0x80000000u;
          break;
        case Literal::Kind::kDouble:
          out.bits ^= uint64_t{1} << 63;
          break;
      }
    }
    return true;
  }

  bool parse_name(std::string_view name, Operand& out) {
    if (name == "_") {
      out.kind = Operand::Kind::kSink;
      return true;
    }
    if (find_register(name, out)) return true;
    if (find_variable(name, out)) return parse_offset(out);
    if (name == "WARP_SZ") {
      out.kind = Operand::Kind::kImmediate;
      out.bits = 32;
      return true;
    }
    out.name = name;
    out.kind = is_special(name) ? Operand::Kind::kSpecial : Operand::Kind::kSymbol;
    return out.kind == Operand::Kind::kSpecial || parse_offset(out);
  }

  // `+4`, `-4`, `+-4` after a name.
  bool parse_offset(Operand& out) {
    while (lexer_.peek().is('+') || lexer_.peek().is('-')) {
      bool negative = false;
      while (lexer_.peek().is('+') || lexer_.peek().is('-')) {
        negative ^= lexer_.take().is('-');
      }
      const Literal literal = parse_literal(lexer_.take().text);
      if (!literal.valid) return fail("a malformed offset");
      const auto value = static_cast<int64_t>(literal.bits);
      out.offset += negative ? -value : value;
    }
    return true;
  }

  bool parse_address(Operand& out) {
    out.kind = Operand::Kind::kAddress;
    Operand base;
    if (!parse_simple(base)) return false;
    if (base.is(Operand::Kind::kRegister) || base.is(Operand::Kind::kImmediate)) {
      if (!parse_offset(base)) return false;
    }
    out.offset = base.offset;
    base.offset = 0;
    out.parts.push_back(std::move(base));
    while (lexer_.accept(',')) {
      Operand coordinate;
      if (!parse_simple(coordinate)) return false;
      out.parts.push_back(std::move(coordinate));
    }
    return expect(']');
  }

  bool find_register(std::string_view name, Operand& out) {
    for (int at = scope_; at >= 0; at = scopes_[static_cast<size_t>(at)].parent) {
      const Scope& here = scopes_[static_cast<size_t>(at)];
      const auto found = here.registers.find(name);
      if (found != here.registers.end()) {
        out.kind = Operand::Kind::kRegister;
        out.reg = found->second;
        return true;
      }
      for (const RegisterRange& range : here.ranges) {
        const auto number = number_after(name, range.prefix);
        if (number && *number < range.count) {
          out.kind = Operand::Kind::kRegister;
          out.reg = range.first + *number;
          return true;
        }
      }
      if (find_vector(here, name, out)) return true;
    }
    const size_t dot = name.rfind('.');
    if (!video_ || dot == std::string_view::npos || dot == 0) return false;
    out.select = name.substr(dot + 1);
    return find_register(name.substr(0, dot), out);
  }

  // A vector register, or one of its components.
  static bool find_vector(const Scope& here, std::string_view name, Operand& out) {
    if (here.vectors.empty()) return false;
    const size_t dot = name.rfind('.');
    const auto whole = here.vectors.find(name);
    if (whole != here.vectors.end()) {
      out.kind = Operand::Kind::kVector;
      for (uint32_t i = 0; i < whole->second.count; ++i) {
        Operand part;
        part.kind = Operand::Kind::kRegister;
        part.reg = whole->second.first + i;
        out.parts.push_back(std::move(part));
      }
      return true;
    }
    if (dot == std::string_view::npos || dot + 2 != name.size()) return false;
    const auto found = here.vectors.find(name.substr(0, dot));
    size_t component = std::string_view("xyzw").find(name[dot + 1]);
    if (component == std::string_view::npos) {
      component = std::string_view("rgba").find(name[dot + 1]);
    }
    if (found == here.vectors.end() || component >= found->second.count) return false;
    out.kind = Operand::Kind::kRegister;
    out.reg = found->second.first + static_cast<uint32_t>(component);
    return true;
  }

  bool find_variable(std::string_view name, Operand& out) {
    for (int at = scope_; at >= 0; at = scopes_[static_cast<size_t>(at)].parent) {
      const Scope& here = scopes_[static_cast<size_t>(at)];
      const auto found = here.variables.find(name);
      if (found == here.variables.end()) continue;
      out.kind = Operand::Kind::kVariable;
      out.name = name;
      out.reg = found->second;
      return true;
    }
    return false;
  }

  template <class Map>
  const typename Map::mapped_type* find_in_scopes(int from, Map Scope::* map,
                                                  std::string_view name) const {
    for (int at = from; at >= 0; at = scopes_[static_cast<size_t>(at)].parent) {
      const Map& here = scopes_[static_cast<size_t>(at)].*map;
      const auto found = here.find(name);
      if (found != here.end()) return &found->second;
    }
    return nullptr;
  }

  bool resolve_labels() {
    for (size_t i = 0; i < out_.statements.size(); ++i) {
      Statement& statement = out_.statements[i];
      const int from = statement_scopes_[i];
      if (statement.opcode.starts_with("bra")) {
        if (statement.operands.empty() || !resolve(from, statement.operands[0].name, statement)) {
          return unknown_label(statement);
        }
      } else if (statement.opcode.starts_with("brx")) {
        if (statement.operands.size() < 2) return unknown_label(statement);
        const auto* table = find_in_scopes(from, &Scope::tables, statement.operands[1].name);
        if (table == nullptr) return unknown_label(statement);
        targets_ += table->size();
        if (targets_ > kMostTargets) return unknown_label(statement);
        for (const std::string_view name : *table) {
          if (!resolve(from, name, statement)) return unknown_label(statement);
        }
      } else if (statement.opcode.starts_with("call") && !statement.operands.empty()) {
        Operand& last = statement.operands.back();
        if (last.is(Operand::Kind::kSymbol)) {
          const auto* prototype = find_in_scopes(from, &Scope::prototypes, last.name);
          const auto* table = find_in_scopes(from, &Scope::tables, last.name);
          if (prototype != nullptr) {
            last.reg = *prototype;
            last.bits = 1;  // marks a resolved prototype
          } else if (table != nullptr && !table->empty()) {
            last.name = table->front();  // all of .calltargets have one signature
          }
        }
      }
    }
    return true;
  }

  bool resolve(int from, std::string_view name, Statement& statement) {
    const uint32_t* target = find_in_scopes(from, &Scope::labels, name);
    if (target != nullptr) statement.targets.push_back(*target);
    return target != nullptr;
  }

  bool unknown_label(const Statement& statement) {
    error_ = {statement.position, "unknown label in " + std::string(statement.opcode)};
    return false;
  }

  Lexer lexer_;
  const Signature& signature_;
  Body& out_;
  SyntaxError& error_;
  std::vector<Scope> scopes_;
  std::vector<int> statement_scopes_;
  int scope_ = -1;
  int depth_ = 0;
  size_t targets_ = 0;
  bool calls_ = false;  // the statement at hand is a call
  bool video_ = false;  // the statement at hand is a video instruction
};

}  // namespace

bool parse_body(std::string_view text, const Signature& signature, Body& out, SyntaxError& error) {
  return BodyParser(text, signature, out, error).parse();
}

}  // namespace vgpu::softgpu::ptx

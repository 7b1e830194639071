#include "softgpu/ptx/module.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "softgpu/ptx/constant.h"
#include "softgpu/ptx/opcodes.h"

namespace vgpu::softgpu::ptx {

Builtin builtin_of(std::string_view name) {
  if (name == "vprintf") return Builtin::kPrintf;
  if (name == "malloc") return Builtin::kMalloc;
  if (name == "free") return Builtin::kFree;
  if (name == "__assertfail") return Builtin::kAssertFail;
  if (name == "cudaGraphSetConditional") return Builtin::kSetConditional;
  return Builtin::kNone;
}

// Module-level statements of one text (PTX ISA sections 5.1, 5.4, 11.1 to 11.6).
class ModuleParser {
 public:
  ModuleParser(ModuleText& module, size_t unit)
      : module_(module), unit_(*module.units_[unit]), unit_index_(unit), lexer_(unit_.text) {}

  bool parse(std::string& log) {
    while (lexer_.peek().kind != TokenKind::kEnd) {
      if (!parse_item()) {
        log += "line " + std::to_string(line_of(unit_.text, error_.position)) + ": " +
               error_.message + "\n";
        return false;
      }
    }
    if (unit_.version == 0) {
      log += "no .version directive: not a PTX text\n";
      return false;
    }
    return true;
  }

 private:
  struct Linkage {
    bool external = false, visible = false, weak = false;
  };

  bool fail(std::string message) {
    error_ = {lexer_.peek().position, std::move(message)};
    return false;
  }
  bool expect(char c) {
    if (lexer_.accept(c)) return true;
    return fail(std::string("expected ") + c + " before '" + std::string(lexer_.peek().text) + "'");
  }

  bool parse_item() {
    const Token token = lexer_.take();
    const std::string_view word = token.text;
    if (token.is(';')) return true;
    if (token.kind != TokenKind::kWord) return unexpected(token);
    if (word == ".version") return parse_version();
    if (word == ".target") return parse_target();
    if (word == ".address_size") {
      unit_.address_size = static_cast<int>(parse_literal(lexer_.take().text).bits);
      return unit_.address_size == 64 || fail("only 64-bit addresses are supported");
    }
    if (word == ".file" || word == ".loc") return skip_line(token.position);
    if (word == ".section") return skip_section();
    if (word == ".alias") return parse_alias();
    if (word == ".pragma" || word == ".abi_preserve" || word == ".abi_preserve_control") {
      return skip_statement();
    }
    return parse_symbol(token);
  }

  bool unexpected(const Token& token) {
    error_ = {token.position, "unexpected '" + std::string(token.text) + "'"};
    return false;
  }

  bool parse_symbol(Token token) {
    Linkage linkage;
    for (;; token = lexer_.take()) {
      const std::string_view word = token.text;
      if (word == ".extern") {
        linkage.external = true;
      } else if (word == ".visible") {
        linkage.visible = true;
      } else if (word == ".weak" || word == ".common") {
        linkage.weak = true;
      } else {
        break;
      }
    }
    const std::string_view word = token.text;
    if (word == ".entry" || word == ".func") return parse_function(word == ".entry", linkage);
    if (word == ".global") return parse_variable(Space::kGlobal, linkage);
    if (word == ".const") return parse_variable(Space::kConst, linkage);
    if (word == ".shared") return parse_variable(Space::kShared, linkage);
    if (word == ".tex") return parse_variable(Space::kGlobal, linkage);
    return unexpected(token);
  }

  // .alias name, function: another name of a function that is defined here (PTX ISA 11.6.7).
  bool parse_alias() {
    const std::string_view name = lexer_.take().text;
    if (!expect(',')) return false;
    const std::string_view aliased = lexer_.take().text;
    const auto found = unit_.functions.find(aliased);
    if (found == unit_.functions.end()) return fail("an alias of an unknown function");
    unit_.functions[name] = found->second;
    return expect(';');
  }

  bool parse_version() {
    const std::string_view text = lexer_.take().text;
    const size_t dot = text.find('.');
    const uint64_t major = parse_literal(text.substr(0, dot)).bits;
    const uint64_t minor =
        dot == std::string_view::npos ? 0 : parse_literal(text.substr(dot + 1)).bits;
    if (std::max(major, minor) > uint64_t{kMostNumber}) return fail("malformed .version");
    unit_.version = static_cast<int>(major * 10 + minor);
    return unit_.version > 0 || fail("malformed .version");
  }

  bool parse_target() {
    do {
      const std::string_view word = lexer_.take().text;
      if (word.starts_with("sm_")) {
        unit_.target = 0;
        for (const char c : word.substr(3)) {
          if (c >= '0' && c <= '9') unit_.target = unit_.target * 10 + (c - '0');
          if (unit_.target > kMostNumber) return fail("malformed .target");
        }
      }
    } while (lexer_.accept(','));
    return true;
  }

  bool skip_line(size_t position) {
    const size_t end = unit_.text.find('\n', position);
    lexer_.seek(end == std::string::npos ? unit_.text.size() : end);
    return true;
  }
  bool skip_section() {
    const size_t open = unit_.text.find('{', lexer_.peek().position);
    if (open == std::string::npos) return fail("a section without a body");
    const size_t close = closing_brace(unit_.text, open);
    if (close == std::string::npos) return fail("a section without an end");
    lexer_.seek(close + 1);
    return true;
  }
  bool skip_statement() {
    while (!lexer_.peek().is(';') && lexer_.peek().kind != TokenKind::kEnd) lexer_.take();
    return expect(';');
  }

  bool parse_function(bool entry, const Linkage& linkage) {
    auto function = std::make_unique<Function>();
    Signature& signature = function->signature;
    function->unit = unit_index_;
    signature.entry = entry;
    signature.external = linkage.external;
    signature.visible = linkage.visible;
    signature.weak = linkage.weak;
    signature.position = lexer_.peek().position;
    while (lexer_.accept(".attribute") || lexer_.accept(".noreturn")) {
      if (lexer_.accept('(')) skip_parentheses();
    }
    if (lexer_.accept('(') && !parse_formals(lexer_, signature.results, error_)) return false;
    if (lexer_.peek().kind != TokenKind::kWord) return fail("a function without a name");
    signature.name = lexer_.take().text;
    if (lexer_.accept('(') && !parse_formals(lexer_, signature.parameters, error_)) return false;
    const uint64_t results = lay_out(signature.results);
    const uint64_t parameters = lay_out(signature.parameters);
    if (parameters > (entry ? kMostKernelParameters : kMostParameters) ||
        results > kMostParameters) {
      return fail("parameters of absurd size");
    }
    if (!parse_performance(signature)) return false;
    if (lexer_.peek().is('{')) {
      signature.body_begin = lexer_.peek().position;
      signature.body_end = closing_brace(unit_.text, signature.body_begin);
      if (signature.body_end == std::string_view::npos) return fail("a body without an end");
      if (!known_opcodes(signature)) return false;
      lexer_.seek(signature.body_end + 1);
    } else if (!expect(';')) {
      return false;
    }
    add_function(std::move(function));
    return true;
  }

  bool known_opcodes(const Signature& signature) {
    const size_t at =
        first_unknown_opcode(unit_.text, signature.body_begin + 1, signature.body_end);
    if (at == std::string_view::npos) return true;
    const std::string_view rest = std::string_view(unit_.text).substr(at);
    const std::string_view word = rest.substr(0, rest.find_first_of(" \t\r\n;"));
    error_ = {at, "'" + std::string(word.substr(0, 40)) + "' is no PTX instruction"};
    return false;
  }

  void skip_parentheses() {
    int depth = 1;
    while (depth > 0 && lexer_.peek().kind != TokenKind::kEnd) {
      const Token token = lexer_.take();
      if (token.is('(')) ++depth;
      if (token.is(')')) --depth;
    }
  }

  bool parse_performance(Signature& signature) {
    while (lexer_.peek().kind == TokenKind::kWord && lexer_.peek().text[0] == '.') {
      const std::string_view word = lexer_.take().text;
      if (word == ".pragma") {
        if (!skip_statement()) return false;
        continue;
      }
      std::vector<uint64_t> values;
      while (lexer_.peek().kind == TokenKind::kNumber) {
        values.push_back(parse_literal(lexer_.take().text).bits);
        if (!lexer_.accept(',')) break;
      }
      signature.directives[word] = std::move(values);
    }
    return true;
  }

  void add_function(std::unique_ptr<Function> function) {
    const std::string_view name = function->signature.name;
    const auto known = unit_.functions.find(name);
    if (known != unit_.functions.end()) {
      Function& before = *module_.functions_[known->second];
      if (function->signature.body_begin == std::string_view::npos) return;
      if (before.signature.body_begin == std::string_view::npos) {
        const uint64_t handle = before.handle;
        const bool visible = before.signature.visible;
        before.signature = function->signature;
        before.signature.visible |= visible;
        before.handle = handle;
      }
      return;
    }
    const size_t index = module_.functions_.size();
    function->handle = kFirstHandle + index * 16;
    unit_.functions.emplace(name, index);
    module_.functions_.push_back(std::move(function));
  }

  bool parse_variable(Space space, const Linkage& linkage) {
    Type type = Type::kNone;
    uint64_t align = 0;
    uint64_t lanes = 1;
    while (lexer_.peek().kind == TokenKind::kWord && lexer_.peek().text[0] == '.') {
      const std::string_view word = lexer_.take().text.substr(1);
      if (word == "align") {
        align = parse_literal(lexer_.take().text).bits;
      } else if (word == "v2" || word == "v4") {
        lanes = word == "v2" ? 2 : 4;
      } else if (word == "attribute") {
        if (lexer_.accept('(')) skip_parentheses();
      } else if (word == "texref" || word == "surfref" || word == "samplerref") {
        type = Type::kU64;
      } else if (type_of(word) != Type::kNone) {
        type = type_of(word);
      }
    }
    do {
      if (!parse_declarator(space, linkage, type, align, lanes)) return false;
    } while (lexer_.accept(','));
    return expect(';');
  }

  bool parse_declarator(Space space, const Linkage& linkage, Type type, uint64_t align,
                        uint64_t lanes) {
    Variable variable;
    variable.name = lexer_.peek().text;
    if (lexer_.peek().kind != TokenKind::kWord) return fail("a variable without a name");
    const std::string_view name = lexer_.take().text;
    const uint64_t element = std::max<uint64_t>(size_of(type), 1);
    uint64_t count = lanes;
    bool unsized = false;
    std::vector<uint64_t> extents;
    if (!parse_extents(lexer_, count, unsized, &extents)) return fail("a malformed extent");
    if (count > kMostBytes) return fail("a variable of absurd size");
    if (lanes > 1) extents.push_back(lanes);
    // Bytes of one list at each depth of an initial value; the outermost is the whole variable.
    list_bytes_.assign(1, UINT64_MAX);
    for (size_t i = 1; i < extents.size(); ++i) {
      uint64_t bytes = element;
      for (size_t k = i; k < extents.size(); ++k) bytes *= extents[k];
      list_bytes_.push_back(bytes);
    }
    variable.size = unsized ? 0 : count * element;
    if (variable.size > kMostBytes) return fail("a variable of absurd size");
    variable.align = align != 0 ? align : element * lanes;
    if (variable.align > (1u << 20)) return fail("an absurd alignment");
    variable.constant = space == Space::kConst;
    variable.external = linkage.external;
    if (lexer_.accept('=') && !parse_initializer(element, type, variable)) return false;
    if (variable.initial.size() > variable.size && !unsized) variable.initial.resize(variable.size);
    if (unsized) variable.size = variable.initial.size();
    if (space == Space::kShared) {
      unit_.shared.emplace(name, module_.shared_.size());
      module_.shared_.push_back(
          {std::string(name), variable.size, variable.align, linkage.external || unsized});
      return true;
    }
    variable.weak = linkage.weak;
    return add_variable(name, linkage, std::move(variable));
  }

  bool add_variable(std::string_view name, const Linkage& linkage, Variable variable) {
    const bool shared_name = linkage.visible || linkage.weak || linkage.external;
    if (shared_name) {
      const auto known = module_.global_variables_.find(name);
      if (known != module_.global_variables_.end()) {
        Variable& before = module_.variables_[known->second];
        if (!before.external && !variable.external && !before.weak && !variable.weak) {
          return fail("Multiple definition of '" + std::string(name) + "'");
        }
        const bool stronger = before.external || (before.weak && !variable.weak);
        if (stronger && !variable.external) before = std::move(variable);
        unit_.variables.emplace(name, known->second);
        return true;
      }
    }
    const size_t index = module_.variables_.size();
    unit_.variables.emplace(name, index);
    if (shared_name) module_.global_variables_.emplace(name, index);
    module_.variables_.push_back(std::move(variable));
    return true;
  }

  bool parse_initializer(uint64_t element, Type type, Variable& variable) {
    if (lexer_.accept('{')) {
      const size_t depth = depth_++;
      if (depth >= list_bytes_.size() && depth > 0)
        return fail("an initial value nests too deeply");
      const size_t begin = variable.initial.size();
      while (!lexer_.accept('}')) {
        if (!parse_initializer(element, type, variable)) return false;
        if (!lexer_.accept(',') && !lexer_.peek().is('}')) return fail("expected , or }");
      }
      --depth_;
      if (depth == 0) return true;
      const uint64_t end = begin + list_bytes_[depth];
      if (variable.initial.size() > end) return fail("too many initial values");
      if (end > kMostInitial) return fail("an initial value of absurd size");
      variable.initial.resize(end);  // what is left out of an inner list is zero
      return true;
    }
    const size_t minus = lexer_.peek().position;
    const bool negative = lexer_.accept('-');
    const Token token = lexer_.take();
    uint64_t bits = 0;
    if (is_expression(token)) {
      lexer_.seek(negative ? minus : token.position);
      if (!parse_constant(lexer_, bits)) return fail("a malformed constant expression");
    } else if (token.kind == TokenKind::kNumber && lexer_.accept('(')) {
      if (!parse_masked(parse_literal(token.text).bits, variable)) return false;
    } else if (token.kind == TokenKind::kNumber) {
      bits = literal_bits(token.text, type);
      if (negative) bits = negate(bits, type);
    } else if (token.kind == TokenKind::kWord) {
      if (!parse_symbol_value(token, element, 0, variable)) return false;
    } else {
      return fail("malformed initial value");
    }
    const size_t at = variable.initial.size();
    if (at >= variable.size && variable.size != 0) return fail("too many initial values");
    variable.initial.resize(at + element);
    std::memcpy(variable.initial.data() + at, &bits, std::min<uint64_t>(element, 8));
    return true;
  }

  // More than a literal: a value that starts with an operator, or goes on with one.
  bool is_expression(const Token& token) {
    if (token.kind == TokenKind::kPunct) return token.is('(') || token.is('~') || token.is('!');
    return token.kind == TokenKind::kNumber && continues_constant(lexer_.peek()) &&
           parse_literal(token.text).kind == Literal::Kind::kInteger;
  }

  // 0xff00(name): one byte of an address (PTX ISA 5.4.4).
  bool parse_masked(uint64_t mask, Variable& variable) {
    const int shift = mask == 0 ? 0 : std::countr_zero(mask);
    if (shift % 8 != 0 || mask >> shift != 0xff) return fail("a mask that is no byte");
    return parse_symbol_value(lexer_.take(), 1, static_cast<uint8_t>(shift), variable) &&
           expect(')');
  }

  bool parse_symbol_value(Token token, uint64_t bytes, uint8_t shift, Variable& variable) {
    bool generic = false;
    if (token.text == "generic") {
      generic = true;
      if (!expect('(')) return false;
      token = lexer_.take();
    }
    if (bytes != 8 && bytes != 1) return fail("an address of this size");
    Variable::Relocation relocation{variable.initial.size(), std::string(token.text), 0,
                                    static_cast<uint8_t>(bytes), shift};
    if (generic && !expect(')')) return false;
    while (lexer_.peek().is('+') || lexer_.peek().is('-')) {
      const bool minus = lexer_.take().is('-');
      const auto value = static_cast<int64_t>(parse_literal(lexer_.take().text).bits);
      relocation.addend += minus ? -value : value;
    }
    variable.relocations.push_back(std::move(relocation));
    return true;
  }

  static uint64_t literal_bits(std::string_view text, Type type) {
    const Literal literal = parse_literal(text);
    if (literal.kind == Literal::Kind::kSingle && type == Type::kF64) {
      return std::bit_cast<uint64_t>(
          static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(literal.bits))));
    }
    if (literal.kind == Literal::Kind::kDouble && type == Type::kF32) {
      return std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(literal.bits)));
    }
    return literal.bits;
  }
  static uint64_t negate(uint64_t bits, Type type) {
    if (type == Type::kF64) return bits ^ (uint64_t{1} << 63);
    if (type == Type::kF32) return bits ^ 0x80000000u;
    return ~bits + 1;
  }

  static constexpr int kMostNumber = 9999;  // in .version and .target
  static constexpr uint64_t kMostBytes = uint64_t{1} << 32;
  static constexpr uint64_t kMostKernelParameters = 32764;  // PTX ISA 11.4.1
  static constexpr uint64_t kMostParameters = 1 << 20;
  static constexpr uint64_t kMostInitial = uint64_t{1} << 28;  // short texts must not fill memory
  static constexpr uint64_t kFirstHandle = (uint64_t{4} << 56) + 16;
  ModuleText& module_;
  ModuleText::Unit& unit_;
  size_t unit_index_;
  Lexer lexer_;
  SyntaxError error_;
  size_t depth_ = 0;
  std::vector<uint64_t> list_bytes_;
};

bool ModuleText::parse(std::span<const std::string_view> texts, std::string& log) {
  for (const std::string_view text : texts) {
    units_.push_back(std::make_unique<Unit>());
    units_.back()->text = text.substr(0, text.find('\0'));
  }
  for (size_t i = 0; i < units_.size(); ++i) {
    if (!ModuleParser(*this, i).parse(log)) return false;
  }
  for (size_t i = 0; i < functions_.size(); ++i) {
    const Signature& signature = functions_[i]->signature;
    const bool defined = signature.body_begin != std::string_view::npos;
    if (!defined || !(signature.visible || signature.weak)) continue;
    const auto [place, added] = global_functions_.emplace(signature.name, i);
    if (added) continue;
    const Signature& before = functions_[place->second]->signature;
    if (before.weak && !signature.weak) {
      place->second = i;
    } else if (!before.weak && !signature.weak) {
      log += "error   : Multiple definition of '" + std::string(signature.name) + "'\n";
      return false;
    }
  }
  place_shared();
  describe_kernels();
  return true;
}

ModuleText::Symbol ModuleText::find(size_t unit, std::string_view name) const {
  const Unit& here = *units_[unit];
  if (const auto it = here.functions.find(name); it != here.functions.end()) {
    const Signature& signature = functions_[it->second]->signature;
    const auto global = global_functions_.find(name);
    const bool local = signature.body_begin != std::string_view::npos && !signature.weak;
    if (local || global == global_functions_.end()) return {SymbolKind::kFunction, it->second};
    return {SymbolKind::kFunction, global->second};
  }
  if (const auto it = here.variables.find(name); it != here.variables.end()) {
    return {SymbolKind::kVariable, it->second};
  }
  if (const auto it = here.shared.find(name); it != here.shared.end()) {
    return {SymbolKind::kShared, it->second};
  }
  return {};
}

std::vector<std::string> ModuleText::undefined(size_t texts) const {
  std::unordered_set<std::string_view> missing;
  for (const auto& variable : variables_) {
    if (variable.external) missing.insert(variable.name);
  }
  for (const auto& function : functions_) {
    const Signature& signature = function->signature;
    if (signature.body_begin != std::string_view::npos || signature.entry) continue;
    if (global_functions_.contains(signature.name)) continue;
    if (builtin_of(signature.name) == Builtin::kNone) missing.insert(signature.name);
  }
  std::vector<std::string> used;
  for (const auto& function : functions_) {
    const Signature& signature = function->signature;
    if (missing.empty() || function->unit >= texts) continue;
    if (signature.body_begin == std::string_view::npos) continue;
    const std::string_view text = units_[function->unit]->text;
    Lexer lexer(text.substr(0, signature.body_end), signature.body_begin);
    while (lexer.peek().kind != TokenKind::kEnd) {
      const auto found = missing.find(lexer.take().text);
      if (found == missing.end()) continue;
      used.emplace_back(*found);
      missing.erase(found);
    }
  }
  return used;
}

Function* ModuleText::function_at(uint64_t handle) {
  if (functions_.empty()) return nullptr;
  const uint64_t first = functions_[0]->handle;
  const uint64_t index = (handle - first) / 16;
  if (handle < first || index >= functions_.size() || (handle - first) % 16 != 0) return nullptr;
  return functions_[index].get();
}

std::shared_ptr<Module> Module::load(std::string_view text, std::string& log) {
  return link(std::span(&text, 1), log);
}

std::shared_ptr<Module> Module::link(std::span<const std::string_view> texts, std::string& log) {
  auto module = std::make_shared<ModuleText>();
  return module->parse(texts, log) ? module : nullptr;
}

}  // namespace vgpu::softgpu::ptx

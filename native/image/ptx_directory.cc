// Names and parameter layouts in a PTX text (PTX ISA 5.4, 11.1, 11.5), without parsing the bodies:
// tens of megabytes must not delay a module load.
#include <algorithm>
#include <array>
#include <bit>
#include <charconv>

#include "image/bytes.h"
#include "image/image.h"

namespace vgpu::image {
namespace {

// 32764 bytes is the largest parameter space of any device; this only stops nonsense.
constexpr uint64_t kMaxSize = uint64_t{1} << 40;

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '$' || c == '%';
}

// Bytes of a fundamental type; 0 for what has no size here (.texref, .pred, unknown).
uint32_t type_size(std::string_view name) {
  static constexpr std::pair<std::string_view, uint32_t> kTypes[] = {
      {".b8", 1},    {".u8", 1},     {".s8", 1},         {".b16", 2},    {".u16", 2}, {".s16", 2},
      {".f16", 2},   {".bf16", 2},   {".b32", 4},        {".u32", 4},    {".s32", 4}, {".f32", 4},
      {".f16x2", 4}, {".bf16x2", 4}, {".b64", 8},        {".u64", 8},    {".s64", 8}, {".f64", 8},
      {".b128", 16}, {".texref", 8}, {".samplerref", 8}, {".surfref", 8}};
  for (const auto& [type, size] : kTypes) {
    if (type == name) return size;
  }
  return 0;
}

// Words (identifiers, numbers, directives with their dot), single characters, strings.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  // Empty at the end. A string comes as its opening quote alone.
  std::string_view next() {
    skip_space();
    if (at_ == end_) return {};
    const char* begin = at_;
    if (*at_ == '"') {
      skip_string();
      return {begin, 1};
    }
    ++at_;
    if (*begin == '.' || is_name(*begin)) {
      while (at_ != end_ && is_name(*at_)) ++at_;
    }
    return {begin, static_cast<size_t>(at_ - begin)};
  }

  // Behind the brace that closes the one just read. Hot: this passes over all code.
  bool skip_body() {
    for (int depth = 1; depth > 0;) {
      while (at_ != end_ && !kInteresting[static_cast<uint8_t>(*at_)]) ++at_;
      if (at_ == end_) return false;
      const char c = *at_;
      if (c == '"') {
        skip_string();
      } else if (c == '/') {
        if (!skip_comment()) ++at_;
      } else {
        depth += c == '{' ? 1 : -1;
        ++at_;
      }
    }
    return true;
  }

 private:
  static constexpr std::array<bool, 256> kInteresting = [] {
    std::array<bool, 256> table{};
    for (const char c : {'{', '}', '"', '/'}) table[static_cast<uint8_t>(c)] = true;
    return table;
  }();

  void skip_space() {
    while (at_ != end_) {
      if (*at_ == '/' && skip_comment()) continue;
      if (*at_ != ' ' && (*at_ < '\t' || *at_ > '\r')) return;
      ++at_;
    }
  }
  bool skip_comment() {
    if (end_ - at_ < 2) return false;
    const std::string_view rest(at_, static_cast<size_t>(end_ - at_));
    if (at_[1] == '/') {
      const size_t line = rest.find('\n');
      at_ = line == rest.npos ? end_ : at_ + line;
      return true;
    }
    if (at_[1] != '*') return false;
    const size_t close = rest.find("*/", 2);
    at_ = close == rest.npos ? end_ : at_ + close + 2;
    return true;
  }
  void skip_string() {
    for (++at_; at_ != end_ && *at_ != '"'; ++at_) {
      if (*at_ == '\\' && at_ + 1 != end_) ++at_;
    }
    if (at_ != end_) ++at_;
  }

  const char* at_;
  const char* end_;
};

// A PTX integer: decimal, 0x, 0b or octal, perhaps with a U at the end.
bool number(std::string_view word, uint64_t& value) {
  if (!word.empty() && word.back() == 'U') word.remove_suffix(1);
  int base = 10;
  if (word.starts_with("0x") || word.starts_with("0X")) {
    base = 16;
    word.remove_prefix(2);
  } else if (word.starts_with("0b") || word.starts_with("0B")) {
    base = 2;
    word.remove_prefix(2);
  } else if (word.size() > 1 && word[0] == '0') {
    base = 8;
  }
  const auto result = std::from_chars(word.data(), word.data() + word.size(), value, base);
  return result.ec == std::errc() && result.ptr == word.data() + word.size();
}

struct Variable {
  std::string_view name;
  uint64_t size = 0;
  uint64_t alignment = 1;
  bool sized = false;  // false: `name[]` and no initial value
};

class Parser {
 public:
  explicit Parser(std::string_view text) : scanner_(text) { advance(); }

  bool run(Directory& directory);

 private:
  void advance() { word_ = scanner_.next(); }
  bool accept(std::string_view word) {
    if (word_ != word) return false;
    advance();
    return true;
  }
  bool skip_parentheses();
  void skip_statement();
  bool kernel(Directory& directory);
  bool parameters(KernelInfo& kernel);
  bool type(uint64_t& unit, uint64_t& alignment);
  bool declarator(uint64_t unit, uint64_t alignment, Variable& variable);
  bool dimensions(Variable& variable);
  bool initial_value(uint64_t unit, Variable& variable);
  bool variables(bool external, Directory& directory);

  Scanner scanner_;
  std::string_view word_;
};

bool Parser::skip_parentheses() {
  int depth = 0;
  do {
    if (word_.empty()) return false;
    depth += word_ == "(" ? 1 : word_ == ")" ? -1 : 0;
    advance();
  } while (depth > 0);
  return true;
}

// To the end of a module-scope statement that is of no interest: `;`, or a body.
void Parser::skip_statement() {
  while (!word_.empty() && word_ != ";" && word_ != "{") advance();
  if (word_ == "{") scanner_.skip_body();
  advance();
}

// Vector prefix, alignment, attributes and type in any order, up to the name.
bool Parser::type(uint64_t& unit, uint64_t& alignment) {
  uint64_t lanes = 1, explicit_alignment = 0;
  unit = 0;
  while (word_.starts_with(".")) {
    const std::string_view directive = word_;
    advance();
    if (directive == ".align") {
      if (!number(word_, explicit_alignment)) return false;
      advance();
    } else if (directive == ".attribute") {
      if (!skip_parentheses()) return false;
    } else if (directive == ".v2" || directive == ".v4" || directive == ".v8") {
      lanes = static_cast<uint64_t>(directive[2] - '0');
    } else if (const uint32_t size = type_size(directive)) {
      unit = size;
    }
    // What remains (.ptr, .param, .global, .shared, ...) says where a pointer points.
    if (directive == ".ptr") {
      // An .align here belongs to what is pointed to.
      while (word_.starts_with(".")) {
        const bool aligned = word_ == ".align";
        advance();
        if (aligned) advance();
      }
    }
  }
  unit *= lanes;
  alignment = explicit_alignment ? explicit_alignment : unit;
  return unit != 0 && std::has_single_bit(alignment) && alignment <= kMaxSize;
}

bool Parser::dimensions(Variable& variable) {
  while (accept("[")) {
    if (accept("]")) {
      variable.sized = false;
      continue;
    }
    uint64_t count = 0;
    if (!number(word_, count)) return false;
    advance();
    if (!accept("]")) return false;
    if (__builtin_mul_overflow(variable.size, count, &variable.size)) return false;
    if (variable.size > kMaxSize) return false;
  }
  return true;
}

bool Parser::declarator(uint64_t unit, uint64_t alignment, Variable& variable) {
  variable = {word_, unit, alignment, true};
  if (word_.empty() || !is_name(word_[0])) return false;
  advance();
  return dimensions(variable);
}

// Counts the elements for `name[] = {...}`.
bool Parser::initial_value(uint64_t unit, Variable& variable) {
  uint64_t elements = 1;
  int depth = 0;
  while (!word_.empty() && word_ != ";" && (depth > 0 || word_ != ",")) {
    if (word_ == "{" || word_ == "(") ++depth;
    if (word_ == "}" || word_ == ")") --depth;
    if (word_ == "," && depth == 1) ++elements;
    advance();
  }
  if (word_.empty()) return false;
  if (!variable.sized) variable.size = variable.size / unit * unit * elements;
  variable.sized = true;
  return true;
}

// `.align 4 .b8 a[4] = {...}, b;`
bool Parser::variables(bool external, Directory& directory) {
  uint64_t unit = 0, alignment = 0;
  if (!type(unit, alignment)) return false;
  do {
    Variable variable;
    if (!declarator(unit, alignment, variable)) return false;
    if (accept("=") && !initial_value(unit, variable)) return false;
    if (!external) directory.globals.push_back({std::string(variable.name), variable.size});
  } while (accept(","));
  return accept(";");
}

bool Parser::parameters(KernelInfo& kernel) {
  uint64_t offset = 0;
  while (!accept(")")) {
    uint64_t unit = 0, alignment = 0;
    Variable variable;
    if (!type(unit, alignment) || !declarator(unit, alignment, variable)) return false;
    offset = align_up(offset, alignment);
    if (offset + variable.size > UINT32_MAX) return false;
    kernel.parameters.push_back(
        {static_cast<uint32_t>(offset), static_cast<uint32_t>(variable.size)});
    offset += variable.size;
    accept(",");
  }
  kernel.parameter_bytes = static_cast<uint32_t>(offset);
  return true;
}

bool Parser::kernel(Directory& directory) {
  KernelInfo kernel;
  if (word_.empty() || !is_name(word_[0])) return false;
  kernel.name = word_;
  advance();
  if (accept("(") && !parameters(kernel)) return false;
  while (!word_.empty() && word_ != "{" && word_ != ";") {
    const bool pragma = word_ == ".pragma";  // the only one of .maxntid and its kin with a `;`
    advance();
    if (pragma) skip_statement();
  }
  const bool defined = word_ == "{";
  if (defined && !scanner_.skip_body()) return false;
  advance();
  if (defined) directory.kernels.push_back(std::move(kernel));
  return true;
}

bool Parser::run(Directory& directory) {
  bool external = false;
  while (!word_.empty()) {
    if (accept(".extern")) {
      external = true;
      continue;
    }
    bool good = true;
    if (accept(".entry")) {
      good = kernel(directory);
    } else if (word_ == ".global" || word_ == ".const") {
      advance();
      good = variables(external, directory);
    } else if (word_ == ".func" || word_ == ".shared" || word_ == ".section" ||
               word_ == ".pragma" || word_ == ".alias") {
      advance();
      skip_statement();
    } else {
      advance();  // .version, .target, .file, .visible, ... and their words
      continue;   // linkage stays for what follows
    }
    if (!good) return false;
    external = false;
  }
  return true;
}

}  // namespace

std::optional<Directory> ptx_directory(std::string_view ptx, std::string& error) {
  const std::string_view text = ptx.substr(0, ptx.find('\0'));
  Directory directory;
  if (text.find(".version") == std::string_view::npos) {
    error = "PTX: no .version directive";
    return std::nullopt;
  }
  if (!Parser(text).run(directory)) {
    error = "PTX: a declaration cannot be read";
    return std::nullopt;
  }
  return directory;
}

}  // namespace vgpu::image

#include "softgpu/ptx/text.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

namespace vgpu::softgpu::ptx {
namespace {

bool starts_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%' ||
         c == '.';
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool in_word(char c) { return starts_word(c) || is_digit(c); }

size_t end_of_word(std::string_view text, size_t at) {
  while (at < text.size()) {
    if (in_word(text[at])) {
      ++at;
    } else if (text[at] == ':' && at + 2 < text.size() && text[at + 1] == ':' &&
               in_word(text[at + 2])) {
      at += 2;  // `.L2::128B`, `.shared::cta`
    } else {
      break;
    }
  }
  return at;
}

size_t end_of_number(std::string_view text, size_t at) {
  const bool hex = text[at] == '0' && at + 1 < text.size() &&
                   std::strchr("xXfFdDbB", text[at + 1]) != nullptr && text[at + 1] != 0;
  if (hex) {
    at += 2;
    while (at < text.size() && (std::isxdigit(static_cast<unsigned char>(text[at])) != 0 ||
                                text[at] == 'U' || text[at] == 'u')) {
      ++at;
    }
    return at;
  }
  while (at < text.size()) {
    const char c = text[at];
    const bool sign = (c == '+' || c == '-') && (text[at - 1] == 'e' || text[at - 1] == 'E');
    if (!is_digit(c) && c != '.' && c != 'e' && c != 'E' && c != 'U' && c != 'u' && !sign) break;
    ++at;
  }
  return at;
}

}  // namespace

void Lexer::skip_blank() {
  while (next_ < text_.size()) {
    const char c = text_[next_];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v') {
      ++next_;
    } else if (c == '/' && next_ + 1 < text_.size() && text_[next_ + 1] == '/') {
      const size_t end = text_.find('\n', next_);
      next_ = end == std::string_view::npos ? text_.size() : end;
    } else if (c == '/' && next_ + 1 < text_.size() && text_[next_ + 1] == '*') {
      const size_t end = text_.find("*/", next_ + 2);
      next_ = end == std::string_view::npos ? text_.size() : end + 2;
    } else {
      return;
    }
  }
}

void Lexer::advance() {
  skip_blank();
  token_.position = next_;
  if (next_ >= text_.size() || text_[next_] == 0) {
    token_ = {TokenKind::kEnd, 0, {}, next_};
    return;
  }
  const char c = text_[next_];
  size_t end = next_ + 1;
  TokenKind kind = TokenKind::kPunct;
  // `%r1` is a name, `17 % 5` an operator.
  const bool modulo = c == '%' && (next_ + 1 >= text_.size() || !starts_word(text_[next_ + 1]));
  if (starts_word(c) && !modulo) {
    kind = TokenKind::kWord;
    end = end_of_word(text_, next_);
  } else if (is_digit(c)) {
    kind = TokenKind::kNumber;
    end = end_of_number(text_, next_);
  } else if (c == '"') {
    const size_t quote = text_.find('"', end);
    const size_t stop = quote == std::string_view::npos ? text_.size() : quote;
    token_ = {TokenKind::kString, 0, text_.substr(end, stop - end), next_};
    next_ = std::min(stop + 1, text_.size());
    return;
  }
  token_ = {kind, kind == TokenKind::kPunct ? c : '\0', text_.substr(next_, end - next_), next_};
  next_ = end;
}

size_t line_of(std::string_view text, size_t position) {
  const auto end = text.begin() + static_cast<ptrdiff_t>(std::min(position, text.size()));
  return 1 + static_cast<size_t>(std::count(text.begin(), end, '\n'));
}

std::string source_file(std::string_view text, uint64_t index) {
  constexpr std::string_view kDirective = ".file";
  for (size_t at = 0; (at = text.find(kDirective, at)) != std::string_view::npos;) {
    at += kDirective.size();
    Lexer lexer(text, at);
    const Token number = lexer.take();
    if (number.kind != TokenKind::kNumber || parse_literal(number.text).bits != index) continue;
    const Token name = lexer.take();
    if (name.kind == TokenKind::kString) return std::string(name.text);
  }
  return "file " + std::to_string(index);
}

size_t closing_brace(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t at = open; at < text.size(); ++at) {
    switch (text[at]) {
      case '{':
        ++depth;
        break;
      case '}':
        if (--depth == 0) return at;
        break;
      case '"':
        at = text.find('"', at + 1);
        if (at == std::string_view::npos) return at;
        break;
      case '/':
        if (at + 1 >= text.size()) return std::string_view::npos;
        if (text[at + 1] == '/') at = text.find('\n', at);
        if (at == std::string_view::npos) return at;
        if (text[at] == '/' && text[at + 1] == '*') {
          at = text.find("*/", at + 2);
          if (at == std::string_view::npos) return at;
          ++at;
        }
        break;
      default:
        break;
    }
  }
  return std::string_view::npos;
}

Literal parse_literal(std::string_view text) {
  Literal result;
  const auto hex = [&](std::string_view digits) {
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), result.bits, 16);
    result.valid = error == std::errc() && end == digits.data() + digits.size();
    return result;
  };
  if (text.size() > 2 && text[0] == '0') {
    const char kind = text[1];
    if (kind == 'f' || kind == 'F') {
      result.kind = Literal::Kind::kSingle;
      return hex(text.substr(2));
    }
    if (kind == 'd' || kind == 'D') {
      result.kind = Literal::Kind::kDouble;
      return hex(text.substr(2));
    }
  }
  while (!text.empty() && (text.back() == 'U' || text.back() == 'u')) text.remove_suffix(1);
  int base = 10;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    return hex(text.substr(2));
  }
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'b' || text[1] == 'B')) {
    base = 2;
    text.remove_prefix(2);
  } else if (text.find_first_of(".eE") != std::string_view::npos) {
    result.kind = Literal::Kind::kDouble;
    result.bits = std::bit_cast<uint64_t>(std::strtod(std::string(text).c_str(), nullptr));
    return result;
  } else if (text.size() > 1 && text[0] == '0') {
    base = 8;
  }
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), result.bits, base);
  result.valid = error == std::errc() && end == text.data() + text.size();
  return result;
}

}  // namespace vgpu::softgpu::ptx

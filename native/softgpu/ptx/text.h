// Words, numbers and punctuation of a PTX text (PTX ISA section 4.2 to 4.5).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vgpu::softgpu::ptx {

enum class TokenKind : uint8_t {
  kEnd,
  kWord,    // identifiers, directives and whole opcodes: `ld.global.v2.L2::128B.b32`, `.reg`,
            // `%tid.x`
  kNumber,  // integer or floating literal, sign excluded
  kString,  // without its quotes
  kPunct,   // one character
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  char punct = 0;
  std::string_view text;
  size_t position = 0;  // bytes from the start of the text

  [[nodiscard]] bool is(char c) const { return kind == TokenKind::kPunct && punct == c; }
  [[nodiscard]] bool is(std::string_view word) const {
    return kind == TokenKind::kWord && text == word;
  }
};

class Lexer {
 public:
  explicit Lexer(std::string_view text, size_t position = 0) : text_(text), next_(position) {
    advance();
  }
  [[nodiscard]] const Token& peek() const { return token_; }
  Token take() {
    Token token = token_;
    advance();
    return token;
  }
  bool accept(char c) {
    if (!token_.is(c)) return false;
    advance();
    return true;
  }
  bool accept(std::string_view word) {
    if (!token_.is(word)) return false;
    advance();
    return true;
  }
  // Continues at a byte position.
  void seek(size_t position) {
    next_ = position;
    advance();
  }

 private:
  void advance();
  void skip_blank();

  std::string_view text_;
  size_t next_;
  Token token_;
};

// Line number of a byte position, from 1; counted when a message needs it.
size_t line_of(std::string_view text, size_t position);

// The name that a `.file` directive gives to an index, or "file N".
std::string source_file(std::string_view text, uint64_t index);

// Position of the brace that closes the one at `open`, or npos. Comments and strings are skipped.
size_t closing_brace(std::string_view text, size_t open);

// A literal's value. Integers are 64 bits; floating ones keep the width that they were written in.
struct Literal {
  enum class Kind : uint8_t { kInteger, kSingle, kDouble } kind = Kind::kInteger;
  uint64_t bits = 0;
  bool valid = true;
};
Literal parse_literal(std::string_view text);

}  // namespace vgpu::softgpu::ptx

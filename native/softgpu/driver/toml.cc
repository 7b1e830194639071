#include "softgpu/driver/toml.h"

#include <algorithm>

namespace vgpu::softgpu::toml {
namespace {

constexpr std::string_view kBare =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
constexpr std::string_view kDigits = "0123456789";

class Parser {
 public:
  Parser(std::string_view text, Error& error) : text_(text), error_(error) {}

  std::optional<std::vector<Table>> run() {
    tables_.emplace_back();
    for (;;) {
      skip(true);
      if (at_end()) return std::move(tables_);
      if (!(peek() == '[' ? header() : entry(tables_.back())) || !end_of_line()) {
        return std::nullopt;
      }
    }
  }

 private:
  [[nodiscard]] bool at_end() const { return at_ >= text_.size(); }
  [[nodiscard]] char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool accept(char c) {
    if (peek() != c || at_end()) return false;
    ++at_;
    return true;
  }
  bool fail(std::string message) {
    error_ = {line_, std::move(message)};
    return false;
  }

  // Blanks and comments; with `lines` their ends too.
  void skip(bool lines) {
    for (; !at_end(); ++at_) {
      const char c = peek();
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
        if (at_end()) return;
      }
      if (peek() == '\n') {
        if (!lines) return;
        ++line_;
      } else if (c != ' ' && c != '\t' && !(c == '\r' && text_.substr(at_, 2) == "\r\n")) {
        return;
      }
    }
  }

  bool end_of_line() {
    skip(false);
    if (at_end() || peek() == '\n') return true;
    return fail(std::string("expected the end of the line, not '") + peek() + "'");
  }

  bool header() {
    Table table;
    table.line = line_;
    ++at_;
    table.of_array = accept('[');
    skip(false);
    if (!key(table.name)) return false;
    skip(false);
    if (!accept(']') || (table.of_array && !accept(']'))) {
      return fail("expected " + std::string(table.of_array ? "]]" : "]") + " after the name '" +
                  table.name + "'");
    }
    for (const Table& other : tables_) {
      if (other.name == table.name && !(other.of_array && table.of_array)) {
        return fail("the table '" + table.name + "' was there before, in line " +
                    std::to_string(other.line));
      }
    }
    tables_.push_back(std::move(table));
    return true;
  }

  bool entry(Table& table) {
    Entry entry;
    entry.line = line_;
    if (!key(entry.key)) return false;
    skip(false);
    if (!accept('=')) return fail("expected '=' after '" + entry.key + "'");
    skip(false);
    if (!value(entry.value, 0)) return false;
    for (const Entry& other : table.entries) {
      if (other.key == entry.key) {
        return fail("'" + entry.key + "' was set before, in line " + std::to_string(other.line));
      }
    }
    table.entries.push_back(std::move(entry));
    return true;
  }

  bool key(std::string& out) {
    if (peek() == '"' || peek() == '\'') {
      Value quoted;
      if (!string(quoted)) return false;
      out = std::move(quoted.text);
    } else {
      const size_t end = std::min(text_.find_first_not_of(kBare, at_), text_.size());
      out = text_.substr(at_, end - at_);
      at_ = end;
      if (out.empty()) {
        return fail(at_end() ? "expected a name" : std::string("'") + peek() + "' begins no name");
      }
    }
    skip(false);
    return peek() == '.' ? fail("dotted names are not supported") : true;
  }

  bool value(Value& out, int depth) {
    const char c = peek();
    if (c == '"' || c == '\'') return string(out);
    if (c == '[') return depth < kMostDepth ? array(out, depth) : fail("arrays in too many arrays");
    if (c == '{') return fail("inline tables are not supported");
    const size_t end = std::min(text_.find_first_of(" \t\r\n#,]", at_), text_.size());
    const std::string_view word = text_.substr(at_, end - at_);
    at_ = end;
    if (word == "true" || word == "false") {
      out = {Kind::kBoolean, std::string(word), {}};
      return true;
    }
    return number(word, out);
  }

  bool array(Value& out, int depth) {
    out.kind = Kind::kArray;
    ++at_;
    for (;;) {
      skip(true);
      if (accept(']')) return true;
      if (at_end()) return fail("an array without its end");
      if (!value(out.elements.emplace_back(), depth + 1)) return false;
      skip(true);
      if (!accept(',') && peek() != ']') return fail("expected ',' or ']' in an array");
    }
  }

  bool string(Value& out) {
    out.kind = Kind::kString;
    const char quote = peek();
    if (text_.substr(at_, 3) == std::string(3, quote)) {
      return fail("multi-line strings are not supported");
    }
    for (++at_; !at_end() && peek() != '\n'; ++at_) {
      char c = peek();
      if (accept(quote)) return true;
      if (c == '\\' && quote == '"') {
        ++at_;
        c = escape();
        if (c == 0) return fail("an escape that is not supported (use \\\" \\\\ \\t \\n)");
      } else if (static_cast<unsigned char>(c) < ' ' && c != '\t') {
        return fail("a control character in a string");
      }
      out.text += c;
    }
    return fail("a string without its end");
  }

  [[nodiscard]] char escape() const {
    switch (peek()) {
      case '"':
      case '\\':
        return peek();
      case 't':
        return '\t';
      case 'n':
        return '\n';
      default:
        return 0;
    }
  }

  // Decimal, underscores between digits, fraction and exponent.
  bool number(std::string_view word, Value& out) {
    out.kind = Kind::kInteger;
    size_t at = 0;
    const auto sign = [&] {
      if (at < word.size() && (word[at] == '+' || word[at] == '-')) {
        if (word[at] == '-') out.text += '-';
        ++at;
      }
    };
    const auto digits = [&] {
      const size_t first = at;
      for (; at < word.size(); ++at) {
        const bool digit = kDigits.find(word[at]) != std::string_view::npos;
        if (digit) out.text += word[at];
        if (!digit && (word[at] != '_' || at == first || word[at - 1] == '_')) break;
      }
      return at > first && word[at - 1] != '_';
    };
    sign();
    const size_t whole = at;
    bool good = digits() && !(word[whole] == '0' && at > whole + 1);
    if (good && at < word.size() && word[at] == '.') {
      out.kind = Kind::kFloat;
      out.text += word[at++];
      good = digits();
    }
    if (good && at < word.size() && (word[at] == 'e' || word[at] == 'E')) {
      out.kind = Kind::kFloat;
      out.text += word[at++];
      sign();
      good = digits();
    }
    if (good && at == word.size()) return true;
    return fail("'" + std::string(word) + "' is no value: texts stand in quotes");
  }

  static constexpr int kMostDepth = 4;
  std::string_view text_;
  Error& error_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Table> tables_;
};

}  // namespace

std::optional<std::vector<Table>> parse(std::string_view text, Error& error) {
  return Parser(text, error).run();
}

}  // namespace vgpu::softgpu::toml

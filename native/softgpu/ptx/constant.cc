#include "softgpu/ptx/constant.h"

#include <array>
#include <string_view>

namespace vgpu::softgpu::ptx {
namespace {

struct Value {
  uint64_t bits = 0;
  bool is_unsigned = false;
};

struct Operator {
  std::string_view text;
  int level;  // higher binds tighter
};
// Longer spellings first: the lexer gives one character at a time.
constexpr std::array kOperators = {
    Operator{"<<", 8}, Operator{">>", 8}, Operator{"<=", 7}, Operator{">=", 7}, Operator{"==", 6},
    Operator{"!=", 6}, Operator{"&&", 2}, Operator{"||", 1}, Operator{"*", 10}, Operator{"/", 10},
    Operator{"%", 10}, Operator{"+", 9},  Operator{"-", 9},  Operator{"<", 7},  Operator{">", 7},
    Operator{"&", 5},  Operator{"^", 4},  Operator{"|", 3},
};
constexpr int kLowest = 1;
constexpr int kMostDepth = 64;

class Parser {
 public:
  explicit Parser(Lexer& lexer) : lexer_(lexer) {}

  bool conditional(Value& out) {
    if (++depth_ > kMostDepth) return false;
    if (!binary(kLowest, out)) return false;
    if (lexer_.accept('?')) {
      Value yes, no;
      if (!conditional(yes) || !lexer_.accept(':') || !conditional(no)) return false;
      out = {out.bits != 0 ? yes.bits : no.bits, yes.is_unsigned || no.is_unsigned};
    }
    --depth_;
    return true;
  }

 private:
  bool binary(int level, Value& left) {
    if (!unary(left)) return false;
    while (const Operator* op = next(level)) {
      for (size_t i = 0; i < op->text.size(); ++i) lexer_.take();
      Value right;
      if (!binary(op->level + 1, right) || !apply(op->text, left, right)) return false;
    }
    return true;
  }

  // The operator that comes next, if it binds at least as tightly as `level`.
  const Operator* next(int level) {
    const Token first = lexer_.peek();
    if (first.kind != TokenKind::kPunct) return nullptr;
    Lexer ahead = lexer_;
    ahead.take();
    for (const Operator& op : kOperators) {
      if (!first.is(op.text[0])) continue;
      const bool adjacent = ahead.peek().position == first.position + 1;
      if (op.text.size() == 2 && !(adjacent && ahead.peek().is(op.text[1]))) continue;
      return op.level >= level ? &op : nullptr;
    }
    return nullptr;
  }

  bool unary(Value& out) {
    if (++depth_ > kMostDepth) return false;
    const bool good = prefixed(out);
    --depth_;
    return good;
  }

  bool prefixed(Value& out) {
    if (lexer_.accept('+')) return unary(out);
    if (lexer_.accept('-')) return unary(out) && ((out.bits = ~out.bits + 1), true);
    if (lexer_.accept('~')) return unary(out) && ((out.bits = ~out.bits), true);
    if (lexer_.accept('!')) return unary(out) && ((out = {out.bits == 0, false}), true);
    if (lexer_.accept('(')) {
      const bool to_signed = lexer_.accept(".s64");
      if (to_signed || lexer_.accept(".u64")) {
        if (!lexer_.accept(')') || !unary(out)) return false;
        out.is_unsigned = !to_signed;
        return true;
      }
      return conditional(out) && lexer_.accept(')');
    }
    const Token token = lexer_.take();
    if (token.kind == TokenKind::kWord && token.text == "WARP_SZ") {
      out = {32, false};
      return true;
    }
    const Literal literal = parse_literal(token.text);
    if (token.kind != TokenKind::kNumber || !literal.valid) return false;
    const char last = token.text.back();
    out = {literal.bits, last == 'U' || last == 'u' || literal.bits >> 63 != 0};
    return literal.kind == Literal::Kind::kInteger;
  }

  static bool apply(std::string_view op, Value& left, const Value& right) {
    const bool is_unsigned = left.is_unsigned || right.is_unsigned;
    const uint64_t a = left.bits, b = right.bits;
    const auto x = static_cast<int64_t>(a), y = static_cast<int64_t>(b);
    const bool less = is_unsigned ? a < b : x < y;
    const auto truth = [&](bool value) {
      left = {static_cast<uint64_t>(value), false};
      return true;
    };
    if (op == "&&") return truth(a != 0 && b != 0);
    if (op == "||") return truth(a != 0 || b != 0);
    if (op == "==") return truth(a == b);
    if (op == "!=") return truth(a != b);
    if (op == "<") return truth(less);
    if (op == ">=") return truth(!less);
    if (op == "<=") return truth(less || a == b);
    if (op == ">") return truth(!less && a != b);
    if (op == "<<" || op == ">>") {
      const bool far = b > 63;
      const uint64_t right_shifted =
          left.is_unsigned ? (far ? 0 : a >> b) : static_cast<uint64_t>(x >> (far ? 63 : b));
      left.bits = op == "<<" ? (far ? 0 : a << b) : right_shifted;
      return true;
    }
    uint64_t value = 0;
    switch (op[0]) {
      case '+':
        value = a + b;
        break;
      case '-':
        value = a - b;
        break;
      case '*':
        value = a * b;
        break;
      case '&':
        value = a & b;
        break;
      case '^':
        value = a ^ b;
        break;
      case '|':
        value = a | b;
        break;
      default: {
        if (b == 0) return false;
        const bool by_minus_one = !is_unsigned && y == -1;  // the lowest number would trap
        const bool divides = op[0] == '/';
        if (by_minus_one) {
          value = divides ? ~a + 1 : 0;
        } else if (is_unsigned) {
          value = divides ? a / b : a % b;
        } else {
          value = static_cast<uint64_t>(divides ? x / y : x % y);
        }
      }
    }
    left = {value, is_unsigned};
    return true;
  }

  Lexer& lexer_;
  int depth_ = 0;
};

}  // namespace

bool parse_constant(Lexer& lexer, uint64_t& bits) {
  Value value;
  if (!Parser(lexer).conditional(value)) return false;
  bits = value.bits;
  return true;
}

bool parse_extents(Lexer& lexer, uint64_t& count, bool& unsized, std::vector<uint64_t>* each) {
  while (lexer.accept('[')) {
    if (lexer.accept(']')) {
      unsized = true;
      if (each != nullptr) each->push_back(0);
      continue;
    }
    uint64_t extent = 0;
    if (!parse_constant(lexer, extent) || !lexer.accept(']')) return false;
    const bool overflows = extent != 0 && count > UINT64_MAX / extent;
    count = overflows ? UINT64_MAX : count * extent;
    if (each != nullptr) each->push_back(extent);
  }
  return true;
}

bool continues_constant(const Token& token) {
  return token.kind == TokenKind::kPunct &&
         std::string_view("+-*/%<>=!&^|?").find(token.text[0]) != std::string_view::npos;
}

}  // namespace vgpu::softgpu::ptx

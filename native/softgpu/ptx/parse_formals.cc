// Parameter lists of functions and prototypes (PTX ISA section 7.1).
#include <algorithm>

#include "softgpu/ptx/constant.h"
#include "softgpu/ptx/syntax.h"

namespace vgpu::softgpu::ptx {

uint64_t lay_out(std::vector<LocalVariable>& variables) {
  uint64_t end = 0;
  for (LocalVariable& variable : variables) {
    const uint64_t align = std::max<uint64_t>(variable.align, 1);
    end = (end + align - 1) / align * align;
    variable.offset = end;
    end += variable.size;
  }
  return end;
}

bool parse_formals(Lexer& lexer, std::vector<LocalVariable>& out, SyntaxError& error) {
  while (!lexer.accept(')')) {
    LocalVariable variable;
    bool aligned = false;
    bool pointer = false;
    bool placed = false;
    while (lexer.peek().kind == TokenKind::kWord && lexer.peek().text[0] == '.') {
      const std::string_view word = lexer.take().text.substr(1);
      if (word == "param") {
        variable.space = Space::kParam;
        placed = true;
      } else if (word == "reg") {
        variable.space = Space::kReg;
        placed = true;
      } else if (word == "align") {
        const uint64_t value = parse_literal(lexer.take().text).bits;
        if (!pointer) variable.align = value;  // after .ptr it is the pointed-to alignment
        aligned |= !pointer;
      } else if (word == "ptr") {
        pointer = true;
      } else if (type_of(word) != Type::kNone) {
        variable.type = type_of(word);
      } else if (word == "texref" || word == "samplerref" || word == "surfref") {
        variable.type = Type::kU64;
      }
    }
    if (!placed) {
      error = {lexer.peek().position, "a parameter is neither .param nor .reg"};
      return false;
    }
    variable.name = lexer.take().text;
    variable.size = size_of(variable.type);
    if (!aligned) variable.align = std::max<uint64_t>(variable.size, 1);
    bool unsized = false;
    if (!parse_extents(lexer, variable.size, unsized)) {
      error = {lexer.peek().position, "a malformed extent"};
      return false;
    }
    if (variable.align == 0 || variable.align > 65536 || variable.size > (1u << 20)) {
      error = {lexer.peek().position, "a parameter of absurd size"};
      return false;
    }
    out.push_back(variable);
    if (!lexer.accept(',') && !lexer.peek().is(')')) {
      error = {lexer.peek().position, "expected , or ) in a parameter list"};
      return false;
    }
  }
  return true;
}

}  // namespace vgpu::softgpu::ptx

// Integer constant expressions (PTX ISA section 4.5.4).
#pragma once

#include <cstdint>
#include <vector>

#include "softgpu/ptx/text.h"

namespace vgpu::softgpu::ptx {

// Takes an expression from the lexer; false when there is none, or one that divides by zero.
bool parse_constant(Lexer& lexer, uint64_t& bits);

// An array's extents, `[4][N * 2]`: multiplies `count`, which stays at UINT64_MAX once it is too
// large. `[]` sets `unsized` and counts as 0 in `each`. False when malformed.
bool parse_extents(Lexer& lexer, uint64_t& count, bool& unsized,
                   std::vector<uint64_t>* each = nullptr);

// Whether the token, which follows an integer, goes on with an expression.
bool continues_constant(const Token& token);

}  // namespace vgpu::softgpu::ptx

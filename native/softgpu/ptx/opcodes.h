// The check that a load makes of a function body it does not decode yet.
#pragma once

#include <cstddef>
#include <string_view>

namespace vgpu::softgpu::ptx {

// The position of the first statement in text[begin, end) whose opcode the PTX ISA does not have,
// or npos. An opcode that the ISA has and the interpreter lacks is no stranger: its kernel alone is
// refused, when it is prepared.
size_t first_unknown_opcode(std::string_view text, size_t begin, size_t end);

}  // namespace vgpu::softgpu::ptx

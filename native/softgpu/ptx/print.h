// vprintf and __assertfail: formatting what device code passes.
#pragma once

#include <cstdint>
#include <string>

#include "softgpu/ptx/warp.h"

namespace vgpu::softgpu::ptx {

// Appends to `out`; returns the number of arguments, as CUDA's printf does, or -1.
int format_printf(Warp& w, int lane, uint64_t format, uint64_t arguments, std::string& out);
std::string format_assertion(Warp& w, int lane, uint64_t condition, uint64_t file, uint64_t line,
                             uint64_t function);

}  // namespace vgpu::softgpu::ptx

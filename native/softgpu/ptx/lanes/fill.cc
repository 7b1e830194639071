// Rows that are written without reading another: one value for all lanes, or counting ones. They
// are here for the width of their stores: what reads a row right behind a narrower one has to wait.
#include "softgpu/ptx/lanes/lanes.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {

void spread(const Warp& w, uint32_t operand, uint64_t value, uint32_t bytes) {
  if (bytes == 8) {
    put_row<uint64_t>(w, operand, [&](int) { return value; });
  } else {
    put_row<uint32_t>(w, operand, [&](int) { return static_cast<uint32_t>(value); });
  }
}

void count_from(const Warp& w, uint32_t operand, uint32_t first) {
  put_row<uint32_t>(w, operand, [&](int i) { return first + static_cast<uint32_t>(i); });
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

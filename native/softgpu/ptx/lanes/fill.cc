// Rows that are written without reading another: one value for all lanes, or counting ones. They
// are here for the width of their stores: what reads a row right behind a narrower one has to wait.
#include "softgpu/ptx/lanes/lanes.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

template <class T, class F>
VGPU_INLINE void put(const Warp& w, uint32_t operand, F&& value) {
  T* d = w.row<T>(operand);
  if (w.full) {
    VGPU_EACH_LANE d[i] = value(i);
  } else {
    VGPU_EACH_LANE d[i] = w.lanes[i] != 0 ? value(i) : d[i];
  }
}

}  // namespace

void spread(const Warp& w, uint32_t operand, uint64_t value, uint32_t bytes) {
  if (bytes == 8) {
    put<uint64_t>(w, operand, [&](int) { return value; });
  } else {
    put<uint32_t>(w, operand, [&](int) { return static_cast<uint32_t>(value); });
  }
}

void count_from(const Warp& w, uint32_t operand, uint32_t first) {
  put<uint32_t>(w, operand, [&](int i) { return first + static_cast<uint32_t>(i); });
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

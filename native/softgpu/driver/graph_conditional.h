// The value that conditional nodes look at, and that kernels set by its handle.
#pragma once

#include <atomic>
#include <cstdint>

namespace vgpu::softgpu {

struct Graph;

struct Conditional {
  uint64_t id = 0;
  std::atomic<uint32_t> value{0};
  uint32_t initial = 0;
  bool assign_initial = false;  // at each launch
};

// What cudaGraphSetConditional does in a kernel. False when the handle means nothing.
bool set_conditional(uint64_t handle, uint32_t value);
// At the start of a launch.
void reset_conditionals(const Graph& graph);

}  // namespace vgpu::softgpu

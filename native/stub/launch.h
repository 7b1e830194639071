// What launches, graph kernel nodes and occupancy queries share.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "stub/call.h"
#include "stub/state.h"

namespace vgpu::stub {

struct LaunchShape {
  uint32_t grid[3];
  uint32_t block[3];
  uint32_t shared_bytes;
  uint32_t cluster[3] = {0, 0, 0};  // zeros: none given
};

// What CUDA refuses at the call: dimensions, threads and shared memory that the device or the
// function does not have.
CUresult check_shape(const Device& device, const Function& function, const LaunchShape& shape);
// A look-up loads its function. One that was enumerated is loaded at its first launch, so that what
// the device cannot execute fails there, and not late.
CUresult load_function(Function& function);
// The launch's first 36 bytes.
void put_shape(Call& call, uint64_t function, const LaunchShape& shape);
// u32 bytes, then the parameters, packed as the function's layout says, or as `extra` holds them.
CUresult put_parameters(Call& call, const Function& function, void** kernel_params, void** extra);
// u32 count, then [u32 id, u32 0, 64 bytes] each.
CUresult put_attributes(Call& call, const CUlaunchAttribute* attributes, unsigned count);

}  // namespace vgpu::stub

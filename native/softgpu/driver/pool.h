// Stream-ordered memory pools.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <mutex>

#include "softgpu/driver/device.h"

namespace vgpu::softgpu {

// Memory is taken from the device when it is allocated and given back when the stream reaches the
// free: a pool keeps no reserve, so it needs no trimming.
struct Pool {
  explicit Pool(Device& device) : device(device) {}
  uint64_t id = 0;
  Device& device;
  std::mutex mutex;  // guards all below
  std::map<CUmemPool_attribute, uint64_t> settings;
  uint64_t used = 0, used_high = 0;
  std::map<int, CUmemAccess_flags> access;  // by device ordinal
};

void make_default_pool(Device& device);

}  // namespace vgpu::softgpu

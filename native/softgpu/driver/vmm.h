// Virtual memory management: address reservations and physical memory that is mapped into them.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "softgpu/driver/device.h"

namespace vgpu::softgpu {

// A memory file, so that it can be mapped at several addresses and handed to other processes.
struct PhysicalMemory {
  PhysicalMemory(Device& device, int file, uint64_t size)
      : device(device), file(file), size(size) {}
  ~PhysicalMemory();
  PhysicalMemory(const PhysicalMemory&) = delete;
  PhysicalMemory& operator=(const PhysicalMemory&) = delete;

  uint64_t id = 0;
  Device& device;
  const int file;
  const uint64_t size;
  unsigned references = 1;  // handles; guarded by the area's mutex
  CUmemAllocationProp properties{};
};

}  // namespace vgpu::softgpu

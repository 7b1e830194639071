// Reference-counted objects of the program that graphs keep alive.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace vgpu::softgpu {

struct UserObject {
  uint64_t id = 0;
  void* pointer = nullptr;
  CUhostFn destroy = nullptr;
  uint64_t references = 0;  // the program's and the graphs'; guarded by capture_mutex()
};

// Gives back what a graph held; calls the destructor with the last reference.
void release_user_object(uint64_t id, uint64_t count);

}  // namespace vgpu::softgpu

// Arrays: device memory in rows. Only copies know them; textures and surfaces are not emulated.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace vgpu::softgpu {

struct Array {
  uint64_t id = 0;
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  uint64_t address = 0;
  uint64_t pitch = 0;  // bytes per row
};

}  // namespace vgpu::softgpu

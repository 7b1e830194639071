// Arrays and mipmapped arrays: device memory in rows, which copies, textures and surfaces read.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "softgpu/texel_image.h"

namespace vgpu::softgpu {

struct Context;

struct Array {
  uint64_t id = 0;
  uint64_t context = 0;
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  TexelLevel level;
  bool of_mipmap = false;  // destroyed with it, never by itself
};

struct MipmappedArray {
  uint64_t id = 0;
  uint64_t context = 0;
  uint64_t address = 0;  // of the finest level; the others follow
  std::vector<std::shared_ptr<Array>> levels;
};

TexelImage::Shape shape_of(const CUDA_ARRAY3D_DESCRIPTOR& descriptor);
// Slices of a whole array: of its depth, or of its layers and faces.
uint32_t slices_of(const CUDA_ARRAY3D_DESCRIPTOR& descriptor);

// The arrays, textures and surfaces of a context that ends. Their memory goes with the context's.
void forget_images_of(const Context& context);

}  // namespace vgpu::softgpu

// Texture and surface objects. Their handles are what device code carries; Launch::image finds
// them.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>

#include "softgpu/texel_image.h"

namespace vgpu::softgpu {

struct Texture {
  uint64_t id = 0;
  uint64_t context = 0;
  CUDA_RESOURCE_DESC resource{};
  CUDA_TEXTURE_DESC description{};
  CUDA_RESOURCE_VIEW_DESC view{};
  bool has_view = false;
  std::shared_ptr<const TexelImage> image;
};

struct Surface {
  uint64_t id = 0;
  uint64_t context = 0;
  CUDA_RESOURCE_DESC resource{};
  std::shared_ptr<const TexelImage> image;
};

// What a handle in device code names; null when nothing.
std::shared_ptr<const TexelImage> find_image(uint64_t handle);

}  // namespace vgpu::softgpu

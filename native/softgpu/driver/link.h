// cuLink: several PTX inputs to one image.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vgpu::softgpu {

struct LinkState {
  uint64_t id = 0;
  std::vector<std::vector<std::byte>> texts;
  std::string image;  // after completion
  std::vector<CUjit_option> options;
  std::vector<void*> values;
};

}  // namespace vgpu::softgpu

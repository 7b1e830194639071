// cuLink: several PTX inputs to one image.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "softgpu/driver/jit_log.h"

namespace vgpu::softgpu {

struct LinkState {
  uint64_t id = 0;
  std::vector<std::vector<std::byte>> texts;
  std::vector<std::vector<std::byte>> library_texts;  // linked behind the others
  std::string image;                                  // after completion
  JitLog log;
  bool failed = false;  // an input was refused: completion fails, too
};

}  // namespace vgpu::softgpu

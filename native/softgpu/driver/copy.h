// What graph nodes share with the copy and memset calls.
#pragma once

#include "softgpu/driver/operation.h"

namespace vgpu::softgpu {

// Checks a 3D copy and resolves it to addresses.
CUresult box_operation(const CUDA_MEMCPY3D& given, CopyOperation& copy);
CUresult check_fill(const CUDA_MEMSET_NODE_PARAMS& node);

}  // namespace vgpu::softgpu

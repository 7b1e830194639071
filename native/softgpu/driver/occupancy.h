// How many blocks fit on a multiprocessor, from the same limits as the device attributes.
#pragma once

#include "softgpu/driver/module.h"

namespace vgpu::softgpu {

// At least 1 for a launch that is allowed at all, else 0.
unsigned blocks_per_sm(const Function& function, unsigned threads, size_t dynamic_shared);

}  // namespace vgpu::softgpu

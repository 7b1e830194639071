// Which flags a context may have: checked alike by the stub and the software GPU.
#pragma once

#include <cuda.h>

namespace vgpu::contract {

// One scheduling policy at most (0, 1, 2 or 4), and no bit that CUDA does not define.
inline bool valid_context_flags(unsigned flags) {
  const unsigned schedule = flags & CU_CTX_SCHED_MASK;
  return (flags & ~unsigned{CU_CTX_FLAGS_MASK}) == 0 && (schedule & (schedule - 1)) == 0;
}

inline bool valid_cache_config(CUfunc_cache config) {
  return config >= CU_FUNC_CACHE_PREFER_NONE && config <= CU_FUNC_CACHE_PREFER_EQUAL;
}

inline bool valid_shared_config(CUsharedconfig config) {
  return config >= CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE &&
         config <= CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE;
}

// cuCtxGetApiVersion: what every context reports, whatever the driver's version.
constexpr unsigned kContextApiVersion = 3020;

}  // namespace vgpu::contract

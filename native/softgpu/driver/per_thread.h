// What generated entry points need: which default stream a null handle means, and the answer of
// functions that the software GPU does not have.
#pragma once

#include <cuda.h>

namespace vgpu::softgpu {

// Entry points with a _ptsz or _ptds suffix hold one: a null stream is then the thread's own.
class ScopedPerThreadDefault {
 public:
  ScopedPerThreadDefault();
  ~ScopedPerThreadDefault();
  ScopedPerThreadDefault(const ScopedPerThreadDefault&) = delete;
  ScopedPerThreadDefault& operator=(const ScopedPerThreadDefault&) = delete;

 private:
  bool before_;
};
bool per_thread_default();

// CUDA_ERROR_NOT_SUPPORTED, with one log line per function.
CUresult unsupported(const char* function);

}  // namespace vgpu::softgpu

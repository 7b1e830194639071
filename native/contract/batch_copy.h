// Batches of copies (CUDA 12.8): checked as a whole, then issued one by one in the stream.
#pragma once

#include <cuda.h>

#include <cstddef>

namespace vgpu::contract {

// The calls that a batch is made of, of the library that serves it.
struct BatchCalls {
  CUresult (*copy)(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream);
  CUresult (*box)(const CUDA_MEMCPY3D* copy, CUstream stream);
  CUresult (*describe)(CUDA_ARRAY3D_DESCRIPTOR* descriptor, CUarray array);
  bool (*legacy)(CUstream stream);  // whether the handle means the legacy stream here
};

struct Batch {
  const CUdeviceptr* to;
  const CUdeviceptr* from;
  const size_t* sizes;
  size_t count;
  const CUmemcpyAttributes* attributes;
  const size_t* first_of_attribute;
  size_t attribute_count;
};

// `failed` (may be null) receives the index of the copy that is wrong, SIZE_MAX if none is to
// blame.
CUresult batch_copy(const BatchCalls& calls, const Batch& batch, size_t* failed, CUstream stream);
CUresult batch_box(const BatchCalls& calls, const CUDA_MEMCPY3D_BATCH_OP* list, size_t count,
                   unsigned long long flags, size_t* failed, CUstream stream);

}  // namespace vgpu::contract

// Batches of copies: single copies of this library, checked together first.
#include "contract/batch_copy.h"
#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/process.h"
#include "stub/thread.h"

namespace vgpu::stub::api {
namespace {

constexpr contract::BatchCalls kCalls = {
    .copy = &api::cuMemcpyAsync,
    .box = &api::cuMemcpy3DAsync_v2,
    .describe = &api::cuArray3DGetDescriptor_v2,
    .legacy =
        [](CUstream stream) {
          return stream == CU_STREAM_LEGACY ||
                 (stream == nullptr && this_thread().per_thread_default == 0);
        },
};

CUresult check() {
  Context* context = nullptr;
  return current_context(&context);
}

}  // namespace

CUresult cuMemcpyBatchAsync(CUdeviceptr* to, CUdeviceptr* from, size_t* sizes, size_t count,
                            CUmemcpyAttributes* attributes, size_t* first, size_t attribute_count,
                            size_t* failed, CUstream stream) {
  if (const CUresult result = check()) return result;
  return contract::batch_copy(kCalls, {to, from, sizes, count, attributes, first, attribute_count},
                              failed, stream);
}
CUresult cuMemcpyBatchAsync_v2(CUdeviceptr* to, CUdeviceptr* from, size_t* sizes, size_t count,
                               CUmemcpyAttributes* attributes, size_t* first,
                               size_t attribute_count, CUstream stream) {
  return api::cuMemcpyBatchAsync(to, from, sizes, count, attributes, first, attribute_count,
                                 nullptr, stream);
}

CUresult cuMemcpy3DBatchAsync(size_t count, CUDA_MEMCPY3D_BATCH_OP* list, size_t* failed,
                              unsigned long long flags, CUstream stream) {
  if (const CUresult result = check()) return result;
  return contract::batch_box(kCalls, list, count, flags, failed, stream);
}
CUresult cuMemcpy3DBatchAsync_v2(size_t count, CUDA_MEMCPY3D_BATCH_OP* list,
                                 unsigned long long flags, CUstream stream) {
  return api::cuMemcpy3DBatchAsync(count, list, nullptr, flags, stream);
}

}  // namespace vgpu::stub::api

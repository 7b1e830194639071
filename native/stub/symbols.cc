#include "generated/stub_api.h"
#include "stub/call.h"

namespace vgpu::stub {

// generated/stub_symbols.cc
CUresult find_symbol(const char* symbol, int version, uint64_t flags, void** entry,
                     CUdriverProcAddressQueryResult* status);

}  // namespace vgpu::stub

namespace vgpu::stub::api {

CUresult cuGetProcAddress_v2(const char* symbol, void** pfn, int cudaVersion, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* symbolStatus) {
  const CUresult result = find_symbol(symbol, cudaVersion, flags, pfn, symbolStatus);
  if (result != CUDA_SUCCESS) return result;
  // The driver reports a missing symbol as an error too, unless the caller takes the status.
  return *pfn == nullptr && symbolStatus == nullptr ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}

CUresult cuGetProcAddress(const char* symbol, void** pfn, int cudaVersion, cuuint64_t flags) {
  return api::cuGetProcAddress_v2(symbol, pfn, cudaVersion, flags, nullptr);
}

}  // namespace vgpu::stub::api

#include "generated/stub_api.h"
#include "stub/contract.h"
#include "stub/process.h"

namespace vgpu::stub::api {

CUresult cuInit(unsigned int Flags) {
  if (Flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = initialize();
  if (result == CUDA_SUCCESS) install_contract();
  return result;
}

// Asked before cuInit by every CUDA runtime, and must then be what it will be afterwards: so it
// attaches.
CUresult cuDriverGetVersion(int* driverVersion) {
  if (driverVersion == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *driverVersion = driver_version();
  return CUDA_SUCCESS;
}

}  // namespace vgpu::stub::api

// Entry points by name and version, private tables, and what has no subject of its own.
#include "contract/contract.h"
#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"

namespace vgpu::softgpu {

// Made from protocol/spec.
CUresult find_symbol(const char* symbol, int version, uint64_t flags, void** entry,
                     CUdriverProcAddressQueryResult* status);

namespace api {

CUresult cuGetProcAddress_v2(const char* symbol, void** entry, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
  if (symbol == nullptr || entry == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return find_symbol(symbol, version, flags, entry, status);
}

CUresult cuGetProcAddress(const char* symbol, void** entry, int version, cuuint64_t flags) {
  return api::cuGetProcAddress_v2(symbol, entry, version, flags, nullptr);
}

CUresult cuGetExportTable(const void** table, const CUuuid* id) {
  return contract::export_table(table, id);
}

CUresult cuProfilerStart() { return initialised() ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED; }
CUresult cuProfilerStop() { return initialised() ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED; }

// Nothing is ever logged through a callback: refused, which programs tolerate.
CUresult cuLogsRegisterCallback(CUlogsCallback, void*, CUlogsCallbackHandle*) {
  return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuLogsUnregisterCallback(CUlogsCallbackHandle) { return CUDA_ERROR_NOT_SUPPORTED; }

}  // namespace api
}  // namespace vgpu::softgpu

// For the executor: which part of a fat binary the client should send.
extern "C" __attribute__((visibility("default"))) const char* vgpu_softgpu_images() {
  using namespace vgpu::softgpu;
  return initialised() && driver().config.skip_sass ? "any-elf" : "ptx";
}

// The mark by which a program can tell this library from NVIDIA's.
extern "C" __attribute__((visibility("default"))) const char* vgpu_softgpu_version() {
  return "1.0";
}

// What kernels have done in this process so far: launches, warp instructions, lane operations
// (instructions times active lanes). For benchmarks; kernels that still run do not count yet.
extern "C" __attribute__((visibility("default"))) void vgpu_softgpu_statistics(uint64_t counts[3]) {
  const bool ready = vgpu::softgpu::initialised();
  counts[0] = ready ? vgpu::softgpu::driver().launches.load() : 0;
  counts[1] = ready ? vgpu::softgpu::driver().instructions.load() : 0;
  counts[2] = ready ? vgpu::softgpu::driver().lane_operations.load() : 0;
}

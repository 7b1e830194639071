// Host memory is the program's own: plain writable pages. Nothing travels; only mapped memory has a
// copy on the device (shadow.h).
#include <sys/mman.h>
#include <unistd.h>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/process.h"
#include "stub/shadow.h"

namespace vgpu::stub::api {
namespace {

size_t page_aligned(size_t size) {
  static const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return (size + page - 1) & ~(page - 1);
}

CUresult host_alloc(void** pp, size_t bytesize, unsigned flags) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  constexpr unsigned kAll =
      CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
  if (pp == nullptr || bytesize == 0 || (flags & ~kAll) != 0) return CUDA_ERROR_INVALID_VALUE;
  void* memory = ::mmap(nullptr, page_aligned(bytesize), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  HostRange range;
  range.base = reinterpret_cast<uint64_t>(memory);
  range.size = bytesize;
  range.kind = HostKind::kAllocated;
  range.flags = flags;
  range.context = context;
  process()->host.add(range);
  *pp = memory;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuMemHostAlloc(void** pp, size_t bytesize, unsigned int Flags) {
  return host_alloc(pp, bytesize, Flags);
}

CUresult cuMemAllocHost_v2(void** pp, size_t bytesize) {
  return host_alloc(pp, bytesize, CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_PORTABLE);
}

CUresult cuMemFreeHost(void* p) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (p == nullptr) return CUDA_SUCCESS;
  const auto range = process()->host.find(reinterpret_cast<uint64_t>(p));
  if (!range || range->base != reinterpret_cast<uint64_t>(p)) return CUDA_ERROR_INVALID_VALUE;
  if (range->kind != HostKind::kAllocated) return CUDA_ERROR_INVALID_VALUE;
  // Copies from the device that are on their way may still land here: let them, first.
  if (process()->link() != nullptr && !process()->link()->lost() && range->context->alive) {
    static_cast<void>(api::cuCtxSynchronize_v2(as_handle<CUcontext>(range->context->id)));
  }
  const auto removed = process()->host.remove(range->base, HostKind::kAllocated);
  if (!removed) return CUDA_ERROR_INVALID_VALUE;
  if (removed->shadow != 0) drop_shadow(p);
  ::munmap(p, page_aligned(removed->size));
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* pdptr, void* p, unsigned int Flags) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  if (pdptr == nullptr || Flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const auto address = reinterpret_cast<uint64_t>(p);
  const auto range = process()->host.find(address);
  if (!range) return CUDA_ERROR_INVALID_VALUE;
  uint64_t shadow = range->shadow;
  if (shadow == 0) {
    const CUresult result =
        make_shadow(*context, reinterpret_cast<void*>(range->base), range->size, &shadow);
    if (result != CUDA_SUCCESS) return result;
    process()->host.set_shadow(range->base, shadow);
  }
  *pdptr = shadow + (address - range->base);
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int* pFlags, void* p) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  const auto range = process()->host.find(reinterpret_cast<uint64_t>(p));
  if (pFlags == nullptr || !range || range->kind != HostKind::kAllocated) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *pFlags = range->flags;
  return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void* p, size_t bytesize, unsigned int Flags) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  constexpr unsigned kServed = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP;
  if (p == nullptr || bytesize == 0) return CUDA_ERROR_INVALID_VALUE;
  if ((Flags & ~kServed) != 0) return unsupported("cuMemHostRegister of I/O or read-only memory");
  const auto address = reinterpret_cast<uint64_t>(p);
  if (process()->host.overlaps(address, bytesize)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  HostRange range;
  range.base = address;
  range.size = bytesize;
  range.kind = HostKind::kRegistered;
  range.flags = Flags;
  range.context = context;
  process()->host.add(range);
  return CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void* p) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto address = reinterpret_cast<uint64_t>(p);
  const auto range = process()->host.find(address);
  if (!range || range->base != address || range->kind != HostKind::kRegistered) {
    return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  }
  if (process()->link() != nullptr && !process()->link()->lost() && range->context->alive) {
    static_cast<void>(api::cuCtxSynchronize_v2(as_handle<CUcontext>(range->context->id)));
  }
  const auto removed = process()->host.remove(address, HostKind::kRegistered);
  if (removed && removed->shadow != 0) drop_shadow(p);
  return removed ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

}  // namespace vgpu::stub::api

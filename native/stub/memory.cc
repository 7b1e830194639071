// Device memory and memsets. The client keeps a map of all allocations, so that ranges are checked
// and pointers described without a round trip.
#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/capture.h"
#include "stub/copy.h"
#include "stub/graph_host.h"
#include "stub/process.h"

namespace vgpu::stub::api {
namespace {

void remember(Context* context, uint64_t address, uint64_t size) {
  Allocation allocation;
  allocation.base = address;
  allocation.size = size;
  allocation.context = context;
  allocation.device = context->device;
  process()->allocations.add(allocation);
}

// A free is done when the work before it is: until then its bytes are not available. Waits for
// that, and says whether there was anything to wait for.
bool settle_frees(Context& context) {
  if (context.last_free.load() <= context.synced.load()) return false;
  if (process()->active_captures.load() != 0) return false;
  return api::cuCtxSynchronize_v2(as_handle<CUcontext>(context.id)) == CUDA_SUCCESS;
}

// One memset: `width` elements of `element` bytes in each of `height` rows.
template <typename Value>
CUresult memset_rows(Opcode opcode, CUdeviceptr destination, size_t pitch, Value value,
                     size_t width, size_t height, bool rows, CUstream stream) {
  Call call(opcode);
  call.stream(stream);
  if (!call.ok()) return call.result();
  if (width == 0 || height == 0) return CUDA_SUCCESS;
  const size_t row_bytes = width * sizeof(Value);
  const size_t bytes = rows ? (height - 1) * pitch + row_bytes : row_bytes;
  const bool aligned =
      destination % sizeof(Value) == 0 && (!rows || height == 1 || pitch >= row_bytes);
  if (!aligned || !writable(destination, bytes)) return CUDA_ERROR_INVALID_VALUE;
  call.put(static_cast<uint64_t>(destination));
  if (rows) call.put(static_cast<uint64_t>(pitch));
  call.put(value);
  call.put(static_cast<uint64_t>(width));
  if (rows) call.put(static_cast<uint64_t>(height));
  return call.send();
}

}  // namespace

CUresult cuMemAlloc_v2(CUdeviceptr* dptr, size_t bytesize) {
  Call call(Opcode::cuMemAlloc_v2);
  if (!call.ok()) return call.result();
  if (dptr == nullptr || bytesize == 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_capture_unsafe(); result != CUDA_SUCCESS) return result;
  call.put(static_cast<uint64_t>(bytesize));
  const CUresult result = call.wait();
  if (result == CUDA_ERROR_OUT_OF_MEMORY && settle_frees(*call.context())) {
    return api::cuMemAlloc_v2(dptr, bytesize);
  }
  if (result != CUDA_SUCCESS) return result;
  *dptr = call.get<uint64_t>();
  remember(call.context(), *dptr, bytesize);
  return CUDA_SUCCESS;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* dptr, size_t* pPitch, size_t WidthInBytes, size_t Height,
                            unsigned int ElementSizeBytes) {
  Call call(Opcode::cuMemAllocPitch_v2);
  if (!call.ok()) return call.result();
  if (dptr == nullptr || pPitch == nullptr || WidthInBytes == 0 || Height == 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (const CUresult result = check_capture_unsafe(); result != CUDA_SUCCESS) return result;
  call.put(static_cast<uint64_t>(WidthInBytes));
  call.put(static_cast<uint64_t>(Height));
  call.put(static_cast<uint32_t>(ElementSizeBytes));
  const CUresult result = call.wait();
  if (result == CUDA_ERROR_OUT_OF_MEMORY && settle_frees(*call.context())) {
    return api::cuMemAllocPitch_v2(dptr, pPitch, WidthInBytes, Height, ElementSizeBytes);
  }
  if (result != CUDA_SUCCESS) return result;
  *dptr = call.get<uint64_t>();
  *pPitch = call.get<uint64_t>();
  remember(call.context(), *dptr, *pPitch * Height);
  return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr dptr) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (dptr == 0) return CUDA_SUCCESS;
  if (const CUresult result = check_capture_unsafe(); result != CUDA_SUCCESS) return result;
  auto& allocations = process()->allocations;
  const auto allocation = allocations.find(dptr);
  const bool whole =
      allocation && allocation->base == dptr &&
      (allocation->kind == AllocationKind::kAlloc || allocation->kind == AllocationKind::kAsync);
  if (allocation && allocation->base == dptr && allocation->kind == AllocationKind::kGraph) {
    Call call(Opcode::cuMemFree_v2);
    return call.ok() ? free_graph_memory(call, *allocation) : call.result();
  }
  if (!whole) return CUDA_ERROR_INVALID_VALUE;
  // Pool memory belongs to no context: any will do.
  Context* context = allocation->context;
  if (context == nullptr) {
    if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  }
  Call call(Opcode::cuMemFree_v2, context);
  if (!call.ok()) return call.result();
  if (const CUresult state = context_state(*context); state != CUDA_SUCCESS) return state;
  // Two threads that free the same pointer: one wins.
  if (!allocations.remove(dptr)) return CUDA_ERROR_INVALID_VALUE;
  call.put(static_cast<uint64_t>(dptr));
  const CUresult result = call.send();
  context->last_free.store(call.number());
  return result;
}

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  if (free == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
  settle_frees(*context);
  Call call(Opcode::cuMemGetInfo_v2);
  call.adds_no_work();
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  *free = call.get<uint64_t>();
  *total = call.get<uint64_t>();
  return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* pbase, size_t* psize, CUdeviceptr dptr) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  const auto allocation = process()->allocations.find(dptr);
  if (!allocation) return CUDA_ERROR_NOT_FOUND;
  if (pbase != nullptr) *pbase = allocation->base;
  if (psize != nullptr) *psize = allocation->size;
  return CUDA_SUCCESS;
}

CUresult cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream) {
  return memset_rows(Opcode::cuMemsetD8Async, dstDevice, 0, uc, N, 1, false, hStream);
}
CUresult cuMemsetD16Async(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream) {
  return memset_rows(Opcode::cuMemsetD16Async, dstDevice, 0, us, N, 1, false, hStream);
}
CUresult cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream) {
  return memset_rows(Opcode::cuMemsetD32Async, dstDevice, 0, ui, N, 1, false, hStream);
}
CUresult cuMemsetD2D8Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                           size_t Height, CUstream hStream) {
  return memset_rows(Opcode::cuMemsetD2D8Async, dstDevice, dstPitch, uc, Width, Height, true,
                     hStream);
}
CUresult cuMemsetD2D16Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                            size_t Height, CUstream hStream) {
  return memset_rows(Opcode::cuMemsetD2D16Async, dstDevice, dstPitch, us, Width, Height, true,
                     hStream);
}
CUresult cuMemsetD2D32Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                            size_t Height, CUstream hStream) {
  return memset_rows(Opcode::cuMemsetD2D32Async, dstDevice, dstPitch, ui, Width, Height, true,
                     hStream);
}

// The synchronous memsets are asynchronous for device memory, in CUDA too.
CUresult cuMemsetD8_v2(CUdeviceptr dstDevice, unsigned char uc, size_t N) {
  return api::cuMemsetD8Async(dstDevice, uc, N, nullptr);
}
CUresult cuMemsetD16_v2(CUdeviceptr dstDevice, unsigned short us, size_t N) {
  return api::cuMemsetD16Async(dstDevice, us, N, nullptr);
}
CUresult cuMemsetD32_v2(CUdeviceptr dstDevice, unsigned int ui, size_t N) {
  return api::cuMemsetD32Async(dstDevice, ui, N, nullptr);
}
CUresult cuMemsetD2D8_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                         size_t Height) {
  return api::cuMemsetD2D8Async(dstDevice, dstPitch, uc, Width, Height, nullptr);
}
CUresult cuMemsetD2D16_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                          size_t Height) {
  return api::cuMemsetD2D16Async(dstDevice, dstPitch, us, Width, Height, nullptr);
}
CUresult cuMemsetD2D32_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                          size_t Height) {
  return api::cuMemsetD2D32Async(dstDevice, dstPitch, ui, Width, Height, nullptr);
}

}  // namespace vgpu::stub::api

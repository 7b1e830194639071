// What a pointer is: from the maps of device and host memory, without a trip.
#include <cstring>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/process.h"

namespace vgpu::stub::api {
namespace {

struct Found {
  std::optional<Allocation> device;
  std::optional<HostRange> host;
  [[nodiscard]] bool any() const { return device || host; }
};

Found look_up(uint64_t address) {
  Found found;
  found.device = process()->allocations.find(address);
  if (!found.device) found.host = process()->host.find(address);
  return found;
}

template <typename T>
CUresult store(void* data, T value) {
  std::memcpy(data, &value, sizeof value);
  return CUDA_SUCCESS;
}

CUresult context_of(void* data, const Found& found) {
  const Context* context = found.device ? found.device->context : found.host->context;
  return store(data, context == nullptr ? CUcontext{} : as_handle<CUcontext>(context->id));
}

int ordinal_of(const Found& found) {
  const Device* device = found.device ? found.device->device : found.host->context->device;
  return device == nullptr ? -1 : device->ordinal;
}

CUresult device_pointer(void* data, uint64_t address, const Found& found) {
  if (found.device) return store<CUdeviceptr>(data, address);
  if (found.host->shadow == 0) return CUDA_ERROR_INVALID_VALUE;
  return store<CUdeviceptr>(data, found.host->shadow + (address - found.host->base));
}

CUresult host_pointer(void* data, uint64_t address, const Found& found) {
  return found.host ? store(data, address) : CUDA_ERROR_INVALID_VALUE;
}

// Requires found.any().
CUresult attribute_of(void* data, CUpointer_attribute attribute, uint64_t address,
                      const Found& found) {
  const uint64_t base = found.device ? found.device->base : found.host->base;
  const uint64_t size = found.device ? found.device->size : found.host->size;
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return context_of(data, found);
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: {
      return store<unsigned>(data, found.device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST);
    }
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      return device_pointer(data, address, found);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      return host_pointer(data, address, found);
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS: {
      return store<unsigned>(data, found.device && found.device->sync_memops ? 1 : 0);
    }
    case CU_POINTER_ATTRIBUTE_BUFFER_ID: {
      return store<uint64_t>(data, found.device ? found.device->id : found.host->id);
    }
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      return store<unsigned>(data, 0);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      return store<int>(data, ordinal_of(found));
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      return store<unsigned>(data, 0);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return store<uint64_t>(data, base);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return store<size_t>(data, size);
    case CU_POINTER_ATTRIBUTE_MAPPED:
      return store<unsigned>(data, 1);
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
      return store<uint64_t>(data, 0);
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
      return store<unsigned>(data, 0);
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS: {
      return store<unsigned>(data, CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE);
    }
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE: {
      return store<uint64_t>(data, found.device ? found.device->pool : 0);
    }
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
      return store<size_t>(data, size);
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
      return store<uint64_t>(data, base);
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID: {
      return store<uint64_t>(data, found.device ? found.device->id : found.host->id);
    }
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

// cuPointerGetAttributes never fails for an unknown pointer: it writes what means "none".
void attribute_of_unknown(void* data, CUpointer_attribute attribute) {
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
      store<uint64_t>(data, 0);
      break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      store<int>(data, -2);
      break;
    case CU_POINTER_ATTRIBUTE_P2P_TOKENS:
      std::memset(data, 0, 16);
      break;
    default:
      store<unsigned>(data, 0);
      break;
  }
}

}  // namespace

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr ptr) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Found found = look_up(ptr);
  return found.any() ? attribute_of(data, attribute, ptr, found) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute* attributes,
                                void** data, CUdeviceptr ptr) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (attributes == nullptr || data == nullptr || numAttributes == 0)
    return CUDA_ERROR_INVALID_VALUE;
  const Found found = look_up(ptr);
  for (unsigned i = 0; i < numAttributes; ++i) {
    if (data[i] == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const bool known =
        found.any() && attribute_of(data[i], attributes[i], ptr, found) == CUDA_SUCCESS;
    if (!known) attribute_of_unknown(data[i], attributes[i]);
  }
  return CUDA_SUCCESS;
}

CUresult cuPointerSetAttribute(const void* value, CUpointer_attribute attribute, CUdeviceptr ptr) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (value == nullptr || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  unsigned on = 0;
  std::memcpy(&on, value, sizeof on);
  return process()->allocations.set_sync_memops(ptr, on != 0) ? CUDA_SUCCESS
                                                              : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace vgpu::stub::api

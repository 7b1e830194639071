#include "softgpu/driver/pool.h"

#include <algorithm>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph_memory.h"
#include "softgpu/driver/operation.h"

namespace vgpu::softgpu {

void make_default_pool(Device& device) {
  device.default_pool = std::make_shared<Pool>(device);
  driver().pools.add(device.default_pool);
  device.pool = device.default_pool;
}

namespace api {
namespace {

CUresult find_pool(CUmemoryPool handle, std::shared_ptr<Pool>& pool) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  pool = driver().pools.find(handle);
  return pool ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

bool captures(const Stream& stream) {
  if (!any_capture()) return false;
  const std::lock_guard lock(capture_mutex());
  return stream.capture != nullptr;
}

CUresult allocate(CUdeviceptr* out, size_t bytes, const std::shared_ptr<Pool>& pool,
                  const std::shared_ptr<Stream>& stream) {
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (captures(*stream)) return capture_allocation(*stream, pool->device, bytes, out);
  uint64_t address = 0;
  const Allocation description{.kind = MemoryKind::kPool, .pool = pool->id};
  CUresult result = allocate_device(pool->device, bytes, kMemoryUnit, description, &address);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    // Frees that are still queued may hold what is needed.
    synchronize(*stream->context);
    result = allocate_device(pool->device, bytes, kMemoryUnit, description, &address);
  }
  if (result != CUDA_SUCCESS) return result;
  const std::lock_guard lock(pool->mutex);
  pool->used += (bytes + kMemoryUnit - 1) / kMemoryUnit * kMemoryUnit;
  pool->used_high = std::max(pool->used_high, pool->used);
  *out = address;
  return CUDA_SUCCESS;
}

void release(uint64_t address) {
  const auto removed = driver().allocations.remove(address);
  if (!removed) return;
  if (const auto pool = driver().pools.find(removed->pool)) {
    const std::lock_guard lock(pool->mutex);
    pool->used -= removed->charged;
  }
  release_memory(*removed);
}

CUresult pool_of(CUdevice ordinal, bool current, CUmemoryPool* out) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  Device* device = find_device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(driver().pools_mutex);
  *out = as_handle<CUmemoryPool>((current ? device->pool : device->default_pool)->id);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuMemAllocAsync(CUdeviceptr* out, size_t bytes, CUstream handle) {
  const Current current;
  if (!current) return current.error();
  const auto stream = find_stream(current.shared(), handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  std::shared_ptr<Pool> pool;
  {
    const std::lock_guard lock(driver().pools_mutex);
    pool = stream->context->device.pool;
  }
  return allocate(out, bytes, pool, stream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* out, size_t bytes, CUmemoryPool pool_handle,
                                 CUstream handle) {
  const Current current;
  if (!current) return current.error();
  const auto stream = find_stream(current.shared(), handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  std::shared_ptr<Pool> pool;
  if (const CUresult result = find_pool(pool_handle, pool)) return result;
  return allocate(out, bytes, pool, stream);
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
  const Current current;
  if (!current) return current.error();
  const auto stream = find_stream(current.shared(), handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (address == 0) return CUDA_SUCCESS;
  const auto found = driver().allocations.find(address);
  if (captures(*stream)) return capture_free(*stream, address);
  if (found && found->begin == address && found->kind == MemoryKind::kGraph) {
    return free_graph_memory_async(stream, address);
  }
  if (!found || found->begin != address ||
      (found->kind != MemoryKind::kPool && found->kind != MemoryKind::kDevice)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  submit(stream, [address] { release(address); }, Place::kCallerIfIdle, true);
  return CUDA_SUCCESS;
}

// A pool keeps nothing that is not in use.
CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t) {
  std::shared_ptr<Pool> pool;
  return find_pool(handle, pool);
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  std::shared_ptr<Pool> pool;
  if (const CUresult result = find_pool(handle, pool)) return result;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(pool->mutex);
  const auto setting = [&](uint64_t otherwise) {
    const auto found = pool->settings.find(attribute);
    return found == pool->settings.end() ? otherwise : found->second;
  };
  switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
      *static_cast<int*>(value) = static_cast<int>(setting(1));
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      *static_cast<cuuint64_t*>(value) = setting(0);
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
      *static_cast<cuuint64_t*>(value) = pool->used;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      *static_cast<cuuint64_t*>(value) = pool->used_high;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  std::shared_ptr<Pool> pool;
  if (const CUresult result = find_pool(handle, pool)) return result;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(pool->mutex);
  switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
      pool->settings[attribute] = *static_cast<int*>(value) != 0 ? 1 : 0;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      pool->settings[attribute] = *static_cast<cuuint64_t*>(value);
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      if (*static_cast<cuuint64_t*>(value) != 0) return CUDA_ERROR_INVALID_VALUE;
      pool->used_high = pool->used;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc* map, size_t count) {
  std::shared_ptr<Pool> pool;
  if (const CUresult result = find_pool(handle, pool)) return result;
  if (count != 0 && map == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; ++i) {
    Device* device = find_device(map[i].location.id);
    if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_INVALID_VALUE;
    if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
    if (device == &pool->device) continue;
    if (map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE) {
      driver().allocations.open(*device, pool->device);
    }
    const std::lock_guard lock(pool->mutex);
    pool->access[device->ordinal] = map[i].flags;
  }
  return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags* flags, CUmemoryPool handle,
                            CUmemLocation* location) {
  std::shared_ptr<Pool> pool;
  if (const CUresult result = find_pool(handle, pool)) return result;
  if (flags == nullptr || location == nullptr || location->type != CU_MEM_LOCATION_TYPE_DEVICE ||
      find_device(location->id) == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const std::lock_guard lock(pool->mutex);
  const auto found = pool->access.find(location->id);
  if (location->id == pool->device.ordinal) {
    *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  } else {
    *flags = found == pool->access.end() ? CU_MEM_ACCESS_FLAGS_PROT_NONE : found->second;
  }
  return CUDA_SUCCESS;
}

CUresult cuMemPoolCreate(CUmemoryPool* out, const CUmemPoolProps* properties) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (out == nullptr || properties == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
      properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (properties->handleTypes != CU_MEM_HANDLE_TYPE_NONE) return CUDA_ERROR_NOT_SUPPORTED;
  Device* device = find_device(properties->location.id);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *out = as_handle<CUmemoryPool>(driver().pools.add(std::make_shared<Pool>(*device)));
  return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool handle) {
  std::shared_ptr<Pool> pool;
  if (const CUresult result = find_pool(handle, pool)) return result;
  if (pool == pool->device.default_pool) return CUDA_ERROR_INVALID_VALUE;
  {
    const std::lock_guard lock(driver().pools_mutex);
    if (pool->device.pool == pool) pool->device.pool = pool->device.default_pool;
  }
  driver().pools.remove(handle);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* out, CUdevice dev) {
  return pool_of(dev, false, out);
}
CUresult cuDeviceGetMemPool(CUmemoryPool* out, CUdevice dev) { return pool_of(dev, true, out); }
CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool handle) {
  std::shared_ptr<Pool> pool;
  if (const CUresult result = find_pool(handle, pool)) return result;
  Device* device = find_device(dev);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (&pool->device != device) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(driver().pools_mutex);
  device->pool = pool;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu

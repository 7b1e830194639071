#include "softgpu/driver/pool.h"

#include <algorithm>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph_memory.h"
#include "softgpu/driver/operation.h"

namespace vgpu::softgpu {

namespace {

uint64_t rounded(uint64_t bytes) { return (bytes + kMemoryUnit - 1) / kMemoryUnit * kMemoryUnit; }

}  // namespace

Pool::Pool(Device& device)
    : device(device),
      grants(
          std::make_shared<Grants>(Grants{{device.ordinal, CU_MEM_ACCESS_FLAGS_PROT_READWRITE}})) {}

// Requires mutex.
uint64_t Pool::setting(CUmemPool_attribute attribute) const {
  const auto found = settings.find(attribute);
  if (found != settings.end()) return found->second;
  return attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ? 0 : 1;
}

void Pool::trim(uint64_t keep) {
  for (auto block = blocks.begin(); block != blocks.end() && reserved > keep;) {
    if (!block->idle) {
      ++block;
      continue;
    }
    reserved -= block->size;
    device.heap.release(block->address);
    device.discharge(block->size);
    block = blocks.erase(block);
  }
}

void make_default_pool(Device& device) {
  device.default_pool = std::make_shared<Pool>(device);
  driver().pools.add(device.default_pool);
  device.pool = device.default_pool;
}

bool charge(Device& device, uint64_t bytes) {
  if (device.charge(bytes)) return true;
  for (const auto& pool : driver().pools.all()) {
    if (&pool->device != &device) continue;
    const std::lock_guard lock(pool->mutex);
    pool->trim(0);
  }
  return device.charge(bytes);
}

void count_freed(const Allocation& allocation) {
  const std::lock_guard lock(allocation.pool->mutex);
  allocation.pool->used -= allocation.charged;
}

void keep_freed(const Allocation& allocation) {
  Pool& pool = *allocation.pool;
  const std::lock_guard lock(pool.mutex);
  const auto block = std::ranges::find(pool.blocks, allocation.id, &Pool::Block::allocation);
  if (block != pool.blocks.end()) {
    block->idle = true;
    block->extent = 0;
    block->stream = nullptr;
    block->freed = {};
  } else {
    pool.blocks.push_back({.address = allocation.begin,
                           .size = allocation.charged,
                           .allocation = allocation.id,
                           .extent = 0,
                           .stream = nullptr,
                           .freed = {},
                           .idle = true});
  }
  // A destroyed pool keeps nothing.
  pool.trim(driver().pools.find(pool.id) ? pool.setting(CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) : 0);
  if (!pool.blocks.empty()) pool.device.pools_keep = true;
}

void release_surplus(const Device& device) {
  if (!device.pools_keep.load(std::memory_order_relaxed)) return;
  for (const auto& pool : driver().pools.all()) {
    if (&pool->device != &device) continue;
    const std::lock_guard lock(pool->mutex);
    pool->trim(pool->setting(CU_MEMPOOL_ATTR_RELEASE_THRESHOLD));
  }
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

// A block that a request of `bytes` on the stream may have without anybody waiting. Requires
// pool.mutex.
std::optional<Pool::Block> take_block(Pool& pool, const Stream& stream, uint64_t bytes) {
  const auto best = std::ranges::find_if(pool.blocks, [&](const Pool::Block& block) {
    return block.size == bytes && block.stream.get() == &stream;
  });
  const auto any = best != pool.blocks.end()
                       ? best
                       : std::ranges::find_if(pool.blocks, [&](const Pool::Block& block) {
                           return block.size == bytes && block.idle;
                         });
  if (any == pool.blocks.end()) return std::nullopt;
  Pool::Block block = std::move(*any);
  pool.blocks.erase(any);
  return block;
}

// Any block of that size, for a stream that will wait for its free. Requires pool.mutex.
std::optional<Pool::Block> take_pending(Pool& pool, uint64_t bytes) {
  if (pool.setting(CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES) == 0) return std::nullopt;
  const auto any = std::ranges::find_if(pool.blocks, [&](const Pool::Block& block) {
    return block.size == bytes && block.freed.stream != nullptr;
  });
  if (any == pool.blocks.end()) return std::nullopt;
  Pool::Block block = std::move(*any);
  pool.blocks.erase(any);
  return block;
}

// Fresh memory of the device. Requires pool.mutex.
std::optional<Pool::Block> reserve(Pool& pool, uint64_t bytes) {
  const uint64_t most = pool.maximum == 0 ? pool.device.total : pool.maximum;
  if (bytes > most) return std::nullopt;
  if (pool.reserved > most - bytes) pool.trim(most - bytes);
  if (pool.reserved > most - bytes) return std::nullopt;
  if (!pool.device.charge(bytes)) {
    pool.trim(0);
    if (!pool.device.charge(bytes)) return std::nullopt;
  }
  const uint64_t address = pool.device.heap.allocate(bytes, kMemoryUnit);
  if (address == 0) {
    pool.device.discharge(bytes);
    return std::nullopt;
  }
  pool.reserved += bytes;
  pool.reserved_high = std::max(pool.reserved_high, pool.reserved);
  return Pool::Block{.address = address, .size = bytes};
}

std::optional<Pool::Block> find_block(Pool& pool, const std::shared_ptr<Stream>& stream,
                                      uint64_t bytes) {
  const std::lock_guard lock(pool.mutex);
  auto block = take_block(pool, *stream, bytes);
  if (!block) block = reserve(pool, bytes);
  if (!block) {
    block = take_pending(pool, bytes);
    if (block) {
      submit(stream, [freed = block->freed] { freed.wait(); }, Place::kStream, true);
    }
  }
  if (!block) return std::nullopt;
  pool.used += block->size;
  pool.used_high = std::max(pool.used_high, pool.used);
  return block;
}

CUresult allocate(CUdeviceptr* out, size_t bytes, const std::shared_ptr<Pool>& pool,
                  const std::shared_ptr<Stream>& stream) {
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (captures(*stream)) return capture_allocation(*stream, pool->device, bytes, out);
  if (bytes > pool->device.total) return CUDA_ERROR_OUT_OF_MEMORY;
  auto block = find_block(*pool, stream, rounded(bytes));
  if (!block) {
    // Frees that are still queued may hold what is needed, in pieces or in other pools.
    synchronize(*stream->context);
    for (const auto& other : driver().pools.all()) {
      if (&other->device != &pool->device) continue;
      const std::lock_guard lock(other->mutex);
      other->trim(0);
    }
    block = find_block(*pool, stream, rounded(bytes));
  }
  if (!block) return CUDA_ERROR_OUT_OF_MEMORY;
  std::shared_ptr<const Grants> grants;
  {
    const std::lock_guard lock(pool->mutex);
    grants = pool->grants;
  }
  driver().allocations.add({.begin = block->address,
                            .size = bytes,
                            .extent = block->extent,
                            .charged = block->size,
                            .kind = MemoryKind::kPool,
                            .device = &pool->device,
                            .pool = pool,
                            .grants = std::move(grants)});
  *out = block->address;
  return CUDA_SUCCESS;
}

// The stream got to the free. The memory may have been given out again meanwhile.
void finish_free(const Allocation& freed) {
  if (const auto removed = driver().allocations.remove(freed.begin, freed.id)) {
    release_memory(*removed);
  }
}

// Other allocations of the same stream may have the memory from now on.
void offer(const Allocation& freed, const std::shared_ptr<Stream>& stream) {
  Pool& pool = *freed.pool;
  const std::lock_guard lock(pool.mutex);
  pool.used -= freed.charged;
  pool.blocks.push_back({.address = freed.begin,
                         .size = freed.charged,
                         .allocation = freed.id,
                         .extent = std::max(freed.size, freed.extent),
                         .stream = stream});
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
  const auto freed = driver().allocations.mark_freed(address);
  if (!freed) return CUDA_ERROR_INVALID_VALUE;
  if (freed->pool != nullptr) offer(*freed, stream);
  const Fence done =
      submit(stream, [one = *freed] { finish_free(one); }, Place::kCallerIfIdle, true);
  if (freed->pool == nullptr) return CUDA_SUCCESS;
  const std::lock_guard lock(freed->pool->mutex);
  const auto block = std::ranges::find(freed->pool->blocks, freed->id, &Pool::Block::allocation);
  if (block != freed->pool->blocks.end() && !block->idle) block->freed = done;
  return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t keep) {
  std::shared_ptr<Pool> pool;
  if (const CUresult result = find_pool(handle, pool)) return result;
  const std::lock_guard lock(pool->mutex);
  pool->trim(keep);
  return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  std::shared_ptr<Pool> pool;
  if (const CUresult result = find_pool(handle, pool)) return result;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(pool->mutex);
  switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
      *static_cast<int*>(value) = static_cast<int>(pool->setting(attribute));
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      *static_cast<cuuint64_t*>(value) = pool->setting(attribute);
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
      *static_cast<cuuint64_t*>(value) = pool->reserved;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
      *static_cast<cuuint64_t*>(value) = pool->used;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
      *static_cast<cuuint64_t*>(value) = pool->reserved_high;
      return CUDA_SUCCESS;
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
      if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH) {
        pool->used_high = pool->used;
      } else {
        pool->reserved_high = pool->reserved;
      }
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
    if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_INVALID_VALUE;
    const Device* device = find_device(map[i].location.id);
    if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
    // The pool's own device never loses its access.
    const bool own = device == &pool->device;
    if (own && map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) return CUDA_ERROR_INVALID_DEVICE;
  }
  const std::lock_guard lock(pool->mutex);
  auto grants = std::make_shared<Grants>(*pool->grants);
  for (size_t i = 0; i < count; ++i) (*grants)[map[i].location.id] = map[i].flags;
  pool->grants = grants;
  driver().allocations.set_grants(*pool, grants);
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
  const auto found = pool->grants->find(location->id);
  *flags = found == pool->grants->end() ? CU_MEM_ACCESS_FLAGS_PROT_NONE : found->second;
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
  auto pool = std::make_shared<Pool>(*device);
  pool->maximum = properties->maxSize;
  *out = as_handle<CUmemoryPool>(driver().pools.add(std::move(pool)));
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
  // What is still in use lives on, and goes back to the device as it is freed.
  const std::lock_guard lock(pool->mutex);
  pool->trim(0);
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

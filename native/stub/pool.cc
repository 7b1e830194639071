// Stream-ordered memory. Each device's default pool has a fixed id; created pools are the client's.
#include <cstring>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/graph_host.h"
#include "stub/process.h"
#include "wire/calls.h"

namespace vgpu::stub::api {
namespace {

CUresult find_device(CUdevice ordinal, Device** device) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *device = process()->device(ordinal);
  return *device == nullptr ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

uint64_t default_pool(const Device& device) {
  return wire::default_mem_pool(device.worker_ordinal);
}
uint64_t current_pool(const Device& device) {
  const uint64_t set = device.pool.load();
  return set == 0 ? default_pool(device) : set;
}

// An int attribute travels widened.
bool is_int(CUmemPool_attribute attribute) {
  return attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

// Marks can be reset, policies and the threshold set; the rest is read only.
bool settable(CUmemPool_attribute attribute, uint64_t value) {
  switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      return true;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      return value == 0;
    default:
      return false;
  }
}

CUresult allocate(Opcode opcode, CUdeviceptr* dptr, size_t size, uint64_t pool, bool named,
                  CUstream stream) {
  Call call(opcode);
  call.stream(stream);
  if (!call.ok()) return call.result();
  if (dptr == nullptr || size == 0) return CUDA_ERROR_INVALID_VALUE;
  call.put(static_cast<uint64_t>(size));
  if (named) call.put(call.handle(HandleKind::kMemPool, pool));
  const bool captured = call.ordered_by()->capture.load() != nullptr;
  const uint64_t entry = captured ? add_host_entry({}) : 0;
  if (captured) call.put(entry);
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) {
    if (captured) forget_host_entry(entry);
    return result;
  }
  *dptr = call.get<uint64_t>();
  if (captured) set_host_entry_address(entry, *dptr);
  Allocation allocation;
  allocation.base = *dptr;
  allocation.size = size;
  allocation.kind = captured ? AllocationKind::kGraph : AllocationKind::kAsync;
  allocation.owner = entry;
  // Of the pool's device, and of no context.
  allocation.device = call.context()->device;
  if (const Pool* created = process()->pools.find(pool)) allocation.device = created->device;
  for (const auto& device : process()->devices) {
    if (pool == default_pool(*device)) allocation.device = device.get();
  }
  allocation.pool = pool;
  process()->allocations.add(allocation);
  return CUDA_SUCCESS;
}

// Locations name the program's ordinals; the wire carries the worker's.
bool put_location(Call& call, const CUmemLocation& location) {
  const Device* device = process()->device(location.id);
  if (location.type != CU_MEM_LOCATION_TYPE_DEVICE || device == nullptr) return false;
  call.put(static_cast<uint32_t>(location.type));
  call.put(static_cast<int32_t>(device->worker_ordinal));
  return true;
}

}  // namespace

CUresult cuMemAllocAsync(CUdeviceptr* dptr, size_t bytesize, CUstream hStream) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  return allocate(Opcode::cuMemAllocAsync, dptr, bytesize, current_pool(*context->device), false,
                  hStream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* dptr, size_t bytesize, CUmemoryPool pool,
                                 CUstream hStream) {
  return allocate(Opcode::cuMemAllocFromPoolAsync, dptr, bytesize, as_id(pool), true, hStream);
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream) {
  Call call(Opcode::cuMemFreeAsync);
  call.stream(hStream);
  if (!call.ok()) return call.result();
  const auto allocation = process()->allocations.find(dptr);
  if (!allocation || allocation->base != dptr) return CUDA_ERROR_INVALID_VALUE;
  const bool captured = call.ordered_by()->capture.load() != nullptr;
  if (allocation->kind == AllocationKind::kGraph) return free_graph_memory(call, *allocation);
  if (captured) return CUDA_ERROR_INVALID_VALUE;  // memory of no graph
  if (allocation->kind != AllocationKind::kAsync && allocation->kind != AllocationKind::kAlloc) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (!process()->allocations.remove(dptr)) return CUDA_ERROR_INVALID_VALUE;
  call.put(static_cast<uint64_t>(dptr));
  return call.send();
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool_out, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = find_device(dev, &device); result != CUDA_SUCCESS) return result;
  if (pool_out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pool_out = as_handle<CUmemoryPool>(default_pool(*device));
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = find_device(dev, &device); result != CUDA_SUCCESS) return result;
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pool = as_handle<CUmemoryPool>(current_pool(*device));
  return CUDA_SUCCESS;
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool) {
  Device* device = nullptr;
  if (const CUresult result = find_device(dev, &device); result != CUDA_SUCCESS) return result;
  const Pool* created = process()->pools.find(pool);
  const bool own =
      created != nullptr ? created->device == device : as_id(pool) == default_pool(*device);
  if (!own) return CUDA_ERROR_INVALID_VALUE;
  Call call(Opcode::cuDeviceSetMemPool);
  call.put(call.device(dev));
  call.put(call.handle(HandleKind::kMemPool, pool));
  const CUresult result = call.finish();
  if (result == CUDA_SUCCESS) device->pool = as_id(pool);
  return result;
}

CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* poolProps) {
  Call call(Opcode::cuMemPoolCreate);
  if (!call.ok()) return call.result();
  if (pool == nullptr || poolProps == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Device* device = process()->device(poolProps->location.id);
  if (poolProps->location.type != CU_MEM_LOCATION_TYPE_DEVICE) {
    return unsupported("cuMemPoolCreate on host memory");
  }
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (poolProps->handleTypes != CU_MEM_HANDLE_TYPE_NONE) {
    return unsupported("cuMemPoolCreate with shareable handles");
  }
  const uint64_t id = call.create(HandleKind::kMemPool);
  wire::MemPoolProps props{};
  props.alloc_type = poolProps->allocType;
  props.location_type = poolProps->location.type;
  props.location_id = device->worker_ordinal;
  props.max_size = poolProps->maxSize;
  props.usage = poolProps->usage;
  call.put(id);
  call.put(props);
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  process()->pools.find(id)->device = device;
  *pool = as_handle<CUmemoryPool>(id);
  return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
  Call call(Opcode::cuMemPoolDestroy);
  if (!call.ok()) return call.result();
  // Neither a default pool nor what is none can be destroyed.
  if (process()->pools.find(pool) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.destroy(HandleKind::kMemPool, pool));
  for (const auto& device : process()->devices) {
    uint64_t destroyed = as_id(pool);
    device->pool.compare_exchange_strong(destroyed, 0);
  }
  return call.finish();
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void* value) {
  Call call(Opcode::cuMemPoolSetAttribute);
  if (!call.ok()) return call.result();
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t wide = 0;
  std::memcpy(&wide, value, is_int(attr) ? sizeof(int) : sizeof wide);
  if (!settable(attr, wide)) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kMemPool, pool));
  call.put(static_cast<uint32_t>(attr));
  call.put(wide);
  return call.finish();
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void* value) {
  Call call(Opcode::cuMemPoolGetAttribute);
  if (!call.ok()) return call.result();
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kMemPool, pool));
  call.put(static_cast<uint32_t>(attr));
  const CUresult result = call.wait();
  const auto wide = call.get<uint64_t>();
  if (result == CUDA_SUCCESS) std::memcpy(value, &wide, is_int(attr) ? sizeof(int) : sizeof wide);
  return result;
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc* map, size_t count) {
  Call call(Opcode::cuMemPoolSetAccess);
  if (!call.ok()) return call.result();
  if (map == nullptr && count != 0) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kMemPool, pool));
  call.put(static_cast<uint32_t>(count));
  for (size_t i = 0; i < count; ++i) {
    if (!put_location(call, map[i].location)) return CUDA_ERROR_INVALID_DEVICE;
    call.put(static_cast<uint32_t>(map[i].flags));
  }
  return call.wait();
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags* flags, CUmemoryPool memPool,
                            CUmemLocation* location) {
  Call call(Opcode::cuMemPoolGetAccess);
  if (!call.ok()) return call.result();
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kMemPool, memPool));
  if (!put_location(call, *location)) return CUDA_ERROR_INVALID_DEVICE;
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *flags = static_cast<CUmemAccess_flags>(call.get<uint32_t>());
  return result;
}

}  // namespace vgpu::stub::api

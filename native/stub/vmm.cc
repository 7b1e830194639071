// Virtual memory management: reservations, physical memory, mappings.
#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/process.h"
#include "wire/calls.h"

namespace vgpu::stub::api {
namespace {

// False when the location is no device that the program sees.
bool fill(wire::MemAllocationProps& wire, const CUmemAllocationProp& prop) {
  const Device* device = process()->device(prop.location.id);
  if (prop.location.type != CU_MEM_LOCATION_TYPE_DEVICE || device == nullptr) return false;
  wire = {};
  wire.type = prop.type;
  // Exporting is what is not served: torch's expandable segments ask for a handle type and never
  // use it.
  wire.requested_handle_types = CU_MEM_HANDLE_TYPE_NONE;
  wire.location_type = prop.location.type;
  wire.location_id = device->worker_ordinal;
  wire.compression = prop.allocFlags.compressionType;
  wire.gpu_direct_rdma = prop.allocFlags.gpuDirectRDMACapable;
  wire.usage = prop.allocFlags.usage;
  return true;
}

// The memory behind a handle that the program holds; null for others.
PhysicalMemory* find_memory(CUmemGenericAllocationHandle handle) {
  PhysicalMemory* memory = process()->physical.find(handle);
  return memory == nullptr || memory->handles.load() == 0 ? nullptr : memory;
}

// Handle or mapping, something that kept the memory went.
CUresult release_if_unused(PhysicalMemory& memory) {
  if (memory.handles.load() != 0 || memory.mappings.load() != 0) return CUDA_SUCCESS;
  Call call(Opcode::cuMemRelease);
  if (!call.ok()) return call.result();
  call.put(memory.id.load());
  process()->physical.destroy(memory.id);
  return call.send();
}

}  // namespace

CUresult cuMemAddressReserve(CUdeviceptr* ptr, size_t size, size_t alignment, CUdeviceptr addr,
                             unsigned long long flags) {
  Call call(Opcode::cuMemAddressReserve);
  if (!call.ok()) return call.result();
  if (ptr == nullptr || size == 0) return CUDA_ERROR_INVALID_VALUE;
  call.put(static_cast<uint64_t>(size));
  call.put(static_cast<uint64_t>(alignment));
  call.put(static_cast<uint64_t>(addr));
  call.put(static_cast<uint64_t>(flags));
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *ptr = call.get<uint64_t>();
  return result;
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size) {
  Call call(Opcode::cuMemAddressFree);
  call.put(static_cast<uint64_t>(ptr));
  call.put(static_cast<uint64_t>(size));
  return call.wait();
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t size,
                     const CUmemAllocationProp* prop, unsigned long long flags) {
  Call call(Opcode::cuMemCreate);
  if (!call.ok()) return call.result();
  if (handle == nullptr || prop == nullptr || size == 0) return CUDA_ERROR_INVALID_VALUE;
  wire::MemAllocationProps props;
  if (!fill(props, *prop)) return CUDA_ERROR_INVALID_DEVICE;
  PhysicalMemory* memory = process()->physical.create([&](PhysicalMemory& fresh) {
    fresh.size = size;
    fresh.properties = *prop;
    fresh.handles = 1;
    fresh.mappings = 0;
  });
  if (memory == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  call.put(memory->id.load());
  call.put(static_cast<uint64_t>(size));
  call.put(props);
  call.put(static_cast<uint64_t>(flags));
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) {
    process()->physical.destroy(memory->id);
    return result;
  }
  *handle = memory->id.load();
  return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  PhysicalMemory* memory = find_memory(handle);
  if (memory == nullptr) return CUDA_ERROR_INVALID_VALUE;
  memory->handles.fetch_sub(1);
  return release_if_unused(*memory);
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
  Call call(Opcode::cuMemMap);
  if (!call.ok()) return call.result();
  PhysicalMemory* memory = find_memory(handle);
  if (memory == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(static_cast<uint64_t>(ptr));
  call.put(static_cast<uint64_t>(size));
  call.put(static_cast<uint64_t>(offset));
  call.put(static_cast<uint64_t>(handle));
  call.put(static_cast<uint64_t>(flags));
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  memory->mappings.fetch_add(1);
  Allocation allocation;
  allocation.base = ptr;
  allocation.size = size;
  allocation.kind = AllocationKind::kMapped;
  allocation.device = process()->device(memory->properties.location.id);
  allocation.owner = handle;
  allocation.usable = false;  // until access is granted
  process()->allocations.add(allocation);
  return CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size) {
  Call call(Opcode::cuMemUnmap);
  if (!call.ok()) return call.result();
  call.put(static_cast<uint64_t>(ptr));
  call.put(static_cast<uint64_t>(size));
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  for (uint64_t at = ptr; at < ptr + size;) {
    const auto mapping = process()->allocations.remove(at, AllocationKind::kMapped);
    if (!mapping) break;
    if (PhysicalMemory* memory = process()->physical.find(mapping->owner)) {
      memory->mappings.fetch_sub(1);
      static_cast<void>(release_if_unused(*memory));
    }
    at += mapping->size;
  }
  return CUDA_SUCCESS;
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc* desc, size_t count) {
  Call call(Opcode::cuMemSetAccess);
  if (!call.ok()) return call.result();
  if (desc == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  call.put(static_cast<uint64_t>(ptr));
  call.put(static_cast<uint64_t>(size));
  call.put(static_cast<uint32_t>(count));
  for (size_t i = 0; i < count; ++i) {
    const Device* device = process()->device(desc[i].location.id);
    if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE || device == nullptr) {
      return CUDA_ERROR_INVALID_DEVICE;
    }
    call.put(static_cast<uint32_t>(desc[i].location.type));
    call.put(static_cast<int32_t>(device->worker_ordinal));
    call.put(static_cast<uint32_t>(desc[i].flags));
  }
  const CUresult result = call.wait();
  for (size_t i = 0; result == CUDA_SUCCESS && i < count; ++i) {
    process()->allocations.set_access(ptr, size, desc[i].location.id, desc[i].flags);
  }
  return result;
}

CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location, CUdeviceptr ptr) {
  Call call(Opcode::cuMemGetAccess);
  if (!call.ok()) return call.result();
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Device* device = process()->device(location->id);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  call.put(static_cast<uint64_t>(ptr));
  call.put(static_cast<uint32_t>(location->type));
  call.put(static_cast<int32_t>(device->worker_ordinal));
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *flags = call.get<uint64_t>();
  return result;
}

CUresult cuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* prop,
                                       CUmemAllocationGranularity_flags option) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (granularity == nullptr || prop == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::MemAllocationProps props;
  if (!fill(props, *prop)) return CUDA_ERROR_INVALID_DEVICE;
  Call call(Opcode::cuMemGetAllocationGranularity);
  call.put(props);
  call.put(static_cast<uint32_t>(option));
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *granularity = call.get<uint64_t>();
  return result;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* prop,
                                                CUmemGenericAllocationHandle handle) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  const PhysicalMemory* memory = find_memory(handle);
  if (prop == nullptr || memory == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *prop = memory->properties;
  return CUDA_SUCCESS;
}

// The executor counts one reference for the handle; further ones are counted here.
CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* addr) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  const auto mapping = process()->allocations.find(reinterpret_cast<uint64_t>(addr));
  if (handle == nullptr || !mapping || mapping->kind != AllocationKind::kMapped) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  PhysicalMemory* memory = process()->physical.find(mapping->owner);
  if (memory == nullptr) return CUDA_ERROR_INVALID_VALUE;
  memory->handles.fetch_add(1);
  *handle = memory->id.load();
  return CUDA_SUCCESS;
}

}  // namespace vgpu::stub::api

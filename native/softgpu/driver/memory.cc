#include "softgpu/driver/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph_memory.h"
#include "softgpu/driver/pool.h"

namespace vgpu::softgpu {
namespace {

constexpr uint64_t kPage = 4096;

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

void Allocations::publish(const Allocation& allocation) {
  if (!allocation.present) return;
  for (const auto& device : driver().devices) {
    const bool reachable = allocation.on_host() || allocation.device == device.get() ||
                           device->reaches.contains(allocation.device);
    if (reachable) device->map.add(allocation.begin, allocation.size, allocation.writable);
  }
}

void Allocations::withdraw(const Allocation& allocation) {
  if (!allocation.present) return;
  for (const auto& device : driver().devices) {
    const bool reachable = allocation.on_host() || allocation.device == device.get() ||
                           device->reaches.contains(allocation.device);
    if (reachable) device->map.remove(allocation.begin);
  }
}

void Allocations::add(Allocation allocation) {
  const std::unique_lock lock(mutex_);
  allocation.id = ++serial_;
  publish(allocation);
  ranges_[allocation.begin] = allocation;
}

std::optional<Allocation> Allocations::remove(uint64_t begin) {
  const std::unique_lock lock(mutex_);
  const auto found = ranges_.find(begin);
  if (found == ranges_.end()) return std::nullopt;
  const Allocation allocation = found->second;
  withdraw(allocation);
  ranges_.erase(found);
  return allocation;
}

std::optional<Allocation> Allocations::find(uint64_t address) const {
  const std::shared_lock lock(mutex_);
  auto after = ranges_.upper_bound(address);
  if (after == ranges_.begin()) return std::nullopt;
  const Allocation& allocation = std::prev(after)->second;
  if (address >= allocation.begin + allocation.size) return std::nullopt;
  return allocation;
}

bool Allocations::covers(uint64_t address, uint64_t size) const {
  if (size == 0) return true;
  if (address + size < address) return false;
  const std::shared_lock lock(mutex_);
  auto at = ranges_.upper_bound(address);
  if (at == ranges_.begin()) return false;
  --at;
  uint64_t reached = address;
  const uint64_t end = address + size;
  for (; at != ranges_.end() && at->second.begin <= reached; ++at) {
    const uint64_t range_end = at->second.begin + at->second.size;
    if (range_end <= reached) return false;
    reached = range_end;
    if (reached >= end) return true;
  }
  return false;
}

void Allocations::set_sync_operations(uint64_t address, bool value) {
  const std::unique_lock lock(mutex_);
  auto after = ranges_.upper_bound(address);
  if (after != ranges_.begin()) std::prev(after)->second.sync_operations = value;
}

void Allocations::set_present(uint64_t begin, bool present) {
  const std::unique_lock lock(mutex_);
  const auto found = ranges_.find(begin);
  if (found == ranges_.end() || found->second.present == present) return;
  withdraw(found->second);
  found->second.present = present;
  publish(found->second);
}

void Allocations::open(Device& device, const Device& owner) {
  const std::unique_lock lock(mutex_);
  if (!device.reaches.insert(&owner).second) return;
  for (const auto& [begin, allocation] : ranges_) {
    if (!allocation.on_host() && allocation.device == &owner && allocation.present) {
      device.map.add(begin, allocation.size, allocation.writable);
    }
  }
}

void Allocations::close(Device& device, const Device& owner) {
  const std::unique_lock lock(mutex_);
  if (device.reaches.erase(&owner) == 0) return;
  for (const auto& [begin, allocation] : ranges_) {
    if (!allocation.on_host() && allocation.device == &owner && allocation.present) {
      device.map.remove(begin);
    }
  }
}

CUresult allocate_device(Device& device, uint64_t bytes, uint64_t alignment, Allocation description,
                         uint64_t* address) {
  if (bytes > device.total) return CUDA_ERROR_OUT_OF_MEMORY;
  const uint64_t charged = round_up(bytes, kMemoryUnit);
  if (!device.charge(charged)) return CUDA_ERROR_OUT_OF_MEMORY;
  const uint64_t begin = device.heap.allocate(bytes, alignment);
  if (begin == 0) {
    device.discharge(charged);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  description.begin = begin;
  description.size = bytes;
  description.charged = charged;
  description.device = &device;
  driver().allocations.add(description);
  *address = begin;
  return CUDA_SUCCESS;
}

void release_memory(const Allocation& allocation) {
  switch (allocation.kind) {
    case MemoryKind::kDevice:
    case MemoryKind::kPool:
    case MemoryKind::kModule:
    case MemoryKind::kGraph:
      allocation.device->heap.release(allocation.begin);
      allocation.device->discharge(allocation.charged);
      break;
    case MemoryKind::kHost:
      munmap(reinterpret_cast<void*>(allocation.begin), round_up(allocation.size, kPage));
      break;
    case MemoryKind::kRegistered:
    case MemoryKind::kMapped:
      break;
  }
}

namespace api {
namespace {

CUresult allocate_host(void** out, size_t bytes, unsigned flags) {
  const Current current;
  if (!current) return current.error();
  if (const CUresult result = check_unsafe_call()) return result;
  constexpr unsigned kFlags =
      CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
  if (out == nullptr || bytes == 0 || (flags & ~kFlags) != 0) return CUDA_ERROR_INVALID_VALUE;
  void* memory = mmap(nullptr, round_up(bytes, kPage), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  driver().allocations.add({.begin = reinterpret_cast<uint64_t>(memory),
                            .size = bytes,
                            .kind = MemoryKind::kHost,
                            .device = &current->device,
                            .context = current->id,
                            .flags = flags});
  *out = memory;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  const Current current;
  if (!current) return current.error();
  if (free == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *total = current->device.total;
  *free = current->device.total - current->device.used();
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr* out, size_t bytes) {
  const Current current;
  if (!current) return current.error();
  if (const CUresult result = check_unsafe_call()) return result;
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  uint64_t address = 0;
  const CUresult result =
      allocate_device(current->device, bytes, kMemoryUnit,
                      {.kind = MemoryKind::kDevice, .context = current->id}, &address);
  if (result == CUDA_SUCCESS) *out = address;
  return result;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* out, size_t* pitch, size_t width, size_t height,
                            unsigned element) {
  if (pitch == nullptr || width == 0 || height == 0) return CUDA_ERROR_INVALID_VALUE;
  if (element != 4 && element != 8 && element != 16) return CUDA_ERROR_INVALID_VALUE;
  if (width > SIZE_MAX / 2 / height) return CUDA_ERROR_OUT_OF_MEMORY;
  const size_t row = round_up(width, kMemoryUnit);
  const CUresult result = api::cuMemAlloc_v2(out, row * height);
  if (result == CUDA_SUCCESS) *pitch = row;
  return result;
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  const Current current;
  if (!current) return current.error();
  if (address == 0) return CUDA_SUCCESS;
  if (const CUresult result = check_unsafe_call()) return result;
  const auto found = driver().allocations.find(address);
  if (!found || found->begin != address) return CUDA_ERROR_INVALID_VALUE;
  if (found->kind == MemoryKind::kGraph) return free_graph_memory(*current, address);
  if (found->kind != MemoryKind::kDevice && found->kind != MemoryKind::kPool) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  // Work that was submitted before may still use it.
  if (const auto owner = driver().contexts.find(found->context)) synchronize(*owner);
  if (found->kind == MemoryKind::kPool) synchronize(*current);
  if (const auto removed = driver().allocations.remove(address)) {
    if (const auto pool = driver().pools.find(removed->pool)) {
      const std::lock_guard lock(pool->mutex);
      pool->used -= removed->charged;
    }
    release_memory(*removed);
  }
  return current->fault;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* size, CUdeviceptr address) {
  const Current current;
  if (!current) return current.error();
  const auto found = driver().allocations.find(address);
  if (!found) return CUDA_ERROR_NOT_FOUND;
  if (base != nullptr) *base = found->begin;
  if (size != nullptr) *size = found->size;
  return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void** out, size_t bytes, unsigned flags) {
  return allocate_host(out, bytes, flags);
}
CUresult cuMemAllocHost_v2(void** out, size_t bytes) { return allocate_host(out, bytes, 0); }

CUresult cuMemFreeHost(void* memory) {
  const Current current;
  if (!current) return current.error();
  if (memory == nullptr) return CUDA_SUCCESS;
  const auto found = driver().allocations.find(reinterpret_cast<uint64_t>(memory));
  if (!found || found->kind != MemoryKind::kHost ||
      found->begin != reinterpret_cast<uint64_t>(memory)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (const auto& context : driver().contexts.all()) {
    if (context->active) synchronize(*context);
  }
  if (const auto removed = driver().allocations.remove(found->begin)) release_memory(*removed);
  return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void* memory, size_t bytes, unsigned flags) {
  const Current current;
  if (!current) return current.error();
  constexpr unsigned kFlags =
      CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
  if (memory == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & CU_MEMHOSTREGISTER_IOMEMORY) != 0) return CUDA_ERROR_NOT_SUPPORTED;
  if ((flags & ~kFlags) != 0) return CUDA_ERROR_INVALID_VALUE;
  const auto begin = reinterpret_cast<uint64_t>(memory);
  if (driver().allocations.find(begin) || driver().allocations.find(begin + bytes - 1)) {
    return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  }
  driver().allocations.add({.begin = begin,
                            .size = bytes,
                            .kind = MemoryKind::kRegistered,
                            .device = &current->device,
                            .context = current->id,
                            .flags = flags,
                            .writable = (flags & CU_MEMHOSTREGISTER_READ_ONLY) == 0});
  return CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void* memory) {
  const Current current;
  if (!current) return current.error();
  const auto begin = reinterpret_cast<uint64_t>(memory);
  const auto found = driver().allocations.find(begin);
  if (!found || found->begin != begin || found->kind != MemoryKind::kRegistered) {
    return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  }
  for (const auto& context : driver().contexts.all()) {
    if (context->active) synchronize(*context);
  }
  driver().allocations.remove(begin);
  return CUDA_SUCCESS;
}

// Host memory has one address on both sides.
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* out, void* memory, unsigned flags) {
  const Current current;
  if (!current) return current.error();
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const auto found = driver().allocations.find(reinterpret_cast<uint64_t>(memory));
  if (!found || !found->on_host()) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUdeviceptr>(memory);
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned* flags, void* memory) {
  const Current current;
  if (!current) return current.error();
  const auto found = driver().allocations.find(reinterpret_cast<uint64_t>(memory));
  if (flags == nullptr || !found || found->kind != MemoryKind::kHost) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *flags = found->flags | CU_MEMHOSTALLOC_DEVICEMAP;
  return CUDA_SUCCESS;
}

// Managed memory is not emulated; the device attributes say so.
CUresult cuMemAllocManaged(CUdeviceptr*, size_t, unsigned) { return CUDA_ERROR_NOT_SUPPORTED; }

}  // namespace api
}  // namespace vgpu::softgpu

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

CUmemAccess_flags Allocation::access(const Device& accessor) const {
  if (!present) return CU_MEM_ACCESS_FLAGS_PROT_NONE;
  if (grants != nullptr) {
    const auto granted = grants->find(accessor.ordinal);
    return granted == grants->end() ? CU_MEM_ACCESS_FLAGS_PROT_NONE : granted->second;
  }
  if (!on_host() && device != &accessor && !accessor.reaches.contains(device)) {
    return CU_MEM_ACCESS_FLAGS_PROT_NONE;
  }
  return writable ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_READ;
}

bool Allocation::usable() const {
  return grants == nullptr || std::ranges::any_of(*grants, [](const auto& granted) {
           return granted.second != CU_MEM_ACCESS_FLAGS_PROT_NONE;
         });
}

void Allocations::publish(const Allocation& allocation) {
  const uint64_t bytes = std::max(allocation.size, allocation.extent);
  Shadow* const shadow = driver().shadow.get();
  const bool blank = allocation.kind == MemoryKind::kDevice || allocation.kind == MemoryKind::kPool;
  if (shadow != nullptr && blank) shadow->add(allocation.begin, allocation.size);
  for (const auto& device : driver().devices) {
    const CUmemAccess_flags access = allocation.access(*device);
    if (access == CU_MEM_ACCESS_FLAGS_PROT_NONE) continue;
    device->map.add(allocation.begin, bytes, access == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  }
}

void Allocations::withdraw(const Allocation& allocation) {
  if (driver().shadow != nullptr) driver().shadow->remove(allocation.begin);
  for (const auto& device : driver().devices) {
    if (allocation.access(*device) == CU_MEM_ACCESS_FLAGS_PROT_NONE) continue;
    device->map.remove(allocation.begin);
  }
}

uint64_t Allocations::add(Allocation allocation) {
  const std::unique_lock lock(mutex_);
  const uint64_t id = allocation.id = ++serial_;
  publish(allocation);
  ranges_[allocation.begin] = std::move(allocation);
  return id;
}

std::optional<Allocation> Allocations::remove(uint64_t begin, uint64_t id) {
  const std::unique_lock lock(mutex_);
  const auto found = ranges_.find(begin);
  if (found == ranges_.end() || (id != 0 && found->second.id != id)) return std::nullopt;
  const Allocation allocation = found->second;
  withdraw(allocation);
  remember(allocation);
  ranges_.erase(found);
  return allocation;
}

std::optional<Allocation> Allocations::mark_freed(uint64_t begin) {
  const std::unique_lock lock(mutex_);
  const auto found = ranges_.find(begin);
  if (found == ranges_.end() || found->second.freed) return std::nullopt;
  found->second.freed = true;
  return found->second;
}

// Requires mutex_.
void Allocations::change_grants(Allocation& allocation, std::shared_ptr<const Grants> grants) {
  for (const auto& device : driver().devices) {
    const bool had = allocation.access(*device) != CU_MEM_ACCESS_FLAGS_PROT_NONE;
    Allocation after = allocation;
    after.grants = grants;
    if (had && after.access(*device) == CU_MEM_ACCESS_FLAGS_PROT_NONE) {
      device->map.remove(allocation.begin);
    }
  }
  allocation.grants = std::move(grants);
  publish(allocation);  // replaces what is there in one step: kernels may be running
}

void Allocations::set_grants(uint64_t begin, std::shared_ptr<const Grants> grants) {
  const std::unique_lock lock(mutex_);
  const auto found = ranges_.find(begin);
  if (found != ranges_.end()) change_grants(found->second, std::move(grants));
}

void Allocations::set_grants(const Pool& pool, std::shared_ptr<const Grants> grants) {
  const std::unique_lock lock(mutex_);
  for (auto& [begin, allocation] : ranges_) {
    if (allocation.pool.get() == &pool) change_grants(allocation, grants);
  }
}

std::optional<Allocation> Allocations::find(uint64_t address) const {
  const std::shared_lock lock(mutex_);
  auto after = ranges_.upper_bound(address);
  if (after == ranges_.begin()) return std::nullopt;
  const Allocation& allocation = std::prev(after)->second;
  if (address >= allocation.begin + allocation.size) return std::nullopt;
  return allocation;
}

Neighbours Allocations::neighbours(uint64_t address) const {
  const std::shared_lock lock(mutex_);
  Neighbours near;
  const auto after = ranges_.upper_bound(address);
  if (after != ranges_.end()) near.above = after->second;
  if (after != ranges_.begin()) near.below = std::prev(after)->second;
  const auto freed = std::find_if(freed_.rbegin(), freed_.rend(), [&](const Allocation& one) {
    return address >= one.begin && address - one.begin < one.size;
  });
  if (freed != freed_.rend()) near.freed = *freed;
  return near;
}

void Allocations::remember(const Allocation& freed) {
  if (freed_.size() == kMostFreed) freed_.pop_front();
  freed_.push_back(freed);
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
    if (range_end <= reached || !at->second.usable()) return false;
    reached = range_end;
    if (reached >= end) return true;
  }
  return false;
}

bool Allocations::overlaps(uint64_t address, uint64_t size) const {
  const std::shared_lock lock(mutex_);
  const auto after = ranges_.lower_bound(address);
  if (after != ranges_.end() && after->first - address < size) return true;
  if (after == ranges_.begin()) return false;
  const Allocation& before = std::prev(after)->second;
  return address - before.begin < before.size;
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
  if (device.reaches[&owner]++ != 0) return;
  for (const auto& [begin, allocation] : ranges_) {
    if (!allocation.on_host() && allocation.grants == nullptr && allocation.device == &owner &&
        allocation.present) {
      device.map.add(begin, allocation.size, allocation.writable);
    }
  }
}

void Allocations::close(Device& device, const Device& owner) {
  const std::unique_lock lock(mutex_);
  const auto reached = device.reaches.find(&owner);
  if (reached == device.reaches.end() || --reached->second != 0) return;
  device.reaches.erase(reached);
  for (const auto& [begin, allocation] : ranges_) {
    if (!allocation.on_host() && allocation.grants == nullptr && allocation.device == &owner &&
        allocation.present) {
      device.map.remove(begin);
    }
  }
}

CUresult allocate_device(Device& device, uint64_t bytes, uint64_t alignment, Allocation description,
                         uint64_t* address) {
  if (bytes > device.total) return CUDA_ERROR_OUT_OF_MEMORY;
  const uint64_t charged = round_up(bytes, kMemoryUnit);
  if (!charge(device, charged)) return CUDA_ERROR_OUT_OF_MEMORY;
  const uint64_t begin = device.heap.allocate(bytes, alignment);
  if (begin == 0) {
    device.discharge(charged);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  description.begin = begin;
  description.size = bytes;
  description.charged = charged;
  description.device = &device;
  driver().allocations.add(std::move(description));
  *address = begin;
  return CUDA_SUCCESS;
}

void release_memory(const Allocation& allocation) {
  switch (allocation.kind) {
    case MemoryKind::kPool:
      keep_freed(allocation);
      break;
    case MemoryKind::kDevice:
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
  if (!driver().allocations.mark_freed(address)) return CUDA_ERROR_INVALID_VALUE;
  if (found->pool != nullptr) count_freed(*found);
  // Work that was submitted before may still use it.
  if (const auto owner = driver().contexts.find(found->context)) synchronize(*owner);
  if (found->kind == MemoryKind::kPool) synchronize(*current);
  if (const auto removed = driver().allocations.remove(address, found->id)) {
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
CUresult cuMemAllocHost_v2(void** out, size_t bytes) {
  // With unified addresses it is mapped, and for all contexts.
  return allocate_host(out, bytes, CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_PORTABLE);
}

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
  if (begin + bytes < begin) return CUDA_ERROR_INVALID_VALUE;
  if (driver().allocations.overlaps(begin, bytes)) {
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
  *flags = found->flags;
  return CUDA_SUCCESS;
}

// Managed memory is not emulated; the device attributes say so.
CUresult cuMemAllocManaged(CUdeviceptr*, size_t, unsigned) { return CUDA_ERROR_NOT_SUPPORTED; }

}  // namespace api
}  // namespace vgpu::softgpu

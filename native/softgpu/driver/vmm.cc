#include "softgpu/driver/vmm.h"

#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"

namespace vgpu::softgpu {

PhysicalMemory::~PhysicalMemory() {
  close(file);
  device.discharge(size);
}

namespace {

struct Mapping {
  uint64_t size = 0;
  std::shared_ptr<PhysicalMemory> memory;
  std::shared_ptr<const Grants> grants = std::make_shared<Grants>();  // replaced as a whole
};

struct Area {
  std::mutex mutex;                           // guards all below
  std::map<uint64_t, uint64_t> reservations;  // begin -> size
  std::map<uint64_t, Mapping> mappings;       // by begin
};
Area& area() {
  static auto* one = new Area;
  return *one;
}

bool aligned(uint64_t value) { return value % kMappedUnit == 0; }

// Requires area().mutex.
bool inside_reservation(uint64_t address, uint64_t size) {
  auto after = area().reservations.upper_bound(address);
  if (after == area().reservations.begin()) return false;
  const auto& [begin, length] = *std::prev(after);
  return address >= begin && address + size <= begin + length;
}

// The mappings that exactly fill a range; empty if they do not. Requires area().mutex.
std::vector<uint64_t> mappings_in(uint64_t address, uint64_t size) {
  std::vector<uint64_t> list;
  uint64_t at = address;
  for (auto one = area().mappings.find(address);
       one != area().mappings.end() && one->first == at && at < address + size; ++one) {
    list.push_back(at);
    at += one->second.size;
  }
  return at == address + size ? list : std::vector<uint64_t>{};
}

// The mapping that holds an address, or end(). Requires area().mutex.
std::map<uint64_t, Mapping>::iterator mapping_at(uint64_t address) {
  auto after = area().mappings.upper_bound(address);
  if (after == area().mappings.begin()) return area().mappings.end();
  --after;
  return address - after->first < after->second.size ? after : area().mappings.end();
}

// Back to reserved, inaccessible address space.
void hide(uint64_t address, uint64_t size) {
  mmap(reinterpret_cast<void*>(address), size, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

CUresult check_properties(const CUmemAllocationProp* properties, Device*& device) {
  if (properties == nullptr || properties->type != CU_MEM_ALLOCATION_TYPE_PINNED) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_NOT_SUPPORTED;
  if ((properties->requestedHandleTypes & ~CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) != 0) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  device = find_device(properties->location.id);
  return device == nullptr ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

}  // namespace

namespace api {

CUresult cuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* properties,
                                       CUmemAllocationGranularity_flags) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  Device* device = nullptr;
  if (const CUresult result = check_properties(properties, device)) return result;
  if (granularity == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *granularity = kMappedUnit;
  return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr* out, size_t size, size_t alignment, CUdeviceptr hint,
                             unsigned long long flags) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (out == nullptr || size == 0 || !aligned(size) || flags != 0 ||
      (alignment & (alignment - 1)) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  alignment = std::max<size_t>(alignment, kMappedUnit);
  const int protection = PROT_NONE;
  const int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  uint64_t begin = 0;
  if (hint != 0 && hint % alignment == 0) {
    void* there =
        mmap(reinterpret_cast<void*>(hint), size, protection, kind | MAP_FIXED_NOREPLACE, -1, 0);
    if (there != MAP_FAILED) begin = reinterpret_cast<uint64_t>(there);
  }
  if (begin == 0) {
    void* region = mmap(nullptr, size + alignment, protection, kind, -1, 0);
    if (region == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    const auto first = reinterpret_cast<uint64_t>(region);
    begin = (first + alignment - 1) / alignment * alignment;
    if (begin > first) munmap(region, begin - first);
    const uint64_t end = first + size + alignment;
    if (end > begin + size) munmap(reinterpret_cast<void*>(begin + size), end - begin - size);
  }
  const std::lock_guard lock(area().mutex);
  area().reservations[begin] = size;
  *out = begin;
  return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t size) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const std::lock_guard lock(area().mutex);
  const auto found = area().reservations.find(address);
  if (found == area().reservations.end() || found->second != size) return CUDA_ERROR_INVALID_VALUE;
  const auto mapped = area().mappings.lower_bound(address);
  if (mapped != area().mappings.end() && mapped->first < address + size) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  area().reservations.erase(found);
  munmap(reinterpret_cast<void*>(address), size);
  return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* out, size_t size,
                     const CUmemAllocationProp* properties, unsigned long long flags) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  Device* device = nullptr;
  if (const CUresult result = check_properties(properties, device)) return result;
  if (out == nullptr || size == 0 || !aligned(size) || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (!charge(*device, size)) return CUDA_ERROR_OUT_OF_MEMORY;
  const int file = memfd_create("vgpu-soft", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(size)) != 0) {
    if (file >= 0) close(file);
    device->discharge(size);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  auto memory = std::make_shared<PhysicalMemory>(*device, file, size);
  memory->properties = *properties;
  *out = driver().physical.add(std::move(memory));
  return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const std::lock_guard lock(area().mutex);
  const auto memory = driver().physical.find(handle);
  if (!memory) return CUDA_ERROR_INVALID_VALUE;
  // Mappings keep the memory; the handle dies.
  if (--memory->references == 0) driver().physical.remove(as_handle<void*>(handle));
  return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr address, size_t size, size_t offset,
                  CUmemGenericAllocationHandle handle, unsigned long long flags) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto memory = driver().physical.find(handle);
  // CUDA documents the offset, and that it must be zero.
  if (!memory || offset != 0 || flags != 0 || !aligned(address) || !aligned(size) || size == 0 ||
      size > memory->size) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const std::lock_guard lock(area().mutex);
  if (!inside_reservation(address, size)) return CUDA_ERROR_INVALID_VALUE;
  const auto after = area().mappings.lower_bound(address);
  if (after != area().mappings.end() && after->first < address + size) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (after != area().mappings.begin()) {
    const auto& [begin, mapping] = *std::prev(after);
    if (begin + mapping.size > address) return CUDA_ERROR_INVALID_VALUE;
  }
  void* there = mmap(reinterpret_cast<void*>(address), size, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_FIXED, memory->file, 0);
  if (there == MAP_FAILED) return CUDA_ERROR_MAP_FAILED;
  Mapping& mapping = area().mappings[address] = {.size = size, .memory = memory};
  driver().allocations.add({.begin = address,
                            .size = size,
                            .kind = MemoryKind::kMapped,
                            .device = &memory->device,
                            .grants = mapping.grants});
  return CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr address, size_t size) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  std::vector<uint64_t> list;
  {
    const std::lock_guard lock(area().mutex);
    list = mappings_in(address, size);
  }
  if (list.empty()) return CUDA_ERROR_INVALID_VALUE;
  // A GPU does not wait here; a fault in a thread of ours would end the process, so we do.
  for (const auto& context : driver().contexts.all()) {
    if (context->active) synchronize(*context);
  }
  const std::lock_guard lock(area().mutex);
  for (const uint64_t begin : list) {
    const auto found = area().mappings.find(begin);
    if (found == area().mappings.end()) continue;
    driver().allocations.remove(begin);
    hide(begin, found->second.size);
    area().mappings.erase(found);
  }
  return CUDA_SUCCESS;
}

CUresult cuMemSetAccess(CUdeviceptr address, size_t size, const CUmemAccessDesc* list,
                        size_t count) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (list == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(area().mutex);
  const auto mapped = mappings_in(address, size);
  if (mapped.empty()) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; ++i) {
    if (list[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_NOT_SUPPORTED;
    if (find_device(list[i].location.id) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
    const unsigned flags = list[i].flags;
    if (flags != CU_MEM_ACCESS_FLAGS_PROT_NONE && flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
        flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  for (const uint64_t begin : mapped) {
    Mapping& mapping = area().mappings[begin];
    auto grants = std::make_shared<Grants>(*mapping.grants);
    for (size_t i = 0; i < count; ++i) (*grants)[list[i].location.id] = list[i].flags;
    mapping.grants = grants;
    driver().allocations.set_grants(begin, std::move(grants));
  }
  return CUDA_SUCCESS;
}

CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location,
                        CUdeviceptr address) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (location->type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_NOT_SUPPORTED;
  if (find_device(location->id) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  const std::lock_guard lock(area().mutex);
  const auto found = mapping_at(address);
  if (found == area().mappings.end()) return CUDA_ERROR_INVALID_VALUE;
  const Grants& grants = *found->second.grants;
  const auto granted = grants.find(location->id);
  *flags = granted == grants.end() ? CU_MEM_ACCESS_FLAGS_PROT_NONE : granted->second;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* properties,
                                                CUmemGenericAllocationHandle handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto memory = driver().physical.find(handle);
  if (properties == nullptr || !memory) return CUDA_ERROR_INVALID_VALUE;
  *properties = memory->properties;
  return CUDA_SUCCESS;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* out, void* address) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(area().mutex);
  const auto found = mapping_at(reinterpret_cast<uint64_t>(address));
  if (found == area().mappings.end()) return CUDA_ERROR_INVALID_VALUE;
  const auto& memory = found->second.memory;
  // The handle's value is always the one that cuMemCreate gave.
  if (memory->references++ == 0) driver().physical.put_back(memory);
  *out = memory->id;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu

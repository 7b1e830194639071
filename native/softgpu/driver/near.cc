#include "softgpu/driver/near.h"

#include <algorithm>
#include <cstdio>

#include "softgpu/driver/driver.h"

namespace vgpu::softgpu {
namespace {

// Below this nothing is ever mapped: the pointer was null, and an index was added.
constexpr uint64_t kNullPage = 65536;
// Beyond this distance two things have nothing to do with each other.
constexpr uint64_t kNear = uint64_t{1} << 30;

const char* maker(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kDevice:
      return "cuMemAlloc";
    case MemoryKind::kHost:
      return "cuMemHostAlloc";
    case MemoryKind::kRegistered:
      return "cuMemHostRegister";
    case MemoryKind::kPool:
      return "cuMemAllocAsync";
    case MemoryKind::kMapped:
      return "cuMemMap";
    case MemoryKind::kModule:
      return "a module for its variables";
    case MemoryKind::kGraph:
      return "a memory node of a graph";
  }
  return "the driver";
}

std::string bytes_text(uint64_t bytes) {
  return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
}

std::string allocation_text(const Allocation& allocation) {
  char place[32];
  std::snprintf(place, sizeof place, "0x%llx", static_cast<unsigned long long>(allocation.begin));
  return "an allocation of " + bytes_text(allocation.size) + " at " + place + ", made by " +
         maker(allocation.kind);
}

std::string freed_text(const Allocation& freed, uint64_t address) {
  return bytes_text(address - freed.begin) + " into " + allocation_text(freed) + " and freed since";
}

// The address lies in something that is there, but not for this access.
std::string refused_text(const Device& device, const Allocation& inside, uint64_t address,
                         uint64_t bytes, bool write) {
  const uint64_t end = inside.begin + inside.size;
  if (address + bytes > end) {
    return "its last " + bytes_text(address + bytes - end) + " beyond the end of " +
           allocation_text(inside);
  }
  if (inside.device != &device) {
    return "inside " + allocation_text(inside) + " on device " +
           std::to_string(inside.device->ordinal) + ", which this device may not use";
  }
  const std::string place = bytes_text(address - inside.begin) + " into " + allocation_text(inside);
  return write && !inside.writable ? place + ", which is read-only" : place;
}

}  // namespace

std::string explain_address(const Device& device, uint64_t address, uint64_t bytes, bool write) {
  if (address < kNullPage) return "a null pointer, or an index from one";
  const Neighbours near = driver().allocations.neighbours(address);
  if (near.below && address - near.below->begin < near.below->size) {
    return refused_text(device, *near.below, address, bytes, write);
  }
  uint64_t past = UINT64_MAX, before = UINT64_MAX;
  if (near.below) past = address - (near.below->begin + near.below->size);
  if (near.above) before = near.above->begin - address;
  std::string text;
  if (std::min(past, before) < kNear) {
    if (past <= before) {
      text = past == 0 ? "right past the end of " : bytes_text(past) + " past the end of ";
      text += allocation_text(*near.below);
    } else {
      text = bytes_text(before) + " before " + allocation_text(*near.above);
    }
  }
  if (near.freed) {
    if (!text.empty()) text = ", or " + text;
    return freed_text(*near.freed, address) + text;
  }
  return text.empty() ? "near no allocation" : text;
}

}  // namespace vgpu::softgpu

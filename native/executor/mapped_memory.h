// Physical allocations (cuMemCreate) and where they are mapped: their bytes count until they are
// both released and unmapped. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "executor/allocations.h"

namespace vgpu::executor {

class MappedMemory {
 public:
  explicit MappedMemory(Allocations& allocations) : allocations_(allocations) {}

  void map(uint64_t address, uint64_t size, uint64_t allocation) {
    const std::lock_guard lock(mutex_);
    ranges_[address] = {size, allocation};
    ++uses_[allocation];
  }
  // The driver unmapped [address, address + size).
  void unmap(uint64_t address, uint64_t size) {
    const std::lock_guard lock(mutex_);
    auto it = ranges_.lower_bound(address);
    while (it != ranges_.end() && it->first - address < size) {
      const uint64_t allocation = it->second.allocation;
      it = ranges_.erase(it);
      if (--uses_[allocation] == 0) drop_if_unused(allocation);
    }
  }
  void release(uint64_t allocation) {
    const std::lock_guard lock(mutex_);
    released_[allocation] = true;
    if (uses_[allocation] == 0) drop_if_unused(allocation);
  }

 private:
  struct Range {
    uint64_t size = 0;
    uint64_t allocation = 0;
  };
  // Requires mutex_.
  void drop_if_unused(uint64_t allocation) {
    if (!released_.contains(allocation)) return;
    allocations_.remove(allocation);
    released_.erase(allocation);
    uses_.erase(allocation);
  }

  Allocations& allocations_;
  std::mutex mutex_;                   // guards all below
  std::map<uint64_t, Range> ranges_;   // by address
  std::map<uint64_t, uint32_t> uses_;  // allocation -> number of ranges
  std::map<uint64_t, bool> released_;
};

}  // namespace vgpu::executor

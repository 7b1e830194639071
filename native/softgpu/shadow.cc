#include "softgpu/shadow.h"

#include <algorithm>
#include <mutex>

namespace vgpu::softgpu {

void Shadow::add(uint64_t begin, uint64_t size) {
  Region region;
  region.size = size;
  region.marks.reset(static_cast<uint8_t*>(std::calloc(size, 1)));
  const std::unique_lock lock(mutex_);
  if (region.marks != nullptr) regions_.insert_or_assign(begin, std::move(region));
}

void Shadow::remove(uint64_t begin) {
  const std::unique_lock lock(mutex_);
  regions_.erase(begin);
}

uint8_t* Shadow::find(uint64_t address, uint64_t& left) const {
  const auto after = regions_.upper_bound(address);
  if (after == regions_.begin()) return nullptr;
  const auto& [begin, region] = *std::prev(after);
  if (address - begin >= region.size) return nullptr;
  left = region.size - (address - begin);
  return region.marks.get() + (address - begin);
}

void Shadow::write(uint64_t address, uint64_t size) {
  const std::shared_lock lock(mutex_);
  uint64_t left = 0;
  uint8_t* marks = find(address, left);
  if (marks == nullptr) return;
  for (uint64_t i = 0; i < std::min(size, left); ++i) {
    __atomic_store_n(marks + i, uint8_t{1}, __ATOMIC_RELAXED);
  }
}

void Shadow::copy(uint64_t destination, uint64_t source, uint64_t size) {
  {
    const std::shared_lock lock(mutex_);
    uint64_t from_left = 0, to_left = 0;
    const uint8_t* from = find(source, from_left);
    uint8_t* to = find(destination, to_left);
    if (from != nullptr && to != nullptr) {
      for (uint64_t i = 0; i < std::min({size, from_left, to_left}); ++i) {
        __atomic_store_n(to + i, __atomic_load_n(from + i, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
      }
      return;
    }
  }
  write(destination, size);
}

bool Shadow::written(uint64_t address, uint64_t size) const {
  const std::shared_lock lock(mutex_);
  uint64_t left = 0;
  const uint8_t* marks = find(address, left);
  if (marks == nullptr) return true;
  for (uint64_t i = 0; i < std::min(size, left); ++i) {
    if (__atomic_load_n(marks + i, __ATOMIC_RELAXED) == 0) return false;
  }
  return true;
}

}  // namespace vgpu::softgpu

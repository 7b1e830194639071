#include "softgpu/memory_map.h"

#include <algorithm>

namespace vgpu::softgpu {
namespace {

auto position(const std::vector<Range>& ranges, uint64_t address) {
  return std::upper_bound(ranges.begin(), ranges.end(), address,
                          [](uint64_t a, const Range& range) { return a < range.begin; });
}

}  // namespace

void MemoryMap::add(uint64_t begin, uint64_t size, bool writable) {
  if (size == 0) return;
  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<std::vector<Range>>(*ranges_);
  const auto at = next->begin() + (position(*next, begin) - next->cbegin());
  if (at != next->begin() && std::prev(at)->begin == begin) {
    *std::prev(at) = {begin, begin + size, writable};
  } else {
    next->insert(at, Range{begin, begin + size, writable});
  }
  ranges_ = std::move(next);
}

void MemoryMap::remove(uint64_t begin) {
  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<std::vector<Range>>(*ranges_);
  std::erase_if(*next, [&](const Range& range) { return range.begin == begin; });
  ranges_ = std::move(next);
}

MemoryMap::Snapshot MemoryMap::snapshot() const {
  const std::lock_guard lock(mutex_);
  return ranges_;
}

const Range* find_range(const std::vector<Range>& ranges, uint64_t address, uint64_t size) {
  auto it = position(ranges, address);
  if (it == ranges.begin()) return nullptr;
  --it;
  if (address >= it->end || it->end - address < size) return nullptr;
  return &*it;
}

}  // namespace vgpu::softgpu

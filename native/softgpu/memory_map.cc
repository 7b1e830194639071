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
  changes_[begin] = Range{begin, begin + size, writable};
}

void MemoryMap::remove(uint64_t begin) {
  const std::lock_guard lock(mutex_);
  changes_[begin] = std::nullopt;
}

MemoryMap::Snapshot MemoryMap::snapshot() const {
  const std::lock_guard lock(mutex_);
  if (!changes_.empty()) apply_changes();
  return ranges_;
}

// Merges the ranges with the changes, both sorted by address. Requires mutex_.
void MemoryMap::apply_changes() const {
  auto next = std::make_shared<std::vector<Range>>();
  next->reserve(ranges_->size() + changes_.size());
  auto old = ranges_->begin();
  for (const auto& [begin, range] : changes_) {
    for (; old != ranges_->end() && old->begin < begin; ++old) next->push_back(*old);
    if (old != ranges_->end() && old->begin == begin) ++old;
    if (range) next->push_back(*range);
  }
  next->insert(next->end(), old, ranges_->end());
  ranges_ = std::move(next);
  changes_.clear();
}

const Range* find_range(const std::vector<Range>& ranges, uint64_t address, uint64_t size) {
  auto it = position(ranges, address);
  if (it == ranges.begin()) return nullptr;
  --it;
  if (address >= it->end || it->end - address < size) return nullptr;
  return &*it;
}

}  // namespace vgpu::softgpu

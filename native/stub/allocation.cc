#include "stub/allocation.h"

#include <algorithm>
#include <mutex>

namespace vgpu::stub {
namespace {

// The entry of a map keyed by base address that holds `address`, or end().
template <typename Map>
auto holder(Map& map, uint64_t address) {
  auto it = map.upper_bound(address);
  if (it == map.begin()) return map.end();
  --it;
  return address - it->second.base < it->second.size ? it : map.end();
}

constexpr uint64_t kHostIds = uint64_t{1} << 40;  // buffer ids of host ranges: clear of device ones

}  // namespace

void AllocationMap::add(Allocation allocation) {
  const std::unique_lock lock(mutex_);
  allocation.id = next_id_++;
  by_base_[allocation.base] = allocation;
}

std::optional<Allocation> AllocationMap::remove(uint64_t base) {
  const std::unique_lock lock(mutex_);
  const auto it = by_base_.find(base);
  if (it == by_base_.end()) return std::nullopt;
  const Allocation found = it->second;
  by_base_.erase(it);
  return found;
}

std::optional<Allocation> AllocationMap::remove(uint64_t base, AllocationKind kind) {
  const std::unique_lock lock(mutex_);
  const auto it = by_base_.find(base);
  if (it == by_base_.end() || it->second.kind != kind) return std::nullopt;
  const Allocation found = it->second;
  by_base_.erase(it);
  return found;
}

std::optional<Allocation> AllocationMap::find(uint64_t address) const {
  const std::shared_lock lock(mutex_);
  const auto it = holder(by_base_, address);
  return it == by_base_.end() ? std::nullopt : std::optional(it->second);
}

bool AllocationMap::covers(uint64_t address, uint64_t size) const {
  const std::shared_lock lock(mutex_);
  auto it = holder(by_base_, address);
  while (it != by_base_.end() && it->second.usable) {
    const uint64_t end = it->second.base + it->second.size;
    if (end - address >= size) return true;
    if (it->second.kind != AllocationKind::kMapped) return false;
    size -= end - address;
    address = end;
    ++it;
    if (it != by_base_.end() && it->second.base != address) return false;
  }
  return false;
}

void AllocationMap::set_access(uint64_t address, uint64_t size, int ordinal, unsigned flags) {
  const std::unique_lock lock(mutex_);
  for (auto it = by_base_.lower_bound(address); it != by_base_.end() && it->first - address < size;
       ++it) {
    Allocation& mapping = it->second;
    if (mapping.kind != AllocationKind::kMapped) continue;
    const uint64_t bit = uint64_t{1} << (ordinal % 64);
    mapping.accessors = flags == 0 ? mapping.accessors & ~bit : mapping.accessors | bit;
    mapping.usable = mapping.accessors != 0;
  }
}

bool AllocationMap::set_sync_memops(uint64_t address, bool value) {
  const std::unique_lock lock(mutex_);
  const auto it = holder(by_base_, address);
  if (it == by_base_.end()) return false;
  it->second.sync_memops = value;
  return true;
}

void AllocationMap::remove_context(const Context* context) {
  const std::unique_lock lock(mutex_);
  std::erase_if(by_base_, [&](const auto& entry) { return entry.second.context == context; });
}

void AllocationMap::remove_owner(uint64_t owner) {
  const std::unique_lock lock(mutex_);
  std::erase_if(by_base_, [&](const auto& entry) {
    return entry.second.kind == AllocationKind::kGlobal && entry.second.owner == owner;
  });
}

void AllocationMap::end_graph(uint64_t base, uint64_t owner, bool stays) {
  const std::unique_lock lock(mutex_);
  const auto it = by_base_.find(base);
  if (it == by_base_.end() || it->second.owner != owner) return;  // given to another meanwhile
  AllocationKind& kind = it->second.kind;
  if (kind != AllocationKind::kGraph && kind != AllocationKind::kAsync) return;
  if (stays) {
    kind = AllocationKind::kAsync;
  } else {
    by_base_.erase(it);
  }
}

void HostMap::add(HostRange range) {
  const std::unique_lock lock(mutex_);
  range.id = kHostIds + next_id_++;
  by_base_[range.base] = range;
}

std::optional<HostRange> HostMap::remove(uint64_t base, HostKind kind) {
  const std::unique_lock lock(mutex_);
  const auto it = by_base_.find(base);
  if (it == by_base_.end() || it->second.kind != kind) return std::nullopt;
  const HostRange found = it->second;
  by_base_.erase(it);
  if (found.shadow != 0) shadows_.fetch_sub(1);
  return found;
}

std::optional<HostRange> HostMap::find(uint64_t address) const {
  const std::shared_lock lock(mutex_);
  const auto it = holder(by_base_, address);
  return it == by_base_.end() ? std::nullopt : std::optional(it->second);
}

bool HostMap::overlaps(uint64_t address, uint64_t size) const {
  const std::shared_lock lock(mutex_);
  const auto next = by_base_.lower_bound(address);
  if (next != by_base_.end() && next->second.base < address + size) return true;
  return holder(by_base_, address) != by_base_.end();
}

void HostMap::set_shadow(uint64_t base, uint64_t shadow) {
  const std::unique_lock lock(mutex_);
  const auto it = by_base_.find(base);
  if (it == by_base_.end() || it->second.shadow != 0) return;
  it->second.shadow = shadow;
  shadows_.fetch_add(1);
}

std::vector<HostRange> HostMap::shadowed() const {
  const std::shared_lock lock(mutex_);
  std::vector<HostRange> found;
  for (const auto& [base, range] : by_base_) {
    if (range.shadow != 0) found.push_back(range);
  }
  return found;
}

}  // namespace vgpu::stub

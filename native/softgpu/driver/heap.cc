#include "softgpu/driver/heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>

namespace vgpu::softgpu {
namespace {

// A region is reserved, not used: pages are backed when they are first touched.
constexpr uint64_t kRegion = uint64_t{1} << 30;
// From this size on, the pages of a freed range go back to the host at once.
constexpr uint64_t kReturnToHost = uint64_t{1} << 20;
constexpr uint64_t kPage = 4096;

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

void return_pages(uint64_t begin, uint64_t size) {
  const uint64_t first = round_up(begin, kPage), last = (begin + size) / kPage * kPage;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace

void Heap::insert_free(uint64_t begin, uint64_t size) {
  auto next = free_.lower_bound(begin);
  if (next != free_.end() && begin + size == next->first) {
    size += next->second;
    erase_free(next);
  }
  next = free_.lower_bound(begin);
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == begin) {
      begin = before->first;
      size += before->second;
      erase_free(before);
    }
  }
  free_[begin] = size;
  by_size_.insert({size, begin});
}

void Heap::erase_free(std::map<uint64_t, uint64_t>::iterator at) {
  by_size_.erase({at->second, at->first});
  free_.erase(at);
}

bool Heap::grow(uint64_t bytes) {
  const uint64_t size = round_up(std::max(bytes, kRegion), kPage);
  void* region = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (region == MAP_FAILED) return false;
  // Kernels walk over several large arrays at once: in small pages most of their misses are those
  // of the address translation. A host that refuses is merely slower.
  madvise(region, size, MADV_HUGEPAGE);
  insert_free(reinterpret_cast<uint64_t>(region), size);
  return true;
}

uint64_t Heap::allocate(uint64_t bytes, uint64_t alignment) {
  const uint64_t size = round_up(std::max<uint64_t>(bytes, 1), kUnit);
  alignment = std::max(alignment, kUnit);
  const std::lock_guard lock(mutex_);
  for (int attempt = 0; attempt < 2; ++attempt) {
    for (auto best = by_size_.lower_bound({size, 0}); best != by_size_.end(); ++best) {
      const auto [hole_size, hole] = *best;
      const uint64_t begin = round_up(hole, alignment);
      if (begin + size > hole + hole_size) continue;
      erase_free(free_.find(hole));
      if (begin > hole) insert_free(hole, begin - hole);
      if (hole + hole_size > begin + size) {
        insert_free(begin + size, hole + hole_size - begin - size);
      }
      used_[begin] = size;
      return begin;
    }
    if (!grow(size + alignment)) return 0;
  }
  return 0;
}

void Heap::release(uint64_t address) {
  const std::lock_guard lock(mutex_);
  const auto found = used_.find(address);
  if (found == used_.end()) return;
  if (found->second > quarantine_) return give_back(address);
  return_pages(address, found->second);
  waiting_.push_back(address);
  waiting_bytes_ += found->second;
  while (waiting_bytes_ > quarantine_) {
    waiting_bytes_ -= used_.at(waiting_.front());
    give_back(waiting_.front());
    waiting_.pop_front();
  }
}

void Heap::set_quarantine(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  quarantine_ = bytes;
}

void Heap::give_back(uint64_t address) {
  const auto found = used_.find(address);
  const auto [begin, size] = *found;
  used_.erase(found);
  if (size >= kReturnToHost) return_pages(begin, size);
  insert_free(begin, size);
}

}  // namespace vgpu::softgpu

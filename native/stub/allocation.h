// Which addresses are device memory, and which host memory the program allocated or registered.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <shared_mutex>
#include <vector>

namespace vgpu::stub {

struct Context;
struct Device;

enum class AllocationKind : uint8_t { kAlloc, kAsync, kGlobal, kMapped, kReserved, kGraph };

struct Allocation {
  uint64_t base = 0;
  uint64_t size = 0;
  uint64_t id = 0;  // CU_POINTER_ATTRIBUTE_BUFFER_ID: unique in the process
  AllocationKind kind = AllocationKind::kAlloc;
  Context* context = nullptr;
  Device* device = nullptr;
  uint64_t pool = 0;
  // Module of a global, physical memory of a mapping, host entry of what a graph made.
  uint64_t owner = 0;
  bool sync_memops = false;
  bool usable = true;      // false: mapped, and no device has access
  uint64_t accessors = 0;  // of mapped memory: a bit for each device that has access
};

class AllocationMap {
 public:
  void add(Allocation allocation);
  // Removes the allocation that starts at `base`.
  std::optional<Allocation> remove(uint64_t base);
  std::optional<Allocation> remove(uint64_t base, AllocationKind kind);
  // The allocation that holds `address`.
  [[nodiscard]] std::optional<Allocation> find(uint64_t address) const;
  // All of [address, address + size) is device memory; neighbouring mappings count as one.
  [[nodiscard]] bool covers(uint64_t address, uint64_t size) const;
  // Access of one device to the mappings in a range.
  void set_access(uint64_t address, uint64_t size, int ordinal, unsigned flags);
  bool set_sync_memops(uint64_t address, bool value);
  void remove_context(const Context* context);
  void remove_owner(uint64_t owner);
  // No graph has the memory of this host entry any more. `stays`: a launch has left it, and from
  // now on it is memory like any other.
  void end_graph(uint64_t base, uint64_t owner, bool stays);
  template <typename Predicate>
  void remove_if(Predicate predicate);

 private:
  mutable std::shared_mutex mutex_;  // guards the members below
  std::map<uint64_t, Allocation> by_base_;
  uint64_t next_id_ = 1;
};

enum class HostKind : uint8_t { kAllocated, kRegistered };

struct HostRange {
  uint64_t base = 0;
  uint64_t size = 0;
  uint64_t id = 0;
  HostKind kind = HostKind::kAllocated;
  unsigned flags = 0;   // CU_MEMHOSTALLOC_* or CU_MEMHOSTREGISTER_*
  uint64_t shadow = 0;  // device copy of mapped memory; 0: none yet
  Context* context = nullptr;
};

class HostMap {
 public:
  void add(HostRange range);
  std::optional<HostRange> remove(uint64_t base, HostKind kind);
  [[nodiscard]] std::optional<HostRange> find(uint64_t address) const;
  // True when any byte of the range is already known.
  [[nodiscard]] bool overlaps(uint64_t address, uint64_t size) const;
  void set_shadow(uint64_t base, uint64_t shadow);
  // The ranges that have a device copy; cheap when there is none.
  [[nodiscard]] std::vector<HostRange> shadowed() const;
  [[nodiscard]] bool any_shadow() const { return shadows_.load(std::memory_order_acquire) > 0; }

 private:
  mutable std::shared_mutex mutex_;  // guards by_base_
  std::map<uint64_t, HostRange> by_base_;
  std::atomic<int> shadows_{0};
  uint64_t next_id_ = 1;
};

}  // namespace vgpu::stub

// Every range that a program may name: device, pinned, registered, pool, mapped and module memory.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>

namespace vgpu::softgpu {

struct Device;
struct Context;
struct Pool;

enum class MemoryKind { kDevice, kHost, kRegistered, kPool, kMapped, kModule, kGraph };

// Who may use memory whose access is given by name (pools, mapped memory), by device ordinal.
using Grants = std::map<int, CUmemAccess_flags>;

struct Allocation {
  uint64_t begin = 0;
  uint64_t size = 0;  // as requested
  // Bytes that kernels may use, if more than `size`: a pool gives memory out again while work that
  // was submitted before the free may still use it.
  uint64_t extent = 0;
  uint64_t charged = 0;  // bytes of the device's budget
  MemoryKind kind = MemoryKind::kDevice;
  Device* device = nullptr;
  uint64_t context = 0;  // handle; 0 for what belongs to no context
  std::shared_ptr<Pool> pool;
  std::shared_ptr<const Grants> grants;  // null: the owner, and peers that enabled access
  bool freed = false;                    // in stream order: its stream has yet to get there
  uint64_t id = 0;                       // CU_POINTER_ATTRIBUTE_BUFFER_ID
  unsigned flags = 0;                    // as given to cuMemHostAlloc or cuMemHostRegister
  bool writable = true;
  bool present = true;  // false: the address is known, but nothing may be accessed there now
  bool sync_operations = false;

  // What kernels on `device` may do with it. Requires the lock of Allocations.
  [[nodiscard]] CUmemAccess_flags access(const Device& device) const;
  [[nodiscard]] bool usable() const;  // by some device
  [[nodiscard]] bool on_host() const {
    return kind == MemoryKind::kHost || kind == MemoryKind::kRegistered;
  }
};

// What lies around an address, for reports.
struct Neighbours {
  std::optional<Allocation> below;  // the last that begins at or before it
  std::optional<Allocation> above;  // the first that begins after it
  std::optional<Allocation> freed;  // the last one freed that held it
};

class Allocations {
 public:
  // Makes the range known to the API and accessible to kernels; returns its id. Replaces what
  // begins at the same address in one step.
  uint64_t add(Allocation allocation);
  // Nullopt when no allocation begins at the address, or not the one with this id (0: any).
  std::optional<Allocation> remove(uint64_t begin, uint64_t id = 0);
  // Marks it as freed; nullopt when it was already, or none begins there.
  std::optional<Allocation> mark_freed(uint64_t begin);
  [[nodiscard]] std::optional<Allocation> find(uint64_t address) const;
  [[nodiscard]] Neighbours neighbours(uint64_t address) const;
  // Whether [address, address + size) lies in known memory, possibly in several adjacent ranges.
  [[nodiscard]] bool covers(uint64_t address, uint64_t size) const;
  [[nodiscard]] bool overlaps(uint64_t address, uint64_t size) const;
  void set_grants(uint64_t begin, std::shared_ptr<const Grants> grants);
  // Of all that was taken from the pool.
  void set_grants(const Pool& pool, std::shared_ptr<const Grants> grants);
  void set_sync_operations(uint64_t begin, bool value);
  // Whether kernels may access the range that begins there: graph memory comes and goes.
  void set_present(uint64_t begin, bool present);
  // Lets kernels on `device` reach what lives on `owner`.
  void open(Device& device, const Device& owner);
  void close(Device& device, const Device& owner);
  // Removes all that belongs to a context, calling `release` for each.
  template <typename F>
  void remove_of(uint64_t context, F release);

 private:
  void change_grants(Allocation& allocation, std::shared_ptr<const Grants> grants);
  void publish(const Allocation& allocation);
  void withdraw(const Allocation& allocation);
  void remember(const Allocation& freed);

  static constexpr size_t kMostFreed = 4096;
  mutable std::shared_mutex mutex_;  // guards all below
  std::deque<Allocation> freed_;     // the newest at the end
  std::map<uint64_t, Allocation> ranges_;
  uint64_t serial_ = 0;
};

template <typename F>
void Allocations::remove_of(uint64_t context, F release) {
  std::map<uint64_t, Allocation> removed;
  {
    const std::unique_lock lock(mutex_);
    for (auto at = ranges_.begin(); at != ranges_.end();) {
      if (at->second.context == context) {
        withdraw(at->second);
        remember(at->second);
        removed.insert(*at);
        at = ranges_.erase(at);
      } else {
        ++at;
      }
    }
  }
  for (const auto& [begin, allocation] : removed) release(allocation);
}

// Device memory from the device's heap, charged to its budget.
CUresult allocate_device(Device& device, uint64_t bytes, uint64_t alignment, Allocation description,
                         uint64_t* address);
// Gives back what `allocation` holds: heap range, host pages, budget.
void release_memory(const Allocation& allocation);

}  // namespace vgpu::softgpu

// Which addresses of the software device are valid, for the check of every access.
//
// Device addresses are host addresses of the process that runs the software driver, so a kernel's
// access is a load or a store once its range has been found. Readers (interpreter threads) take no
// lock: they hold a snapshot for the length of a block and look ranges up in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace vgpu::softgpu {

struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;  // one past the last valid byte
  bool writable = true;
};

class MemoryMap {
 public:
  using Snapshot = std::shared_ptr<const std::vector<Range>>;  // sorted by begin, disjoint

  // Replaces, in one step, the range that begins at the same address.
  void add(uint64_t begin, uint64_t size, bool writable = true);
  void remove(uint64_t begin);
  [[nodiscard]] Snapshot snapshot() const;

 private:
  void apply_changes() const;

  mutable std::mutex mutex_;  // guards all below
  mutable Snapshot ranges_ = std::make_shared<std::vector<Range>>();
  // Since ranges_ was made, by address: no range for a removed one. Kept apart until a snapshot is
  // wanted, since a module brings hundreds of variables and the list is copied as a whole.
  mutable std::map<uint64_t, std::optional<Range>> changes_;
};

// The range that holds all of [address, address + size), or null.
const Range* find_range(const std::vector<Range>& ranges, uint64_t address, uint64_t size);

}  // namespace vgpu::softgpu

// Which bytes of device memory have ever been written: the memory of the check for uninitialised
// reads. One byte for each; regions that nobody added count as written.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <shared_mutex>

namespace vgpu::softgpu {

class Shadow {
 public:
  void add(uint64_t begin, uint64_t size);
  void remove(uint64_t begin);
  void write(uint64_t address, uint64_t size);
  // What a copy makes of the destination: as written as its source.
  void copy(uint64_t destination, uint64_t source, uint64_t size);
  [[nodiscard]] bool written(uint64_t address, uint64_t size) const;

 private:
  // Kernels of several threads mark and ask at the same time: relaxed accesses to single bytes.
  struct Region {
    uint64_t size = 0;
    std::unique_ptr<uint8_t[], void (*)(void*)> marks{nullptr, std::free};  // pages made on use
  };
  // The marks of an address and how many follow; null when the region is not known. Requires
  // mutex_.
  [[nodiscard]] uint8_t* find(uint64_t address, uint64_t& left) const;

  mutable std::shared_mutex mutex_;  // guards regions_
  std::map<uint64_t, Region> regions_;
};

}  // namespace vgpu::softgpu

// Address ranges of one device's memory: a reserved, lazily backed region of the process, carved in
// units of 512 bytes. Counts no bytes: the device does.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace vgpu::softgpu {

class Heap {
 public:
  static constexpr uint64_t kUnit = 512;

  // 0 when the process has no address space left.
  uint64_t allocate(uint64_t bytes, uint64_t alignment);
  void release(uint64_t address);
  // Released ranges wait until the later ones are more than so many bytes: so that a use after the
  // free hits nothing, instead of what was allocated there next.
  void set_quarantine(uint64_t bytes);

 private:
  void give_back(uint64_t address);  // Requires mutex_.
  bool grow(uint64_t bytes);         // Requires mutex_.
  void insert_free(uint64_t begin, uint64_t size);
  void erase_free(std::map<uint64_t, uint64_t>::iterator at);

  std::mutex mutex_;                                 // guards all below
  std::map<uint64_t, uint64_t> free_;                // begin -> size, coalesced
  std::set<std::pair<uint64_t, uint64_t>> by_size_;  // (size, begin)
  std::map<uint64_t, uint64_t> used_;                // begin -> size
  uint64_t quarantine_ = 0, waiting_bytes_ = 0;
  std::deque<uint64_t> waiting_;  // released, still in used_
};

}  // namespace vgpu::softgpu

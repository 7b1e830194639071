// Host buffers that copies go through: pinned once a context exists, recycled by size, shared until
// the last user lets go.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "generated/driver_table.h"

namespace vgpu::executor {

struct StagingBuffer {
  std::byte* data = nullptr;
  uint64_t size = 0;  // as asked for
  uint64_t capacity = 0;
  bool pinned = false;
  uint64_t generation = 0;
};

class StagingPool : public std::enable_shared_from_this<StagingPool> {
 public:
  using Buffer = std::shared_ptr<StagingBuffer>;

  explicit StagingPool(const DriverTable& driver) : driver_(driver) {}
  ~StagingPool();
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;

  // Null when `size` is above the limit or memory is short. Any thread; the memory is pinned if the
  // calling thread has a current context, so the buffers serve every context.
  Buffer get(uint64_t size);
  // A piece of a larger buffer, for the many small ones. `owner` keeps it alive.
  struct Piece {
    std::byte* data = nullptr;
    std::shared_ptr<const void> owner;
  };
  Piece piece(uint64_t size);
  // While the device waits for the client, nothing is pinned or unpinned: both may wait for the
  // device.
  void hold(bool held) { held_ = held; }
  // From now on buffers are pinned.
  void allow_pinned() { pin_ = true; }
  // Frees what nobody uses, and disowns the rest: pinned memory dies with the context it was made
  // in.
  void trim();

 private:
  static constexpr uint64_t kSmallest = 4096;
  static constexpr uint64_t kMostPerBuffer = uint64_t{8} << 30;
  static constexpr uint64_t kMostPowers = uint64_t{64} << 20;  // sizes are powers of two up to here
  // Larger ones are plain memory, with which a driver makes the caller of a copy wait.
  static constexpr uint64_t kMostPinned = uint64_t{2} << 30;
  static constexpr uint64_t kMostCached = uint64_t{256} << 20;
  static constexpr uint64_t kPieces = uint64_t{1} << 20;

  static uint64_t capacity_for(uint64_t size);
  void put_back(StagingBuffer buffer);
  void release(const StagingBuffer& buffer);

  const DriverTable& driver_;
  bool pin_ = false;
  std::atomic<bool> held_{false};
  std::mutex mutex_;                             // guards free_, cached_, generation_
  std::multimap<uint64_t, StagingBuffer> free_;  // by capacity
  uint64_t cached_ = 0;
  uint64_t generation_ = 0;
  Buffer pieces_;  // main loop only
  uint64_t pieces_used_ = 0;
};

}  // namespace vgpu::executor

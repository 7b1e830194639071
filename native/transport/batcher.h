// The application's side of the command lane: records are appended under one short lock, and leave
// as batches when a caller waits, when a batch is full, or while the peer is idle.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "wire/record.h"

namespace vgpu::transport {

enum class Appended : uint8_t {
  kLost,   // the session is lost, or the record is too long
  kQuiet,  // nothing to do now
  kWake,   // the transport thread has to be woken
};

// Memory of batches that were sent and acknowledged, for new ones. Any thread.
class BatchPool {
 public:
  std::vector<std::byte> take(size_t reserve);
  void give(std::vector<std::byte> used);

 private:
  std::mutex mutex_;  // guards spare_
  std::vector<std::vector<std::byte>> spare_;
};

class Batcher {
 public:
  using Parts = std::span<const std::span<const std::byte>>;

  Batcher(uint32_t batch_bytes, uint64_t window) : batch_bytes_(batch_bytes), window_(window) {}

  // Application threads. Waits while the window is full. `urgent`: a caller waits for its effect.
  Appended append(wire::RecordHeader header, Parts parts, bool urgent);
  // Everything appended so far may leave. True if the transport thread has to be woken.
  bool flush();

  // Transport thread. The next batch that is due, with room for a frame header in front.
  bool take(std::vector<std::byte>& batch);
  // Where the memory of a batch goes when nobody needs it any more; may outlive the batcher.
  [[nodiscard]] const std::shared_ptr<BatchPool>& pool() const { return pool_; }
  // The peer has consumed `total` bytes since the session began.
  void credit(uint64_t total);
  void set_window(uint64_t window);
  // The peer has issued everything that was sent: what is open leaves now.
  void peer_idle();
  void fail();

 private:
  // Requires mutex_.
  [[nodiscard]] bool full() const { return appended_ - consumed_ >= window_; }
  [[nodiscard]] bool due() const;
  void seal();
  bool signal();

  const std::shared_ptr<BatchPool> pool_ = std::make_shared<BatchPool>();
  std::mutex mutex_;  // guards all below
  std::condition_variable room_;
  std::vector<std::byte> open_;
  std::deque<std::vector<std::byte>> sealed_;
  uint32_t batch_bytes_;
  uint64_t window_;
  uint64_t appended_ = 0;
  uint64_t consumed_ = 0;
  unsigned waiting_ = 0;    // threads that wait for room
  bool flush_ = false;      // what is open leaves with the next take
  bool idle_ = true;        // the peer has nothing to do: the first record leaves at once
  bool signalled_ = false;  // the transport thread knows that something is due
  bool failed_ = false;
};

}  // namespace vgpu::transport

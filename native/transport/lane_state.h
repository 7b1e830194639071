// Numbers, acknowledgements and credit of one lane, seen from one end. Owned by the thread that
// owns the channel, except that `consumed` bytes may be reported from anywhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "transport/frame.h"

namespace vgpu::transport {

class LaneState {
 public:
  // The header of the next frame to send; a numbered kind takes the next number.
  FrameHeader next_header(FrameKind kind, uint16_t flags = 0) {
    reported_ = consumed_.load(std::memory_order_acquire);
    acknowledged_ = received_;
    const uint64_t number = is_numbered(kind) ? ++sent_ : 0;
    return {kFrameMagic, kind, 0, flags, number, received_, reported_};
  }
  // Keeps a numbered frame until the peer acknowledges it: a resumed session sends it again.
  void keep(uint64_t number, Frame frame) { kept_.emplace_back(number, std::move(frame)); }

  // Takes in the header of a received frame: its number must be the next one.
  bool accept(const FrameHeader& header, std::string& error) {
    if (header.ack > sent_) {
      error = "the peer acknowledges frame " + std::to_string(header.ack) + " but only " +
              std::to_string(sent_) + " were sent";
      return false;
    }
    while (!kept_.empty() && kept_.front().first <= header.ack) kept_.pop_front();
    if (!is_numbered(header.kind)) return true;
    if (header.number != received_ + 1) {
      error = "frame " + std::to_string(header.number) + " follows frame " +
              std::to_string(received_) + ": frames were lost";
      return false;
    }
    ++received_;
    return true;
  }

  // Any thread.
  void consume(uint64_t bytes) { consumed_.fetch_add(bytes, std::memory_order_acq_rel); }
  [[nodiscard]] uint64_t consumed() const { return consumed_.load(std::memory_order_acquire); }
  // Bytes consumed that the peer has not been told of.
  [[nodiscard]] uint64_t unreported() const { return consumed() - reported_; }
  // Frames received that the peer has not been told of.
  [[nodiscard]] uint64_t unacknowledged() const { return received_ - acknowledged_; }

  [[nodiscard]] uint64_t sent() const { return sent_; }
  [[nodiscard]] uint64_t received() const { return received_; }
  [[nodiscard]] size_t kept() const { return kept_.size(); }

 private:
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  uint64_t acknowledged_ = 0;
  uint64_t reported_ = 0;
  std::atomic<uint64_t> consumed_{0};
  std::deque<std::pair<uint64_t, Frame>> kept_;
};

}  // namespace vgpu::transport

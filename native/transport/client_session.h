// What the application's threads and the transport thread share: see client_link.h for the
// contract. The transport thread holds its own reference, so that close() need not wait for it for
// ever.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "transport/batcher.h"
#include "transport/bulk_receiver.h"
#include "transport/bulk_sender.h"
#include "transport/client_link.h"
#include "transport/lane_state.h"
#include "transport/liveness.h"
#include "transport/reply_table.h"

namespace vgpu::transport {

struct ClientCounters {
  std::atomic<uint64_t> records{0}, batches{0}, round_trips{0}, bytes_sent{0}, bytes_received{0},
      bulk_sent{0}, bulk_received{0};
};

class ClientSession {
 public:
  using Clock = std::chrono::steady_clock;

  ClientSession(std::unique_ptr<Channel> channel, ClientLinkOptions options);

  // The transport thread's body.
  void run() noexcept;

  // Application threads.
  void wake() { channel_->wake(); }
  bool wait_open(std::string& error);
  void ask_close(int deadline_ms);
  bool wait_finished(std::chrono::milliseconds limit);
  [[nodiscard]] bool lost() const { return lost_.load(std::memory_order_acquire); }
  std::string reason();

  Batcher batcher;
  ReplyTable replies;
  BulkSender uploads;
  BulkReceiver downloads;
  ClientCounters counters;

 private:
  enum class Phase : uint8_t { kOpening, kOpen, kClosing, kEnded };
  struct LaneEnd {
    LaneState state;
    Liveness liveness;
    bool welcomed = false;
    uint64_t report_at = 1u << 20;  // consumed bytes after which the peer is told
    explicit LaneEnd(int silence_ms) : liveness(silence_ms) {}
  };

  void greet();
  void turn();
  bool receive(Lane lane);
  void handle(Lane lane, const Frame& frame);
  bool handle_kind(Lane lane, const Decoded& frame, std::string& error);
  void welcome(Lane lane, const WelcomeBody& body);
  bool take_replies(const Decoded& frame, std::string& error);
  bool take_chunk(const Decoded& frame, std::string& error);
  bool send_batches();
  bool send_chunks();
  void send_reports();
  void send_control(Lane lane, FrameKind kind, std::span<const std::byte> body = {});
  void send_numbered(Lane lane, uint64_t number, Frame frame);
  void check_time();
  void check_closing();
  int patience() const;
  void end(const std::string& reason, bool lost);
  LaneEnd& lane(Lane which) { return lanes_[static_cast<size_t>(which)]; }

  std::unique_ptr<Channel> channel_;  // transport thread, but for wake()
  ClientLinkOptions options_;
  LaneEnd lanes_[2];           // transport thread
  uint64_t landed_ = 0;        // transport thread
  bool said_goodbye_ = false;  // transport thread
  Clock::time_point opened_by_;

  std::atomic<bool> lost_{false};
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  Phase phase_ = Phase::kOpening;
  bool finished_ = false;
  std::string reason_;
  Clock::time_point close_by_{};
  std::atomic<bool> close_wanted_{false};
};

}  // namespace vgpu::transport

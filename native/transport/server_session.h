// The executor's end: see server_link.h for the contract. Owned by one thread, but for wake() and
// the release of command frames.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "transport/buffer_pool.h"
#include "transport/bulk_sender.h"
#include "transport/lane_state.h"
#include "transport/liveness.h"
#include "transport/server_link.h"

namespace vgpu::transport {

// Where released command frames report their bytes; outlives the session if a frame does.
class CommandCredit {
 public:
  explicit CommandCredit(Channel* channel) : channel_(channel) {}
  // The owner wants to be woken when so many bytes have been released.
  void wake_at(uint64_t bytes);
  // Any thread.
  void release(uint64_t bytes);
  // Owner thread: bytes released since the last call.
  uint64_t collect();
  void detach();

 private:
  std::mutex mutex_;  // guards all below
  Channel* channel_;
  uint64_t wake_at_ = kMaxWindow;
  uint64_t released_ = 0;
};

class ServerSession final : public ServerLink {
 public:
  ServerSession(std::unique_ptr<Channel> channel, ServerLinkOptions options,
                ServerLinkEvents events);
  ~ServerSession() override;

  void turn(int timeout_ms) override;
  void wake() override { channel_->wake(); }
  void reply(wire::ReplyHeader header, std::span<const std::byte> payload) override;
  bool output(uint32_t stream, std::string_view text) override;
  void send_bulk(uint64_t transfer, std::shared_ptr<const void> owner, const std::byte* data,
                 uint64_t size) override;
  [[nodiscard]] uint64_t bulk_sent() const override { return downloads_given_; }
  void report_idle() override;
  void close(int linger_ms) override;

 private:
  struct LaneEnd {
    LaneState state;
    Liveness liveness;
    bool greeted = false;
    uint64_t window = 0;         // granted to the client
    uint64_t received = 0;       // bytes of numbered frames, ever
    uint64_t sent = 0;           // bytes of numbered frames, ever
    uint64_t peer_consumed = 0;  // of these
    explicit LaneEnd(int silence_ms) : liveness(silence_ms) {}
    [[nodiscard]] uint64_t in_flight() const { return sent - peer_consumed; }
  };
  struct Download {
    uint64_t transfer;
    std::shared_ptr<const void> owner;
    const std::byte* data;
    uint64_t size;
    uint64_t offset;
  };
  struct Upload {
    std::byte* data;
    uint64_t size;
    uint64_t filled;
  };

  bool pump();
  bool receive(Lane lane);
  void handle(Lane which, const Frame& frame);
  bool greet(Lane which, const Decoded& frame);
  void refuse(Lane which, const std::string& why);
  bool handle_kind(Lane which, const Decoded& frame, const Frame& raw, std::string& error);
  bool take_batch(const Decoded& frame, const Frame& raw, std::string& error);
  bool dispatch_batches();
  void dispatch(const Frame& raw);
  bool take_chunk(const Decoded& frame, const Frame& raw, std::string& error);
  bool fill_upload(const Decoded& frame, std::string& error);
  bool retry_held();
  bool start_upload(const ChunkBody& chunk, std::string& error);
  bool check_window(LaneEnd& lane, size_t bytes, std::string& error);
  void flush_replies();
  bool send_downloads();
  void send_reports();
  void send_control(Lane which, FrameKind kind, std::span<const std::byte> body = {},
                    std::string_view text = {});
  void send_numbered(Lane which, uint64_t number, Frame frame, size_t bytes);
  void check_goodbye();
  void check_time();
  void end(const std::string& reason, bool clean);
  LaneEnd& lane(Lane which) { return lanes_[static_cast<size_t>(which)]; }

  std::unique_ptr<Channel> channel_;
  ServerLinkOptions options_;
  ServerLinkEvents events_;
  LaneEnd lanes_[2];
  std::shared_ptr<CommandCredit> credit_;
  std::shared_ptr<BufferPool> pool_;
  std::deque<Frame> batches_;  // received, not decoded: replies are stuck
  std::vector<std::byte> replies_;
  bool idle_pending_ = false;   // replies_ will say that everything was issued
  uint64_t idle_reported_ = 0;  // batch up to which the client knows that we are idle
  std::deque<Download> downloads_;
  uint64_t downloads_given_ = 0;
  std::unordered_map<uint64_t, Upload> uploads_;
  Frame held_;  // the first chunk of a transfer that is not admitted yet; empty if there is none
  uint16_t minor_ = 0;  // the lower of ours and the client's
  bool ready_ = false;
  bool ended_ = false;
  bool goodbye_ = false;
  uint64_t goodbye_bulk_ = 0;
};

}  // namespace vgpu::transport

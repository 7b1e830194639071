// The executor's end of a session. Single-threaded: the executor's main loop owns it; other threads
// only post() to it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transport/channel.h"
#include "wire/record.h"

namespace vgpu::transport {

// A record as it arrived; `frame` keeps its bytes alive while it waits in a stream's queue.
struct Command {
  wire::RecordHeader header{};
  std::span<const std::byte> payload;
  std::shared_ptr<const void> frame;
};

struct ServerLinkEvents {
  // A complete record, in program order.
  std::function<void(Command)> on_command;
  // A whole host-to-device bulk transfer has arrived (chunks are assembled by the link into `data`,
  // obtained from `allocate_bulk`).
  std::function<std::byte*(uint64_t transfer, uint64_t size)> allocate_bulk;
  std::function<void(uint64_t transfer)> on_bulk;
  // HELLO accepted / goodbye / lost (reason). After on_end no other event follows.
  std::function<void()> on_ready;
  std::function<void(const std::string& reason, bool clean)> on_end;
};

struct ServerLinkOptions {
  std::array<std::byte, 16> token{};  // a HELLO with another token is refused
  int silence_timeout_ms = 60000;
  uint64_t bulk_window = 16u << 20;   // unacknowledged device-to-host bytes in flight
};

class ServerLink {
 public:
  static std::unique_ptr<ServerLink> create(std::unique_ptr<Channel> channel, ServerLinkOptions options,
                                            ServerLinkEvents events);
  virtual ~ServerLink() = default;

  // One turn: receives, decodes, calls the events, sends what is queued; waits at most `timeout_ms`
  // when there was nothing to do.
  virtual void turn(int timeout_ms) = 0;
  // Makes turn() return early. Any thread.
  virtual void wake() = 0;

  // Owner thread only. `header.size` is filled in here.
  virtual void reply(wire::ReplyHeader header, std::span<const std::byte> payload) = 0;
  // Owner thread only. Sends a device-to-host transfer in chunks; `owner` is released when the last
  // chunk has been handed over. Its number is the one the client chose in expect_bulk().
  virtual void send_bulk(uint64_t transfer, std::shared_ptr<const void> owner, const std::byte* data,
                         uint64_t size) = 0;
  // Tells the client that everything received so far has been issued (it may flush its next batch).
  virtual void report_idle() = 0;
  virtual void close(int linger_ms) = 0;
};

}  // namespace vgpu::transport

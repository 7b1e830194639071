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
#include <string_view>
#include <vector>

#include "transport/channel.h"
#include "wire/record.h"

namespace vgpu::transport {

// A record as it arrived; `frame` keeps its bytes alive while it waits in a stream's queue. The
// client gets its command window back when the last `frame` of a batch is released, on any thread.
struct Command {
  wire::RecordHeader header{};
  std::span<const std::byte> payload;
  std::shared_ptr<const void> frame;
};

struct ServerLinkEvents {
  // A complete record, in program order.
  std::function<void(Command)> on_command;
  // A whole host-to-device bulk transfer has arrived (chunks are assembled by the link into `data`,
  // obtained from `allocate_bulk`; null from there ends the session).
  std::function<std::byte*(uint64_t transfer, uint64_t size)> allocate_bulk;
  std::function<void(uint64_t transfer)> on_bulk;
  // May a transfer of `size` bytes begin now? False stops the bulk lane, and with it the client's
  // send_bulk(), until it says yes (asked at every turn). It must say yes when nothing is held, or
  // nobody makes progress. Null: always yes; then nothing bounds what parked copies hold.
  std::function<bool(uint64_t size)> admit_bulk;
  // HELLO accepted / goodbye / lost (reason). After on_end no other event follows.
  // Events are called inside turn(); they may call reply(), send_bulk() and report_idle().
  std::function<void()> on_ready;
  std::function<void(const std::string& reason, bool clean)> on_end;
};

struct ServerLinkOptions {
  std::array<std::byte, 16> token{};  // a HELLO with another token is refused
  int silence_timeout_ms = 60000;
  uint64_t bulk_window = 16u << 20;   // unacknowledged device-to-host bytes in flight
  uint32_t chunk_bytes = 1u << 20;    // device-to-host chunk
  uint64_t reply_window = 64u << 20;  // unacknowledged reply bytes; beyond it no command is decoded
  uint64_t max_command_window = 64u << 20;  // what a client is granted at most
  uint64_t max_bulk_window = 256u << 20;
};

class ServerLink {
 public:
  static std::unique_ptr<ServerLink> create(std::unique_ptr<Channel> channel,
                                            ServerLinkOptions options, ServerLinkEvents events);
  virtual ~ServerLink() = default;

  // One turn: receives, decodes, calls the events, sends what is queued; waits at most `timeout_ms`
  // when there was nothing to do.
  virtual void turn(int timeout_ms) = 0;
  // Makes turn() return early. Any thread.
  virtual void wake() = 0;

  // Owner thread only. `header.size` is filled in here.
  virtual void reply(wire::ReplyHeader header, std::span<const std::byte> payload) = 0;
  // Owner thread only. What the driver printed on a standard stream (1 or 2), at most
  // wire::kMaxOutput bytes: the client has it before the replies that follow. False when this
  // client does not know such messages.
  virtual bool output(uint32_t stream, std::string_view text) = 0;
  // Owner thread only. Sends a device-to-host transfer in chunks; `owner` is released when the last
  // chunk has been handed over. Its number is the one the client chose in expect_bulk().
  virtual void send_bulk(uint64_t transfer, std::shared_ptr<const void> owner,
                         const std::byte* data, uint64_t size) = 0;
  // How many transfers send_bulk() has been given so far. They land in that order, so this is the
  // ReplyHeader::bulk_through of a reply that must not be seen before all of them have.
  [[nodiscard]] virtual uint64_t bulk_sent() const = 0;
  // Tells the client that everything received so far has been issued (it may flush its next batch).
  virtual void report_idle() = 0;
  virtual void close(int linger_ms) = 0;
};

}  // namespace vgpu::transport

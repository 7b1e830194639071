// The client's end of a session: one ordered command stream, replies, and bulk transfers, on one
// transport thread (all signals blocked) that alone owns the channel.
//
// Application threads append under one short lock. The transport thread flushes at once when a
// caller waits, when a batch is full, or when the peer reports idle: never by a timer. A launched
// kernel starts even if the program never calls again.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "transport/channel.h"
#include "wire/reader.h"
#include "wire/record.h"

namespace vgpu::transport {

// Counters of one session; what `vgpu run --stats` prints.
struct LinkStatistics {
  uint64_t records = 0;         // records appended
  uint64_t batches = 0;         // command frames sent
  uint64_t round_trips = 0;     // times a caller waited for the peer
  uint64_t bytes_sent = 0;      // both lanes
  uint64_t bytes_received = 0;  // both lanes
  uint64_t bulk_sent = 0;       // bulk transfers
  uint64_t bulk_received = 0;
};

struct Reply {
  // False: the session is lost; `error` says why and what to do, and `result` is CUDA_ERROR_UNKNOWN
  // (999) or the code that the stub's policy maps it to.
  bool delivered = false;
  std::string error;
  wire::ReplyHeader header{};
  std::vector<std::byte> payload;
  [[nodiscard]] wire::Reader reader() const { return wire::Reader(payload); }
};

struct ClientLinkOptions {
  std::array<std::byte, 16> token{};   // from the worker's `bound` message; proves the session
  uint32_t batch_bytes = 64u << 10;    // a batch is full at this size
  uint32_t chunk_bytes = 1u << 20;     // bulk chunk (facts/performance_limits.md 3.3)
  uint64_t command_window = 4u << 20;  // unacknowledged command bytes before append() waits
  uint64_t bulk_window = 16u << 20;    // unacknowledged bulk bytes before send_bulk() waits
  int connect_timeout_ms = 5000;
  int silence_timeout_ms = 60000;  // no sign of life from the peer for this long: session lost
  std::function<void(const std::string&)> on_lost;  // called once, on the transport thread
  // What the driver printed for device code on a standard stream (1 or 2). On the transport thread,
  // before the caller whose call made it print it goes on.
  std::function<void(uint32_t stream, std::string_view text)> on_output;
};

class ClientLink {
 public:
  // Starts the transport thread and exchanges HELLO. Null and `error` set when the peer does not
  // answer, refuses the token, or speaks another major version.
  static std::unique_ptr<ClientLink> open(std::unique_ptr<Channel> channel,
                                          ClientLinkOptions options, std::string& error);
  virtual ~ClientLink() = default;

  // Appends one record. `header.size` is filled in here; `parts` are concatenated as its payload.
  // False if the session is lost.
  virtual bool append(wire::RecordHeader header,
                      std::span<const std::span<const std::byte>> parts) = 0;

  // Appends one record that wants a reply and waits for it, and for every bulk transfer that the
  // reply names. Sets kReplyWanted and `call`. A record longer than wire::kMaxRecord is not sent:
  // the reply is not delivered, and lost() stays false.
  virtual Reply call(wire::RecordHeader header,
                     std::span<const std::span<const std::byte>> parts) = 0;

  // Host-to-device bulk data, in chunks, on the bulk lane. Returns the transfer's number, to be put
  // into the record that consumes it. The bytes have been copied (or sent) on return: the caller
  // may change them. Blocks while the window is full. Call it *before* appending the record. 0 when
  // the session is lost.
  virtual uint64_t send_bulk(const void* data, size_t size) = 0;

  // Announces a device-to-host destination, and returns the number to put into the record that
  // produces the data. The transport thread copies chunks there as they land. The destination must
  // stay valid until the transfer has landed or the session is lost.
  virtual uint64_t expect_bulk(void* destination, size_t size) = 0;

  // Withdraws a destination, for instance because the call that should have produced it failed. On
  // return nothing is written there any more; chunks that still arrive are dropped.
  virtual void forget_bulk(uint64_t transfer) = 0;

  // Sends what is queued without waiting for the peer.
  virtual void flush() = 0;
  [[nodiscard]] virtual bool lost() const = 0;
  [[nodiscard]] virtual std::string lost_reason() const = 0;
  [[nodiscard]] virtual LinkStatistics statistics() const = 0;

  // Flushes with a deadline, says goodbye, stops the thread. Never joins a dead peer.
  virtual void close(int deadline_ms) = 0;
};

}  // namespace vgpu::transport

// Frames: what travels on a lane. Every frame starts with a FrameHeader; what follows depends on
// its kind. Batches, replies and bulk chunks are numbered per lane and direction from 1, and kept
// by the sender until acknowledged, so that a session can be resumed after a cut connection. All
// layouts are little endian and append-only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "transport/channel.h"
#include "wire/reader.h"
#include "wire/record.h"

namespace vgpu::transport {

inline constexpr uint32_t kFrameMagic = 0x55504756;  // "VGPU"

enum class FrameKind : uint8_t {
  kHello = 1,            // client, both lanes: HelloBody
  kWelcome = 2,          // server, both lanes: WelcomeBody
  kRefuse = 3,           // server: a text; the peer may not speak here
  kBatch = 4,            // client, command lane: records, each padded to 8 bytes. Numbered.
  kReplies = 5,          // server, command lane: replies, each padded to 8 bytes. Numbered.
  kBulkChunk = 6,        // both, bulk lane: ChunkBody, then bytes to the end. Numbered.
  kAcknowledgement = 7,  // nothing but its header
  kIdle = 8,             // server, command lane: nothing but its header, with kIdleFlag
  kHeartbeat = 9,        // nothing but its header
  kGoodbye = 10,         // both, command lane: GoodbyeBody, then a text
};
constexpr bool is_numbered(FrameKind kind) {
  return kind == FrameKind::kBatch || kind == FrameKind::kReplies || kind == FrameKind::kBulkChunk;
}
std::string_view name(FrameKind kind);

enum FrameFlags : uint16_t {
  kIdleFlag = 1u << 0,  // everything up to batch `ack` has been issued
};

struct FrameHeader {
  uint32_t magic;
  FrameKind kind;
  uint8_t reserved;
  uint16_t flags;
  uint64_t number;  // of this frame; 0 for kinds that are not numbered
  uint64_t ack;     // highest number received on this lane in the other direction
  uint64_t credit;  // bytes of numbered frames consumed on this lane, since the session began
};
static_assert(sizeof(FrameHeader) == 32 && std::is_trivially_copyable_v<FrameHeader>);
static_assert(offsetof(FrameHeader, flags) == 6 && offsetof(FrameHeader, credit) == 24);

struct HelloBody {
  uint16_t major;
  uint16_t minor;
  uint8_t lane;  // the lane that the client believes this to be
  std::array<uint8_t, 3> reserved;
  std::array<std::byte, 16> token;
  uint64_t command_window;  // what the client would like; the server grants it or less
  uint64_t bulk_window;
};
static_assert(sizeof(HelloBody) == 40 && offsetof(HelloBody, command_window) == 24);

struct WelcomeBody {
  uint16_t major;
  uint16_t minor;
  uint32_t reserved;
  uint64_t command_window;  // bytes of batches that may be sent but not consumed
  uint64_t bulk_window;     // the same for host-to-device chunks
  uint64_t reply_window;    // what the server sends unconsumed: replies, device-to-host chunks; the
  uint64_t download_window;  // client reports what it consumed at a quarter of these
};
static_assert(sizeof(WelcomeBody) == 40);

struct ChunkBody {
  uint64_t transfer;
  uint64_t total;   // bytes of the whole transfer
  uint64_t offset;  // of this chunk; the chunks of a transfer come in order
};
static_assert(sizeof(ChunkBody) == 24);

struct GoodbyeBody {
  uint64_t bulk_through;  // number of the last chunk that was sent: the end waits for it
};
static_assert(sizeof(GoodbyeBody) == 8);

// Bytes in front of a chunk's data.
inline constexpr size_t kChunkPrefix = sizeof(FrameHeader) + sizeof(ChunkBody);

// Limits on what a peer may send; beyond them the session ends.
inline constexpr size_t kMaxBatch = 4u << 20;  // a batch closes at 64 KiB plus one record
inline constexpr size_t kMaxReplies = 256u
                                      << 20;      // a load reply describes every kernel of an image
inline constexpr size_t kMaxChunk = 16u << 20;    // the default chunk is 1 MiB
inline constexpr size_t kMaxText = 4096;          // reasons
inline constexpr uint64_t kMaxWindow = 1u << 30;  // granted at most

// A received frame, checked: magic, known kind, and the fixed part that its kind needs.
struct Decoded {
  FrameHeader header{};
  std::span<const std::byte> body;
  HelloBody hello{};
  WelcomeBody welcome{};
  ChunkBody chunk{};  // body then holds the chunk's bytes
  GoodbyeBody goodbye{};
  std::string text;  // kRefuse, kGoodbye
};
// False with `error` when the bytes are no valid frame. Never reads out of bounds.
bool decode(std::span<const std::byte> bytes, Decoded& out, std::string& error);

// The records of a batch, or the replies of a replies frame, one after the other. `next` returns
// false at the end, and when what follows is malformed: then ok() is false.
template <typename Header>
class Sequence {
 public:
  explicit Sequence(std::span<const std::byte> body) : in_(body) {}
  bool next(Header& header, std::span<const std::byte>& payload, uint32_t limit) {
    if (in_.remaining() == 0) return false;
    header = in_.get<Header>();
    if (!in_.ok() || header.size < sizeof(Header) || header.size > limit) {
      in_.fail();
      return false;
    }
    const uint32_t size = header.size - static_cast<uint32_t>(sizeof(Header));
    payload = in_.take(size);
    in_.take(wire::padded(header.size) - header.size);
    return in_.ok();
  }
  [[nodiscard]] bool ok() const { return in_.ok(); }

 private:
  wire::Reader in_;
};
using RecordSequence = Sequence<wire::RecordHeader>;
using ReplySequence = Sequence<wire::ReplyHeader>;

// True when the whole body is a well-formed sequence of records or of replies.
bool check_records(std::span<const std::byte> body);
bool check_replies(std::span<const std::byte> body);

// A frame that starts with `header`, then `parts`.
std::vector<std::byte> encode(const FrameHeader& header,
                              std::initializer_list<std::span<const std::byte>> parts = {});
template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}
inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace vgpu::transport

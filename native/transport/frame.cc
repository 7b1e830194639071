#include "transport/frame.h"

#include <algorithm>
#include <cstring>

namespace vgpu::transport {

static_assert(std::endian::native == std::endian::little,
              "frames are written as they lie in memory");

Frame Frame::own(std::vector<std::byte> bytes) {
  auto owner = std::make_shared<std::vector<std::byte>>(std::move(bytes));
  const std::byte* data = owner->data();
  const size_t size = owner->size();
  return {std::move(owner), data, size};
}

std::string_view name(FrameKind kind) {
  switch (kind) {
    case FrameKind::kHello:
      return "hello";
    case FrameKind::kWelcome:
      return "welcome";
    case FrameKind::kRefuse:
      return "refuse";
    case FrameKind::kBatch:
      return "batch";
    case FrameKind::kReplies:
      return "replies";
    case FrameKind::kBulkChunk:
      return "bulk chunk";
    case FrameKind::kAcknowledgement:
      return "acknowledgement";
    case FrameKind::kIdle:
      return "idle";
    case FrameKind::kHeartbeat:
      return "heartbeat";
    case FrameKind::kGoodbye:
      return "goodbye";
  }
  return "unknown";
}

namespace {

// What a peer says may be printed: keep it short and on one line.
std::string clean_text(std::span<const std::byte> bytes) {
  std::string text(reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), kMaxText));
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return text;
}

bool decode_body(wire::Reader& in, Decoded& out) {
  switch (out.header.kind) {
    case FrameKind::kHello:
      out.hello = in.get<HelloBody>();
      return true;
    case FrameKind::kWelcome:
      out.welcome = in.get<WelcomeBody>();
      return true;
    case FrameKind::kRefuse:
      out.text = clean_text(in.take(in.remaining()));
      return true;
    case FrameKind::kGoodbye:
      out.goodbye = in.get<GoodbyeBody>();
      out.text = clean_text(in.take(in.remaining()));
      return true;
    case FrameKind::kBatch:
      return in.remaining() <= kMaxBatch;
    case FrameKind::kReplies:
      return in.remaining() <= kMaxReplies;
    case FrameKind::kBulkChunk: {
      out.chunk = in.get<ChunkBody>();
      const size_t size = in.remaining();
      return size <= kMaxChunk && out.chunk.offset <= out.chunk.total &&
             size <= out.chunk.total - out.chunk.offset;
    }
    case FrameKind::kAcknowledgement:
    case FrameKind::kIdle:
    case FrameKind::kHeartbeat:
      return true;
  }
  return false;
}

template <typename Header>
bool check_sequence(std::span<const std::byte> body, uint32_t limit) {
  Sequence<Header> sequence(body);
  Header header{};
  std::span<const std::byte> payload;
  while (sequence.next(header, payload, limit)) {
  }
  return sequence.ok();
}

}  // namespace

bool decode(std::span<const std::byte> bytes, Decoded& out, std::string& error) {
  wire::Reader in(bytes);
  out.header = in.get<FrameHeader>();
  if (!in.ok() || out.header.magic != kFrameMagic) {
    error = "a frame of " + std::to_string(bytes.size()) + " bytes that is no vgpu frame";
    return false;
  }
  if (!decode_body(in, out) || !in.ok() ||
      is_numbered(out.header.kind) != (out.header.number != 0)) {
    error = "a malformed frame (kind " + std::to_string(static_cast<int>(out.header.kind)) + " " +
            std::string(name(out.header.kind)) + ", " + std::to_string(bytes.size()) + " bytes)";
    return false;
  }
  out.body = in.take(in.remaining());
  return true;
}

bool check_records(std::span<const std::byte> body) {
  return check_sequence<wire::RecordHeader>(body, wire::kMaxRecord);
}
bool check_replies(std::span<const std::byte> body) {
  return check_sequence<wire::ReplyHeader>(body, kMaxReplies);
}

std::vector<std::byte> encode(const FrameHeader& header,
                              std::initializer_list<std::span<const std::byte>> parts) {
  size_t size = sizeof header;
  for (auto part : parts) size += part.size();
  std::vector<std::byte> bytes(size);
  std::memcpy(bytes.data(), &header, sizeof header);
  size_t at = sizeof header;
  for (auto part : parts) {
    if (!part.empty()) std::memcpy(bytes.data() + at, part.data(), part.size());
    at += part.size();
  }
  return bytes;
}

}  // namespace vgpu::transport

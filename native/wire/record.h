// The record: the unit of the command stream. One record is one driver call.
//
// Layouts are little endian, append-only, and independent of the build's cuda.h. A batch (see
// transport/frame.h) holds records back to back; each starts at a multiple of 8 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace vgpu::wire {

inline constexpr uint16_t kMajor = 1;
inline constexpr uint16_t kMinor = 1;

// A record longer than this is refused: bulk data travels on its own lane.
inline constexpr uint32_t kMaxRecord = 1u << 20;
// Copies up to this size ride inside their record; larger ones use the bulk lane.
inline constexpr uint32_t kMaxInline = 64u << 10;

enum RecordFlags : uint16_t {
  kReplyWanted = 1u << 0,  // the client thread waits for a reply with this record's `call` number
  kHasBulk = 1u << 1,      // a uint64 bulk transfer number is the first field of the payload
};

struct RecordHeader {
  uint32_t size;     // header + payload, before padding to 8
  uint16_t opcode;   // generated/opcode.h
  uint16_t flags;    // RecordFlags
  uint32_t thread;   // client thread, dense, from 1
  uint32_t call;     // number of the call, for its reply; 0 when no reply is wanted
  uint64_t context;  // ContextId current in that thread, 0 if none
  uint64_t stream;   // StreamId that orders the call; 0 is the legacy default stream
};
static_assert(sizeof(RecordHeader) == 32 && std::is_trivially_copyable_v<RecordHeader>);
static_assert(offsetof(RecordHeader, context) == 16 && offsetof(RecordHeader, stream) == 24);

// Answers one record that asked for a reply.
struct ReplyHeader {
  uint32_t size;          // header + payload
  uint32_t call;          // RecordHeader::call
  int32_t result;         // CUresult
  uint32_t late_error;    // CUresult of an earlier asynchronous call that failed, 0 if none
  uint64_t late_call;     // opcode of that earlier call
  uint64_t bulk_through;  // how many device-to-host transfers the executor had sent in full before
                          // this reply: the caller sees the reply once as many have landed
};
static_assert(sizeof(ReplyHeader) == 32 && std::is_trivially_copyable_v<ReplyHeader>);
static_assert(offsetof(ReplyHeader, bulk_through) == 24);

// Since minor 1: a reply to call 0, which nobody makes, is text that the driver printed for device
// code: `result` is the standard stream, 1 or 2, and the payload at most kMaxOutput bytes.
inline constexpr uint32_t kOutputCall = 0;
inline constexpr uint16_t kOutputSince = 1;
inline constexpr uint32_t kMaxOutput = 32u << 10;

constexpr uint32_t padded(uint32_t size) { return (size + 7u) & ~7u; }

}  // namespace vgpu::wire

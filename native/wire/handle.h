// Client-chosen identities: 64-bit, typed, never reused, never 0, 1 or 2.
#pragma once

#include <cstdint>

namespace vgpu::wire {

enum class HandleKind : uint8_t {
  kContext = 1,
  kStream,
  kEvent,
  kModule,
  kLibrary,
  kFunction,
  kKernel,
  kGraph,
  kGraphNode,
  kGraphExec,
  kMemPool,
  kMemAllocation,  // cuMemCreate
  kArray,
  kMipmappedArray,
  kLink,
  kGreenContext,
  kUserObject,
};

// kind in the top byte (so that a handle is never a canonical pointer), counter below.
constexpr uint64_t make_handle(HandleKind kind, uint64_t counter) {
  return static_cast<uint64_t>(kind) << 56 | counter;
}
constexpr HandleKind handle_kind(uint64_t id) { return static_cast<HandleKind>(id >> 56); }
constexpr uint64_t handle_counter(uint64_t id) { return id & ((uint64_t{1} << 56) - 1); }

// The primary context of worker device `ordinal` has a fixed id: it exists before it is retained.
constexpr uint64_t primary_context(int ordinal) {
  return make_handle(HandleKind::kContext, 0x100u + static_cast<uint64_t>(ordinal));
}
// Created contexts count from here.
inline constexpr uint64_t kFirstCreatedContext = 0x1000;

}  // namespace vgpu::wire

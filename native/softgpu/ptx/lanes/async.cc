// cp.async and mbarrier (PTX ISA sections 9.7.9.25, 9.7.13.15). Copies are complete when they are
// issued, which every wait allows.
#include "softgpu/ptx/lanes/access.h"
#include "softgpu/ptx/mbarrier.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

// [a + imm] in shared memory from [b + e] in global memory; c: a row with the source's size, or 0;
// list[0]: bytes, list[1]: predicate that ignores the source, or 0; list[2]: source base has 32
// bits.
const Instr* copy(Warp& w, const Instr* in) {
  const uint32_t bytes = in->list[0];
  Access to, from;
  if (!resolve<Space::kShared>(w, in, bytes, true, to)) return nullptr;
  uint32_t reading = w.mask;
  const uint32_t* sizes = in->c != 0 ? w.row<uint32_t>(in->c) : nullptr;
  if (in->list[1] != 0) reading &= ~w.predicate(in->list[1]);
  if (sizes != nullptr) {
    for (int i = 0; i < kLanes; ++i) {
      if (sizes[i] == 0) reading &= ~(1u << i);
    }
  }
  if (reading != 0) {
    const uint32_t saved = w.mask;
    w.set_mask(reading);
    const bool ok = resolve_at<Space::kGlobal>(w, in, in->b, static_cast<int32_t>(in->e),
                                               in->list[2] != 0, bytes, false, from);
    w.set_mask(saved);
    if (!ok) return nullptr;
  }
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int i = __builtin_ctz(lanes);
    std::byte value[16] = {};
    const uint32_t size = sizes != nullptr && sizes[i] < bytes ? sizes[i] : bytes;
    if ((reading >> i & 1) != 0)
      __builtin_memcpy(value, reinterpret_cast<const void*>(from.at[i]), size);
    __builtin_memcpy(reinterpret_cast<void*>(to.at[i]), value, bytes);
  }
  return in + 1;
}

// imm: operation; a + e: address; b: count, token, parity or bytes; d: result.
const Instr* mbarrier(Warp& w, const Instr* in) {
  Access access;
  const auto kind = static_cast<MBarrier>(in->imm);
  const bool shared = in->list[0] != 0;
  const auto offset = static_cast<int64_t>(static_cast<int32_t>(in->e));
  const bool narrow = (in->mods & kAddress32) != 0;
  if (!(shared ? resolve_at<Space::kShared>(w, in, in->a, offset, narrow, 8, true, access)
               : resolve_at<Space::kGeneric>(w, in, in->a, offset, narrow, 8, true, access))) {
    return nullptr;
  }
  uint32_t truth = 0;
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int i = __builtin_ctz(lanes);
    auto& object = *reinterpret_cast<Barrier64*>(access.at[i]);
    const uint32_t count = in->b == 0 ? 1 : w.row<uint32_t>(in->b)[i];
    const uint32_t phase = object.phase;
    // What an arrival returns: the phase, and what was pending before it.
    const uint64_t token = phase | uint64_t{object.pending} << 1;
    switch (kind) {
      case MBarrier::kInit:
        object.pending = count;
        object.expected = count;
        object.phase = 0;
        object.transactions = 0;
        break;
      case MBarrier::kInvalidate:
        break;
      case MBarrier::kArrive:
      case MBarrier::kArriveDrop:
        object.pending -= count;
        if (kind == MBarrier::kArriveDrop) object.expected -= count;
        settle(object);
        break;
      case MBarrier::kArriveExpect:
      case MBarrier::kArriveDropExpect:
        object.transactions += static_cast<int32_t>(count);
        object.pending -= 1;
        if (kind == MBarrier::kArriveDropExpect) object.expected -= 1;
        settle(object);
        break;
      case MBarrier::kExpect:
        object.transactions += static_cast<int32_t>(count);
        break;
      case MBarrier::kComplete:
        object.transactions -= static_cast<int32_t>(count);
        settle(object);
        break;
      case MBarrier::kWaitToken:
        truth |= static_cast<uint32_t>((w.row<uint64_t>(in->b)[i] & 1) != object.phase) << i;
        break;
      case MBarrier::kWaitParity:
        truth |= static_cast<uint32_t>((count & 1) != object.phase) << i;
        break;
    }
    if ((in->mods & kNoResult) == 0) w.row<uint64_t>(in->d)[i] = token;
  }
  if (kind == MBarrier::kWaitToken || kind == MBarrier::kWaitParity) {
    w.set_predicate(in->d, truth);
    w.fuel -= 64;
    ++w.sync_accesses;
  }
  return in + 1;
}

}  // namespace

Handler async(AsyncKind kind) {
  return kind == AsyncKind::kCopy ? Handler{copy} : Handler{mbarrier};
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

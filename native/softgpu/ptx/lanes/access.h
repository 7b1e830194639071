// The quick path of every memory access: addresses of 32 lanes checked against one cached range.
#pragma once

#include "softgpu/ptx/access.h"
#include "softgpu/ptx/block.h"
#include "softgpu/ptx/lanes/lanes.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {

// What an access through a synchronizing instruction costs of a warp's time slice, so that a warp
// that polls gives way to the one that it waits for.
inline constexpr int32_t kPollCost = 16;

VGPU_INLINE void note_access(Warp& w, const Instr* in) {
  if ((in->mods & (kAccessSync | kAccessFence)) == 0) return;
  w.fuel -= kPollCost;
  ++w.sync_accesses;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

// True when every address lies in [begin, begin + last - bytes + 1] and is aligned.
VGPU_INLINE bool inside(const uint64_t* at, uint64_t begin, uint64_t last, uint32_t bytes) {
  const uint64_t limit = last - (bytes - 1);
  uint64_t bad = 0, low = 0;
  VGPU_EACH_LANE {
    const uint64_t offset = at[i] - begin;
    bad |= offset | (limit - offset);
    low |= at[i];
  }
  return (bad >> 63) == 0 && (low & (bytes - 1)) == 0;
}

// The addresses are those of row `base`, which holds 32 or 64 bits, plus `offset`.
template <Space space>
VGPU_INLINE bool resolve_at(Warp& w, const Instr* in, uint32_t base_row, int64_t offset,
                            bool narrow, uint32_t bytes, bool write, Access& out) {
  const auto imm = static_cast<uint64_t>(offset);
  if (narrow) {
    // 32-bit addresses wrap: compilers put large negative numbers into registers.
    const uint32_t* a = w.row<uint32_t>(base_row);
    VGPU_EACH_LANE out.at[i] = a[i] + static_cast<uint32_t>(imm);
  } else {
    const uint64_t* a = w.row<uint64_t>(base_row);
    VGPU_EACH_LANE out.at[i] = a[i] + imm;
  }
  if (w.mask != ~0u) {
    const uint64_t first = out.at[__builtin_ctz(w.mask)];
    VGPU_EACH_LANE out.at[i] = w.lanes[i] != 0 ? out.at[i] : first;
  }
  if constexpr (space == Space::kShared) {
    const Run& run = *w.run;
    if (run.quick_shared_bytes < bytes || !inside(out.at, 0, run.quick_shared_bytes - 1, bytes)) {
      if (!resolve_slowly(w, in, space, out.at, bytes, write)) return false;
    } else {
      const auto base = reinterpret_cast<uint64_t>(w.block->shared);
      VGPU_EACH_LANE out.at[i] += base;
    }
  } else if constexpr (space == Space::kLocal) {
    if (w.local_stride < bytes || !inside(out.at, 0, w.local_stride - 1, bytes)) {
      if (!resolve_slowly(w, in, space, out.at, bytes, write)) return false;
    } else {
      const auto base = reinterpret_cast<uint64_t>(w.local);
      const uint64_t stride = w.local_stride;
      VGPU_EACH_LANE out.at[i] += base + stride * static_cast<uint64_t>(i);
    }
  } else {
    const CachedRange& range =
        w.thread->ranges[reinterpret_cast<uintptr_t>(in) / sizeof(Instr) % ThreadState::kRanges];
    if (range.last < bytes - 1 || (write && !range.writable) ||
        !inside(out.at, range.begin, range.last, bytes)) {
      if (!resolve_slowly(w, in, space, out.at, bytes, write)) return false;
    }
  }
  out.contiguous = false;
  if (w.mask == ~0u) {
    uint64_t off = 0;
    const uint64_t base = out.at[0];
    VGPU_EACH_LANE off |= out.at[i] - base - static_cast<uint64_t>(i) * bytes;
    out.contiguous = off == 0;
  }
  return true;
}

template <Space space>
VGPU_INLINE bool resolve(Warp& w, const Instr* in, uint32_t bytes, bool write, Access& out) {
  return resolve_at<space>(w, in, in->a, in->imm, (in->mods & kAddress32) != 0, bytes, write, out);
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

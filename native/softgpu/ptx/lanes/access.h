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
  if ((in->mods & kAccessSync) == 0) return;
  w.fuel -= kPollCost;
  ++w.sync_accesses;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

// An aligned access of 16 bytes is done at once, as on a GPU: CUB's look-back publishes the state
// and the value of a tile in one vector. x86 processors with AVX do vectors of 16 bytes so (Intel
// SDM volume 3, section 9.1.1), and those before in practice.
using Whole [[gnu::vector_size(16), gnu::may_alias]] = uint64_t;

VGPU_INLINE Whole read_whole(uint64_t address) {
  return *reinterpret_cast<const volatile Whole*>(address);
}
VGPU_INLINE void write_whole(uint64_t address, Whole value) {
  *reinterpret_cast<volatile Whole*>(address) = value;
}

// Which addresses an access may use, and what turns them into host pointers.
struct Limits {
  uint64_t begin = 0, last = 0;  // size - 1 past begin
  uint64_t to_host = 0;          // added to every address
  uint64_t lane_stride = 0;      // times the lane: local memory
  bool usable = false;           // false: only the slow path knows
};

template <Space space>
VGPU_INLINE Limits limits_of(const Warp& w, const Instr* in, uint64_t first, uint32_t bytes,
                             bool write) {
  const uint64_t window = space == Space::kShared    ? kSharedWindow
                          : space == Space::kLocal   ? kLocalWindow
                          : space == Space::kGeneric ? first & kWindowMask
                                                     : 0;
  // Without cvta, addresses of a named space start at zero.
  const uint64_t begin = space == Space::kGeneric ? window : 0;
  if (window == kSharedWindow) {
    const uint64_t size = w.run->quick_shared_bytes;  // none when every access is watched
    return {begin, size - 1, reinterpret_cast<uint64_t>(w.block->shared) - begin, 0, size >= bytes};
  }
  if (window == kLocalWindow) {
    const uint64_t size = w.local_stride;
    return {begin, size - 1, reinterpret_cast<uint64_t>(w.local) - begin, size, size >= bytes};
  }
  const CachedRange& range =
      w.thread->ranges[reinterpret_cast<uintptr_t>(in) / sizeof(Instr) % ThreadState::kRanges];
  // By its last byte alone an empty range looks like the byte at address 0.
  const bool holds = bytes == 1 ? range.begin != 0 : range.last >= bytes - 1;
  return {range.begin, range.last, 0, 0, holds && (!write || range.writable)};
}

// Whether at[i] is first + i * step for all lanes.
VGPU_INLINE bool arithmetic(const uint64_t* at, uint64_t first, uint64_t step) {
#if defined(__AVX512F__)
  // What the loop below means, without joining the lanes of vectors at its end.
  const auto by = static_cast<int64_t>(step);
  const __m512i steps = _mm512_set_epi64(7 * by, 6 * by, 5 * by, 4 * by, 3 * by, 2 * by, by, 0);
  uint32_t wrong = 0;
  for (int i = 0; i < kLanes; i += 8) {
    const auto start = static_cast<int64_t>(first + static_cast<uint64_t>(i) * step);
    const __m512i wanted = _mm512_add_epi64(steps, _mm512_set1_epi64(start));
    wrong |= _mm512_cmpneq_epi64_mask(_mm512_load_si512(at + i), wanted);
  }
  return wrong == 0;
#else
  uint64_t off = 0;
  VGPU_EACH_LANE off |= at[i] - first - static_cast<uint64_t>(i) * step;
  return off == 0;
#endif
}

// Whether all addresses are the same, or each lane's follows the one before.
VGPU_INLINE Shape shape_of(const uint64_t* at, uint32_t bytes, bool everyone) {
  const uint64_t first = at[0], distance = at[kLanes - 1] - first;
  if (distance == 0) return arithmetic(at, first, 0) ? Shape::kUniform : Shape::kScattered;
  if (!everyone || distance != uint64_t{kLanes - 1} * bytes) return Shape::kScattered;
  return arithmetic(at, first, bytes) ? Shape::kContiguous : Shape::kScattered;
}

// True when every address lies in [begin, begin + last - bytes + 1] and is aligned.
VGPU_INLINE bool inside(const uint64_t* at, uint64_t begin, uint64_t last, uint32_t bytes) {
  const uint64_t limit = last - (bytes - 1);
#if defined(__AVX512F__)
  // What the loop below means, without joining the lanes of vectors at its end.
  const __m512i start = _mm512_set1_epi64(static_cast<int64_t>(begin));
  const __m512i most = _mm512_set1_epi64(static_cast<int64_t>(limit));
  const __m512i odd = _mm512_set1_epi64(bytes - 1);
  uint32_t wrong = 0;
  for (int i = 0; i < kLanes; i += 8) {
    const __m512i one = _mm512_load_si512(at + i);
    wrong |= _mm512_cmpgt_epu64_mask(_mm512_sub_epi64(one, start), most);
    wrong |= _mm512_test_epi64_mask(one, odd);
  }
  return wrong == 0;
#else
  uint64_t bad = 0, low = 0;
  VGPU_EACH_LANE {
    const uint64_t offset = at[i] - begin;
    bad |= offset | (limit - offset);
    low |= at[i];
  }
  return (bad >> 63) == 0 && (low & (bytes - 1)) == 0;
#endif
}

// The addresses are those of row `base`, which holds 32 or 64 bits, plus `offset`. With `shapes`
// only the first pointer is made when that says it all.
template <Space space>
VGPU_INLINE bool resolve_at(Warp& w, const Instr* in, uint32_t base_row, int64_t offset,
                            bool narrow, uint32_t bytes, bool write, Access& out,
                            bool shapes = false) {
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
  const Limits limits = limits_of<space>(w, in, out.at[0], bytes, write);
  out.shape = Shape::kScattered;
  if (shapes && limits.usable && limits.lane_stride == 0) {
    const Shape shape = shape_of(out.at, bytes, w.mask == ~0u);
    if (shape != Shape::kScattered) {
      const uint64_t past = (shape == Shape::kUniform ? 1 : kLanes) * uint64_t{bytes} - 1;
      const uint64_t from = out.at[0] - limits.begin;
      if (from <= limits.last && limits.last - from >= past && (out.at[0] & (bytes - 1)) == 0) {
        out.at[0] += limits.to_host;
        out.shape = shape;
        return true;
      }
    }
  }
  if (!limits.usable || !inside(out.at, limits.begin, limits.last, bytes)) {
    return resolve_slowly(w, in, space, out.at, bytes, write);
  }
  if (limits.lane_stride != 0) {
    VGPU_EACH_LANE out.at[i] += limits.to_host + limits.lane_stride * static_cast<uint64_t>(i);
  } else if (limits.to_host != 0) {
    VGPU_EACH_LANE out.at[i] += limits.to_host;
  }
  return true;
}

template <Space space>
VGPU_INLINE bool resolve(Warp& w, const Instr* in, uint32_t bytes, bool write, Access& out) {
  return resolve_at<space>(w, in, in->a, in->imm, (in->mods & kAddress32) != 0, bytes, write, out);
}

#if defined(__AVX2__)
// Values of four or two lanes. Loads and insertions: the processors' gather instructions take two
// to three times as long (AMD family 1Ah: 13.7 ns for 32 lanes, against 5.0 ns).
VGPU_INLINE __m128i collect4(const uint64_t* at, uint64_t offset) {
  const auto one = [&](int i) {
    int value;
    __builtin_memcpy(&value, reinterpret_cast<const void*>(at[i] + offset), sizeof(value));
    return _mm_cvtsi32_si128(value);
  };
  return _mm_unpacklo_epi64(_mm_unpacklo_epi32(one(0), one(1)), _mm_unpacklo_epi32(one(2), one(3)));
}
VGPU_INLINE __m128i collect2(const uint64_t* at, uint64_t offset) {
  const auto one = [&](int i) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at[i] + offset));
  };
  return _mm_unpacklo_epi64(one(0), one(1));
}
VGPU_INLINE __m256i join(__m128i low, __m128i high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}
// Stores both in the width in which the row is read next.
VGPU_INLINE void store_joined(void* to, __m256i low, __m256i high) {
#if defined(__AVX512F__)
  __m512i both = _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(low), high, 1);
  asm("" : "+v"(both));  // or GCC stores the halves apart
  _mm512_store_si512(to, both);
#else
  auto* halves = static_cast<__m256i*>(to);
  _mm256_store_si256(halves, low);
  _mm256_store_si256(halves + 1, high);
#endif
}
#endif

// out[i] = what is at at[i] + offset. Vectors, so that what reads the row next does not wait for 32
// narrow stores to leave the store buffer.
VGPU_INLINE void gather(const uint64_t* at, uint64_t offset, uint32_t* out) {
#if defined(__AVX2__)
  const auto eight = [&](int i) {
    return join(collect4(at + i, offset), collect4(at + i + 4, offset));
  };
  for (int i = 0; i < kLanes; i += 16) store_joined(out + i, eight(i), eight(i + 8));
#else
  for (int i = 0; i < kLanes; ++i) {
    __builtin_memcpy(out + i, reinterpret_cast<const void*>(at[i] + offset), sizeof(*out));
  }
#endif
}
VGPU_INLINE void gather(const uint64_t* at, uint64_t offset, uint64_t* out) {
#if defined(__AVX2__)
  const auto four = [&](int i) {
    return join(collect2(at + i, offset), collect2(at + i + 2, offset));
  };
  for (int i = 0; i < kLanes; i += 8) store_joined(out + i, four(i), four(i + 4));
#else
  for (int i = 0; i < kLanes; ++i) {
    __builtin_memcpy(out + i, reinterpret_cast<const void*>(at[i] + offset), sizeof(*out));
  }
#endif
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

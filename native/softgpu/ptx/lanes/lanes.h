// Loops over the lanes of a warp. Included by the sources that are compiled per instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "softgpu/ptx/lanes/isa.h"

#ifndef VGPU_LANES
#error "define VGPU_LANES: the namespace of this instruction set"
#endif

#define VGPU_EACH_LANE _Pragma("GCC ivdep") for (int i = 0; i < kLanes; ++i)

namespace vgpu::softgpu::ptx::VGPU_LANES {

#define VGPU_INLINE [[gnu::always_inline]] static inline

// The element of the row that holds a value: a byte lives in a 16-bit register.
template <class T, size_t = sizeof(T)>
struct RowOf {
  using type = T;
};
template <class T>
struct RowOf<T, 1> {
  using type = uint16_t;
};
template <class T>
using Row = typename RowOf<T>::type;

// F::run(value..., instr) on every lane; results of lanes that do not run are blended away, never
// branched around, so that the loops vectorise.
template <class F, class D, class A>
const Instr* unary(Warp& w, const Instr* in) {
  Row<D>* d = w.row<Row<D>>(in->d);
  const Row<A>* a = w.row<Row<A>>(in->a);
  if (w.full) {
    VGPU_EACH_LANE d[i] = static_cast<D>(F::run(static_cast<A>(a[i]), in));
  } else {
    VGPU_EACH_LANE {
      const Row<D> r = static_cast<D>(F::run(static_cast<A>(a[i]), in));
      d[i] = w.lanes[i] != 0 ? r : d[i];
    }
  }
  return in + 1;
}

template <class F, class D, class A, class B>
const Instr* binary(Warp& w, const Instr* in) {
  Row<D>* d = w.row<Row<D>>(in->d);
  const Row<A>* a = w.row<Row<A>>(in->a);
  const Row<B>* b = w.row<Row<B>>(in->b);
  if (w.full) {
    VGPU_EACH_LANE d[i] = static_cast<D>(F::run(static_cast<A>(a[i]), static_cast<B>(b[i]), in));
  } else {
    VGPU_EACH_LANE {
      const Row<D> r = static_cast<D>(F::run(static_cast<A>(a[i]), static_cast<B>(b[i]), in));
      d[i] = w.lanes[i] != 0 ? r : d[i];
    }
  }
  return in + 1;
}

template <class F, class D, class A, class B, class C>
const Instr* ternary(Warp& w, const Instr* in) {
  Row<D>* d = w.row<Row<D>>(in->d);
  const Row<A>* a = w.row<Row<A>>(in->a);
  const Row<B>* b = w.row<Row<B>>(in->b);
  const Row<C>* c = w.row<Row<C>>(in->c);
  if (w.full) {
    VGPU_EACH_LANE d[i] = static_cast<D>(
        F::run(static_cast<A>(a[i]), static_cast<B>(b[i]), static_cast<C>(c[i]), in));
  } else {
    VGPU_EACH_LANE {
      const Row<D> r = static_cast<D>(
          F::run(static_cast<A>(a[i]), static_cast<B>(b[i]), static_cast<C>(c[i]), in));
      d[i] = w.lanes[i] != 0 ? r : d[i];
    }
  }
  return in + 1;
}

// d = value(lane) where lanes run.
template <class R, class F>
VGPU_INLINE void put_row(const Warp& w, uint32_t operand, F&& value) {
  R* d = w.row<R>(operand);
  if (w.full) {
    VGPU_EACH_LANE d[i] = value(i);
  } else {
    VGPU_EACH_LANE {
      const R r = value(i);
      d[i] = w.lanes[i] != 0 ? r : d[i];
    }
  }
}

// Bit i of the result: element i is not zero.
VGPU_INLINE uint32_t pack_mask(const uint32_t* flags) {
#if defined(__AVX512DQ__)
  const uint32_t low = _mm512_movepi32_mask(_mm512_load_si512(flags));
  return low | static_cast<uint32_t>(_mm512_movepi32_mask(_mm512_load_si512(flags + 16))) << 16;
#elif defined(__AVX2__)
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) {
    const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(flags) + i);
    bits |= static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(v))) << (8 * i);
  }
  return bits;
#elif defined(__x86_64__)
  uint32_t bits = 0;
  for (int i = 0; i < 8; ++i) {
    const __m128i v = _mm_load_si128(reinterpret_cast<const __m128i*>(flags) + i);
    bits |= static_cast<uint32_t>(_mm_movemask_ps(_mm_castsi128_ps(v))) << (4 * i);
  }
  return bits;
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= (flags[i] >> 31) << i;
  return bits;
#endif
}

// ~0 or 0 per lane from a mask.
VGPU_INLINE void widen_mask(uint32_t mask, uint32_t* flags) {
#if defined(__AVX512DQ__)
  _mm512_store_si512(flags, _mm512_movm_epi32(static_cast<__mmask16>(mask)));
  _mm512_store_si512(flags + 16, _mm512_movm_epi32(static_cast<__mmask16>(mask >> 16)));
#else
  VGPU_EACH_LANE flags[i] = 0u - (mask >> i & 1u);
#endif
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

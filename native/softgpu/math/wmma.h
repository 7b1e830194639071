// wmma.load, wmma.store and wmma.mma (PTX ISA 9.7.14.4).
//
// PTX does not say which lane holds which element of a wmma fragment, so the layout is ours:
// element numbers run along the rows of A, C and D and along the columns of B; a lane holds a run
// of them, repeated where the operand list has more places than the matrix has elements.
#pragma once

#include "softgpu/math/matrix.h"

namespace vgpu::softgpu::math {
inline namespace VGPU_MATH_VARIANT {

enum class Role : uint8_t { kA, kB, kC };

struct Fragment {
  uint32_t rows, columns;
  uint32_t bits;       // of an element
  uint32_t registers;  // of 32 bits (64 for .f64)
  bool by_column;      // element numbers run along columns

  [[nodiscard]] constexpr uint32_t per_register() const { return bits == 64 ? 1 : 32 / bits; }
  // Place of slot s (register s / per_register) of a lane.
  [[nodiscard]] constexpr Place place(uint32_t lane, uint32_t slot) const {
    const uint32_t own = rows * columns / kWarp, number = lane * own + slot % own;
    return by_column ? Place{number % rows, number / rows}
                     : Place{number / columns, number % columns};
  }
  // In elements, from the matrix's address; `stride` is the instruction's, or its default.
  [[nodiscard]] constexpr uint64_t offset(bool column_major, uint64_t stride, Place at) const {
    return column_major ? at.column * stride + at.row : at.row * stride + at.column;
  }
  [[nodiscard]] constexpr uint64_t default_stride(bool column_major) const {
    return column_major ? rows : columns;
  }
};

// Half precision operands A and B always have eight registers; all others hold each element once.
constexpr Fragment wmma_fragment(Role role, Shape shape, Element element) {
  const uint32_t rows = role == Role::kB ? shape.k : shape.m;
  const uint32_t columns = role == Role::kA ? shape.k : shape.n;
  const uint32_t bits = element_bits(element);
  const uint32_t exact = rows * columns / kWarp * bits / (bits == 64 ? 64 : 32);
  const bool wide = element == Element::kF16 && role != Role::kC;
  return {rows, columns, bits, wide ? 8 : exact, role == Role::kB};
}

// `read(lane, offset, bytes)` gives the little-endian value at a byte offset from the lane's matrix
// address. Elements below a byte come by the byte: their runs start and end at one.
template <typename Word, typename Read>
inline void wmma_load(const Fragment& fragment, bool column_major, uint64_t stride,
                      Word* const* rows, Read read) {
  const uint32_t per = fragment.per_register();
  const uint32_t step = fragment.bits < 8 ? 8 / fragment.bits : 1;
  const uint32_t bytes = fragment.bits < 8 ? 1 : fragment.bits / 8;
  for (uint32_t r = 0; r < fragment.registers; ++r) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      Word word = 0;
      for (uint32_t j = 0; j < per; j += step) {
        const Place at = fragment.place(lane, r * per + j);
        const uint64_t offset = fragment.offset(column_major, stride, at) * fragment.bits / 8;
        word |= static_cast<Word>(read(lane, offset, bytes)) << (j * fragment.bits);
      }
      rows[r][lane] = word;
    }
  }
}
// `write(lane, offset, bytes, value)`; only D is stored, whose elements are 16, 32 or 64 bits.
template <typename Word, typename Write>
inline void wmma_store(const Fragment& fragment, bool column_major, uint64_t stride,
                       const Word* const* rows, Write write) {
  const uint32_t per = fragment.per_register(), bytes = fragment.bits / 8;
  for (uint32_t r = 0; r < fragment.registers; ++r) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      for (uint32_t j = 0; j < per; ++j) {
        const Place at = fragment.place(lane, r * per + j);
        const uint64_t offset = fragment.offset(column_major, stride, at) * bytes;
        const Word value = rows[r][lane] >> (per == 1 ? 0 : j * fragment.bits);
        write(lane, offset, bytes, value);
      }
    }
  }
}

// A fragment as the linear array of its elements.
template <Element kType, typename T>
inline void gather_wmma(const Fragment& fragment, const ConstRow* rows, T* linear) {
  const uint32_t words = fragment.rows * fragment.columns / kWarp * element_bits(kType) / 32;
  alignas(64) uint32_t packed[kWarp * 16];
  for (uint32_t r = 0; r < words; ++r) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) packed[lane * words + r] = rows[r][lane];
  }
  unpack<kType>(packed, words * kWarp, linear);
}
template <Element kType, typename T>
inline void gather_wmma_ab(Shape shape, const ConstRow* a, const ConstRow* b, Dense<T>& dense) {
  gather_wmma<kType>(wmma_fragment(Role::kA, shape, kType), a, dense.a);
  gather_wmma<kType>(wmma_fragment(Role::kB, shape, kType), b, dense.turned);
  turn(shape, dense);
}

// The accumulators, .f32 or packed .f16.
inline void gather_wmma_c(Shape shape, bool half, const ConstRow* rows, float* dense) {
  if (half) {
    gather_wmma<Element::kF16>(wmma_fragment(Role::kC, shape, Element::kF16), rows, dense);
  } else {
    gather_wmma<Element::kF32>(wmma_fragment(Role::kC, shape, Element::kF32), rows, dense);
  }
}
inline void scatter_wmma_d(Shape shape, bool half, bool saturate_result, const Row* rows,
                           const float* dense) {
  const Fragment fragment = wmma_fragment(Role::kC, shape, half ? Element::kF16 : Element::kF32);
  // .satfinite: infinities and NaN become the largest finite value of their sign, and +0.
  const auto finish = [&](float value) {
    if (!saturate_result) return canonical(value);
    const float largest = half ? 65504.0f : as_f32(0x7F7FFFFF);
    if (value != value) return 0.0f;
    return value > largest ? largest : value < -largest ? -largest : value;
  };
  const auto element = [&](uint32_t lane, uint32_t slot) {
    const Place at = fragment.place(lane, slot);
    return finish(dense[at.row * fragment.columns + at.column]);
  };
  for (uint32_t r = 0; r < fragment.registers; ++r) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      rows[r][lane] = half ? pack_halves(element(lane, 2 * r), element(lane, 2 * r + 1))
                           : bits_of(element(lane, r));
    }
  }
}

// wmma.mma with .f16, .bf16 or .tf32 inputs: m16n16k16, m32n8k16, m8n32k16, m16n16k8. The layouts
// of A and B in memory do not matter here: wmma_load has placed the elements.
template <Element kType>
inline void wmma_float(Shape shape, bool half_c, bool half_d, bool saturate_result, const Row* d,
                       const ConstRow* a, const ConstRow* b, const ConstRow* c) {
  Dense<float> dense;
  gather_wmma_ab<kType>(shape, a, b, dense);
  gather_wmma_c(shape, half_c, c, dense.c);
  multiply(dense.a, dense.b, dense.c, shape);
  scatter_wmma_d(shape, half_d, saturate_result, d, dense.c);
}

// wmma.mma with integers: m16n16k16, m32n8k16, m8n32k16 of 8 bits, m8n8k32 of 4 bits.
template <Element kType>
inline void wmma_integer(Shape shape, bool saturate_result, const Row* d, const ConstRow* a,
                         const ConstRow* b, const ConstRow* c) {
  Dense<int32_t> dense;
  gather_wmma_ab<kType>(shape, a, b, dense);
  for (uint32_t i = 0; i < shape.m * shape.n; ++i) dense.c[i] = 0;
  multiply(dense.a, dense.b, dense.c, shape);
  const Fragment fragment = wmma_fragment(Role::kC, shape, Element::kS32);
  for (uint32_t r = 0; r < fragment.registers; ++r) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const Place at = fragment.place(lane, r);
      const int64_t sum =
          int64_t{dense.c[at.row * shape.n + at.column]} + static_cast<int32_t>(c[r][lane]);
      d[r][lane] = finish_integer(sum, saturate_result);
    }
  }
}

// wmma.mma with .b1, m8n8k128: a lane holds a word of A and one of B.
inline void wmma_bits(bool conjunction, const Row* d, const ConstRow* a, const ConstRow* b,
                      const ConstRow* c) {
  constexpr Shape kShape{8, 8, 128};
  constexpr uint32_t kWords = kShape.k / 32;
  const Fragment in_c = wmma_fragment(Role::kC, kShape, Element::kS32);
  uint32_t sums[2][kWarp];
  for (uint32_t i = 0; i < 2; ++i) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const Place at = in_c.place(lane, i);
      uint32_t ones = 0;
      for (uint32_t word = 0; word < kWords; ++word) {
        const uint32_t x = a[0][at.row * kWords + word], y = b[0][at.column * kWords + word];
        ones += popc(conjunction ? x & y : x ^ y);
      }
      sums[i][lane] = c[i][lane] + ones;
    }
  }
  for (uint32_t i = 0; i < 2; ++i) std::memcpy(d[i], sums[i], sizeof(sums[i]));
}

// wmma.mma with .f64, m8n8k4. Rows hold 64 bits per lane.
inline void wmma_f64(double* const* d, const double* const* a, const double* const* b,
                     const double* const* c) {
  constexpr Shape kShape{8, 8, 4};
  const Fragment in_a = wmma_fragment(Role::kA, kShape, Element::kF64);
  const Fragment in_b = wmma_fragment(Role::kB, kShape, Element::kF64);
  const Fragment in_c = wmma_fragment(Role::kC, kShape, Element::kF64);
  Dense<double> dense;
  const auto dense_at = [](const Fragment& fragment, uint32_t lane, uint32_t slot) {
    const Place at = fragment.place(lane, slot);
    return at.row * fragment.columns + at.column;
  };
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    dense.a[dense_at(in_a, lane, 0)] = a[0][lane];
    dense.b[dense_at(in_b, lane, 0)] = b[0][lane];
    for (uint32_t i = 0; i < 2; ++i) dense.c[dense_at(in_c, lane, i)] = c[i][lane];
  }
  multiply(dense.a, dense.b, dense.c, kShape);
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t i = 0; i < 2; ++i) d[i][lane] = dense.c[dense_at(in_c, lane, i)];
  }
}

}  // namespace VGPU_MATH_VARIANT
}  // namespace vgpu::softgpu::math

// Matrix instructions of a warp: which lane holds which element, and the products.
//
// PTX ISA 9.7.14.4 (wmma), 9.7.14.5 (mma, ldmatrix, stmatrix, movmatrix). A register operand is a
// row of 32 lanes; a fragment is an array of rows, in the order of the instruction's operand list.
// Products of 16 bits and less are exact in single precision and accumulated there by fused
// multiply-add in ascending k: PTX leaves order and rounding open, and these are not the
// hardware's.
#pragma once

#include "softgpu/math/arithmetic.h"
#include "softgpu/math/integer.h"

namespace vgpu::softgpu::math {
inline namespace VGPU_MATH_VARIANT {

inline constexpr uint32_t kWarp = 32;

using Row = uint32_t*;
using ConstRow = const uint32_t*;

enum class Element : uint8_t {
  kF16,
  kBf16,
  kTf32,
  kF32,
  kF64,
  kE4m3,
  kE5m2,
  kS8,
  kU8,
  kS4,
  kU4,
  kB1,
  kS32
};
constexpr uint32_t element_bits(Element element) {
  switch (element) {
    case Element::kF16:
    case Element::kBf16:
      return 16;
    case Element::kTf32:
    case Element::kF32:
    case Element::kS32:
      return 32;
    case Element::kF64:
      return 64;
    case Element::kS4:
    case Element::kU4:
      return 4;
    case Element::kB1:
      return 1;
    default:
      return 8;
  }
}

struct Shape {
  uint32_t m, n, k;
};
struct Place {
  uint32_t row, column;
};

// --- Fragments of mma.sync, shapes m8n8k* and m16n8k*, except m8n8k4 with .f16 ---
// One rule covers the figures of 9.7.14.5.2 to 9.7.14.5.13: lane = 4 * group + thread; register r
// of A holds `per` neighbouring elements of row group (+ 8); B likewise by columns.

// Element j of register r of matrix A. `per`: elements in 32 bits (1 for .f64, of 64 bits).
constexpr Place place_a(uint32_t m, uint32_t per, uint32_t lane, uint32_t r, uint32_t j) {
  const uint32_t halves = m / 8;
  return {lane / 4 + 8 * (r % halves), (lane % 4) * per + j + (r / halves) * 4 * per};
}
constexpr Place place_b(uint32_t per, uint32_t lane, uint32_t r, uint32_t j) {
  return {(lane % 4) * per + j + r * 4 * per, lane / 4};
}
// Element i of C and D; packed halves are elements 2r and 2r + 1 of register r.
constexpr Place place_c(uint32_t lane, uint32_t i) {
  return {lane / 4 + 8 * (i / 2), (lane % 4) * 2 + i % 2};
}

// A small format's bits as single precision.
template <Element kType>
inline float decode(uint32_t bits) {
  if constexpr (kType == Element::kF16) return f16_to_f32(static_cast<uint16_t>(bits));
  if constexpr (kType == Element::kBf16) return bf16_to_f32(static_cast<uint16_t>(bits));
  if constexpr (kType == Element::kTf32) return as_f32(bits & 0xFFFFE000);  // the rest is ignored
  if constexpr (kType == Element::kE4m3) return e4m3_to_f32(static_cast<uint8_t>(bits));
  if constexpr (kType == Element::kE5m2) return e5m2_to_f32(static_cast<uint8_t>(bits));
}
template <Element kType>
inline int32_t decode_integer(uint32_t bits) {
  if constexpr (kType == Element::kS8) return static_cast<int8_t>(bits);
  if constexpr (kType == Element::kU8) return static_cast<uint8_t>(bits);
  if constexpr (kType == Element::kS4) return static_cast<int8_t>(bits << 4) >> 4;
  if constexpr (kType == Element::kU4) return bits & 15;
}

// Dense matrices, row-major; large enough for every shape below.
template <typename T>
struct Dense {
  alignas(64) T a[32 * 64];
  alignas(64) T b[64 * 32];
  alignas(64) T c[32 * 32];
};

// c (m x n) += a (m x k) * b (k x n). The inner loop runs over n, which is 8, 16 or 32.
template <uint32_t kN, typename T>
inline void multiply_rows(const T* a, const T* b, T* c, uint32_t m, uint32_t k) {
  for (uint32_t row = 0; row < m; ++row) {
    T sum[kN];
    for (uint32_t n = 0; n < kN; ++n) sum[n] = c[row * kN + n];
    for (uint32_t i = 0; i < k; ++i) {
      const T factor = a[row * k + i];
      for (uint32_t n = 0; n < kN; ++n) {
        if constexpr (std::is_same_v<T, float>) {
          sum[n] = __builtin_fmaf(factor, b[i * kN + n], sum[n]);
        } else if constexpr (std::is_same_v<T, double>) {
          sum[n] = __builtin_fma(factor, b[i * kN + n], sum[n]);
        } else {
          sum[n] += factor * b[i * kN + n];
        }
      }
    }
    for (uint32_t n = 0; n < kN; ++n) c[row * kN + n] = sum[n];
  }
}
template <typename T>
inline void multiply(const T* a, const T* b, T* c, Shape shape) {
  if (shape.n == 8) return multiply_rows<8>(a, b, c, shape.m, shape.k);
  if (shape.n == 16) return multiply_rows<16>(a, b, c, shape.m, shape.k);
  return multiply_rows<32>(a, b, c, shape.m, shape.k);
}

// Spreads a fragment into a dense matrix. `place(lane, register, j)` says where; `decode` turns an
// element's bits into the type of the matrix.
template <uint32_t kBits, typename T, typename PlaceOf, typename Decode>
inline void gather(const ConstRow* rows, uint32_t registers, uint32_t columns, T* dense,
                   PlaceOf place, Decode decode_bits) {
  constexpr uint32_t kPer = 32 / kBits;
  for (uint32_t r = 0; r < registers; ++r) {
    for (uint32_t j = 0; j < kPer; ++j) {
      alignas(64) T values[kWarp];
      for (uint32_t lane = 0; lane < kWarp; ++lane) {
        constexpr uint32_t kMask = kBits == 32 ? ~0u : (1u << kBits) - 1;
        values[lane] = decode_bits((rows[r][lane] >> (j * kBits % 32)) & kMask);
      }
      for (uint32_t lane = 0; lane < kWarp; ++lane) {
        const Place at = place(lane, r, j);
        dense[at.row * columns + at.column] = values[lane];
      }
    }
  }
}

// C and D of single precision (one element per register) or packed halves.
inline void gather_c(const ConstRow* rows, Shape shape, bool half, float* dense) {
  if (half) {
    gather<16>(
        rows, shape.m / 8, shape.n, dense,
        [](uint32_t lane, uint32_t r, uint32_t j) { return place_c(lane, 2 * r + j); },
        decode<Element::kF16>);
  } else {
    gather<32>(
        rows, shape.m / 4, shape.n, dense,
        [](uint32_t lane, uint32_t r, uint32_t) { return place_c(lane, r); }, as_f32);
  }
}
inline uint32_t pack_halves(float low, float high) {
  return f32_to_f16x2<Rounding::kNearest>(high, low);
}
inline void scatter_d(const Row* rows, Shape shape, bool half, const float* dense) {
  const uint32_t elements = shape.m / 4;
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t i = 0; i < elements; i += 2) {
      const Place at = place_c(lane, i);  // its neighbour is the next element of the row
      const float low = dense[at.row * shape.n + at.column];
      const float high = dense[at.row * shape.n + at.column + 1];
      if (half) {
        rows[i / 2][lane] = pack_halves(low, high);
      } else {
        rows[i][lane] = bits_of(low);
        rows[i + 1][lane] = bits_of(high);
      }
    }
  }
}

template <Element kType>
inline void gather_ab(Shape shape, const ConstRow* a, const ConstRow* b, Dense<float>& dense) {
  constexpr uint32_t kBits = element_bits(kType), kPer = 32 / kBits;
  gather<kBits>(
      a, shape.m / 8 * (shape.k / (4 * kPer)), shape.k, dense.a,
      [&](uint32_t lane, uint32_t r, uint32_t j) { return place_a(shape.m, kPer, lane, r, j); },
      decode<kType>);
  gather<kBits>(
      b, shape.k / (4 * kPer), shape.n, dense.b,
      [](uint32_t lane, uint32_t r, uint32_t j) { return place_b(kPer, lane, r, j); },
      decode<kType>);
}

// mma.sync.aligned with floating point inputs of one type: m16n8k{4,8,16,32}. C and D are .f32 or
// packed .f16. Reads all operands before it writes D, which may be the rows of C.
template <Element kType>
inline void mma_float(Shape shape, bool half_c, bool half_d, const Row* d, const ConstRow* a,
                      const ConstRow* b, const ConstRow* c) {
  Dense<float> dense;
  gather_ab<kType>(shape, a, b, dense);
  gather_c(c, shape, half_c, dense.c);
  multiply(dense.a, dense.b, dense.c, shape);
  scatter_d(d, shape, half_d, dense.c);
}
// The 8-bit formats may differ between A and B.
template <Element kA, Element kB>
inline void mma_float8(Shape shape, bool half_c, bool half_d, const Row* d, const ConstRow* a,
                       const ConstRow* b, const ConstRow* c) {
  Dense<float> dense, other;
  gather_ab<kA>(shape, a, b, dense);
  gather_ab<kB>(shape, a, b, other);
  gather_c(c, shape, half_c, dense.c);
  multiply(dense.a, other.b, dense.c, shape);
  scatter_d(d, shape, half_d, dense.c);
}

// mma.sync with .f64: m8n8k4, m16n8k{4,8,16}. Rows hold 64 bits per lane.
inline void mma_f64(Shape shape, double* const* d, const double* const* a, const double* const* b,
                    const double* const* c) {
  Dense<double> dense;
  const uint32_t halves = shape.m / 8, steps = shape.k / 4;
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t r = 0; r < halves * steps; ++r) {
      const Place at = place_a(shape.m, 1, lane, r, 0);
      dense.a[at.row * shape.k + at.column] = a[r][lane];
    }
    for (uint32_t r = 0; r < steps; ++r) {
      const Place at = place_b(1, lane, r, 0);
      dense.b[at.row * 8 + at.column] = b[r][lane];
    }
    for (uint32_t i = 0; i < 2 * halves; ++i) {
      const Place at = place_c(lane, i);
      dense.c[at.row * 8 + at.column] = c[i][lane];
    }
  }
  multiply(dense.a, dense.b, dense.c, shape);
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t i = 0; i < 2 * halves; ++i) {
      const Place at = place_c(lane, i);
      d[i][lane] = dense.c[at.row * 8 + at.column];
    }
  }
}

inline uint32_t finish_integer(int64_t sum, bool saturate_result) {
  return static_cast<uint32_t>(saturate_result ? clamp_s32(sum) : static_cast<int32_t>(sum));
}

// mma.sync with integers: m8n8k{16,32}, m16n8k{16,32,64} of 8 or 4 bits, C and D .s32. With
// .satfinite the sum is clamped, else it wraps.
template <Element kA, Element kB>
inline void mma_integer(Shape shape, bool saturate_result, const Row* d, const ConstRow* a,
                        const ConstRow* b, const ConstRow* c) {
  static_assert(element_bits(kA) == element_bits(kB));
  constexpr uint32_t kBits = element_bits(kA), kPer = 32 / kBits;
  Dense<int32_t> dense;
  gather<kBits>(
      a, shape.m / 8 * (shape.k / (4 * kPer)), shape.k, dense.a,
      [&](uint32_t lane, uint32_t r, uint32_t j) { return place_a(shape.m, kPer, lane, r, j); },
      decode_integer<kA>);
  gather<kBits>(
      b, shape.k / (4 * kPer), shape.n, dense.b,
      [](uint32_t lane, uint32_t r, uint32_t j) { return place_b(kPer, lane, r, j); },
      decode_integer<kB>);
  for (uint32_t i = 0; i < shape.m * shape.n; ++i) dense.c[i] = 0;
  multiply(dense.a, dense.b, dense.c, shape);  // at most 64 * 255 * 255: no overflow
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t i = 0; i < shape.m / 4; ++i) {
      const Place at = place_c(lane, i);
      const int64_t sum =
          int64_t{dense.c[at.row * shape.n + at.column]} + static_cast<int32_t>(c[i][lane]);
      d[i][lane] = finish_integer(sum, saturate_result);
    }
  }
}

// mma.sync with .b1: m8n8k128, m16n8k{128,256}. Counts ones of the exclusive or (.xor) or of the
// conjunction (.and).
inline void mma_bits(Shape shape, bool conjunction, const Row* d, const ConstRow* a,
                     const ConstRow* b, const ConstRow* c) {
  const uint32_t halves = shape.m / 8, steps = shape.k / 128;
  uint32_t sums[4][kWarp];
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t i = 0; i < 2 * halves; ++i) {
      const Place at = place_c(lane, i);
      uint32_t ones = 0;
      for (uint32_t word = 0; word < 4 * steps; ++word) {
        const uint32_t x = a[(word / 4) * halves + at.row / 8][at.row % 8 * 4 + word % 4];
        const uint32_t y = b[word / 4][at.column * 4 + word % 4];
        ones += popc(conjunction ? x & y : x ^ y);
      }
      sums[i][lane] = c[i][lane] + ones;
    }
  }
  for (uint32_t i = 0; i < 2 * halves; ++i) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) d[i][lane] = sums[i][lane];
  }
}

// --- mma.sync.m8n8k4 with .f16 (9.7.14.5.1): four products, one for each quad pair ---

// Lanes q * 4 to q * 4 + 3 and 16 + q * 4 to ... + 3 hold the matrices of product q.
constexpr Place place_a_884(bool by_row, uint32_t lane, uint32_t i) {
  const uint32_t upper = lane < 16 ? 0 : 4;
  return by_row ? Place{lane % 4 + upper, i} : Place{i + upper, lane % 4};
}
constexpr Place place_b_884(bool by_row, uint32_t lane, uint32_t i) {
  const uint32_t upper = lane < 16 ? 0 : 4;
  return by_row ? Place{lane % 4, i + upper} : Place{i, lane % 4 + upper};
}
constexpr Place place_c_884(bool half, uint32_t lane, uint32_t i) {
  const uint32_t upper = lane < 16 ? 0 : 4;
  if (half) return {lane % 4 + upper, i};
  return {(lane & 1) + (i & 2) + upper, (i & 4) + (lane & 2) + (i & 1)};
}
inline float half_element(const ConstRow* rows, uint32_t lane, uint32_t i) {
  return f16_to_f32(static_cast<uint16_t>(rows[i / 2][lane] >> (16 * (i % 2))));
}

inline void mma_884(bool a_by_row, bool b_by_row, bool half_c, bool half_d, const Row* d,
                    const ConstRow* a, const ConstRow* b, const ConstRow* c) {
  float dense_a[4][8 * 4], dense_b[4][4 * 8], dense_c[4][8 * 8];
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const uint32_t q = lane % 16 / 4;
    for (uint32_t i = 0; i < 4; ++i) {
      const Place in_a = place_a_884(a_by_row, lane, i), in_b = place_b_884(b_by_row, lane, i);
      dense_a[q][in_a.row * 4 + in_a.column] = half_element(a, lane, i);
      dense_b[q][in_b.row * 8 + in_b.column] = half_element(b, lane, i);
    }
    for (uint32_t i = 0; i < 8; ++i) {
      const Place at = place_c_884(half_c, lane, i);
      dense_c[q][at.row * 8 + at.column] = half_c ? half_element(c, lane, i) : as_f32(c[i][lane]);
    }
  }
  for (uint32_t q = 0; q < 4; ++q) multiply_rows<8>(dense_a[q], dense_b[q], dense_c[q], 8, 4);
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const float* product = dense_c[lane % 16 / 4];
    float values[8];
    for (uint32_t i = 0; i < 8; ++i) {
      const Place at = place_c_884(half_d, lane, i);
      values[i] = product[at.row * 8 + at.column];
    }
    for (uint32_t i = 0; i < 8; ++i) {
      if (!half_d) d[i][lane] = bits_of(values[i]);
      if (half_d && i % 2 == 0) d[i / 2][lane] = pack_halves(values[i], values[i + 1]);
    }
  }
}

// --- ldmatrix, stmatrix, movmatrix: 8 x 8 matrices of 16-bit elements ---

// Lane 8 * j + i names the address of row i of matrix j, 16 bytes, for j < count. `memory` holds,
// per lane, the four words at that address.
using MatrixRows = uint32_t[kWarp][4];

inline uint32_t matrix_element(const MatrixRows& memory, uint32_t matrix, uint32_t row,
                               uint32_t column) {
  return (memory[8 * matrix + row][column / 2] >> (16 * (column % 2))) & 0xFFFF;
}
inline void ldmatrix(uint32_t count, bool transposed, const MatrixRows& memory, const Row* d) {
  for (uint32_t j = 0; j < count; ++j) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const uint32_t row = lane / 4, column = lane % 4 * 2;
      const uint32_t low = transposed ? matrix_element(memory, j, column, row)
                                      : matrix_element(memory, j, row, column);
      const uint32_t high = transposed ? matrix_element(memory, j, column + 1, row)
                                       : matrix_element(memory, j, row, column + 1);
      d[j][lane] = high << 16 | low;
    }
  }
}
inline void stmatrix(uint32_t count, bool transposed, const ConstRow* a, MatrixRows& memory) {
  for (uint32_t j = 0; j < count; ++j) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      for (uint32_t i = 0; i < 2; ++i) {
        const uint32_t value = (a[j][lane] >> (16 * i)) & 0xFFFF;
        const uint32_t row = transposed ? lane % 4 * 2 + i : lane / 4;
        const uint32_t column = transposed ? lane / 4 : lane % 4 * 2 + i;
        uint32_t& word = memory[8 * j + row][column / 2];
        const uint32_t shift = 16 * (column % 2);
        word = (word & ~(0xFFFFu << shift)) | value << shift;
      }
    }
  }
}
inline void movmatrix_trans(ConstRow a, Row d) {
  MatrixRows memory = {};
  stmatrix(1, true, &a, memory);
  ldmatrix(1, false, memory, &d);
}

}  // namespace VGPU_MATH_VARIANT
}  // namespace vgpu::softgpu::math

// Matrix instructions of a warp: which lane holds which element, and the products.
//
// PTX ISA 9.7.14.4 (wmma), 9.7.14.5 (mma, ldmatrix, stmatrix, movmatrix). A register operand is a
// row of 32 lanes; a fragment is an array of rows, in the order of the instruction's operand list.
// Products of 16 bits and less are exact in single precision and accumulated there by fused
// multiply-add in ascending k: PTX leaves order and rounding open, and these are not the
// hardware's.
#pragma once

#include <cstring>

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
  kE2m1,
  kE2m1Packed,
  kE2m3,
  kE3m2,
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
    case Element::kE2m1Packed:
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
// One rule covers the figures of 9.7.14.5.2 to 9.7.14.5.13. With lane = 4 * group + thread, the
// four lanes of a group hold, in register r, a run of neighbouring elements: of row `group` of A
// (and of row group + 8 in every second register, where m is 16), of column `group` of B. So a
// register row read as an array of elements is a block of 8 rows, or columns, with nothing to
// rearrange inside. Accumulators are blocks of 8 x 8 in the same way: two registers side by side,
// or one of packed halves.

// A small format's bits as single precision.
template <Element kType>
inline float decode(uint32_t bits) {
  if constexpr (kType == Element::kF16) return f16_to_f32(static_cast<uint16_t>(bits));
  if constexpr (kType == Element::kBf16) return bf16_to_f32(static_cast<uint16_t>(bits));
  if constexpr (kType == Element::kTf32) return as_f32(bits & 0xFFFFE000);  // the rest is ignored
  if constexpr (kType == Element::kE4m3) return e4m3_to_f32(static_cast<uint8_t>(bits));
  if constexpr (kType == Element::kE5m2) return e5m2_to_f32(static_cast<uint8_t>(bits));
  // Containers of eight bits: four bits lie in the middle, six at the bottom.
  if constexpr (kType == Element::kE2m1) return small_to_f32<kE2m1>(bits >> 2 & 0xF);
  if constexpr (kType == Element::kE2m1Packed) return small_to_f32<kE2m1>(bits);
  if constexpr (kType == Element::kE2m3) return small_to_f32<kE2m3>(bits & 0x3F);
  if constexpr (kType == Element::kE3m2) return small_to_f32<kE3m2>(bits & 0x3F);
  if constexpr (kType == Element::kF32) return as_f32(bits);
}
template <Element kType>
inline int32_t decode_integer(uint32_t bits) {
  if constexpr (kType == Element::kS8) return static_cast<int8_t>(bits);
  if constexpr (kType == Element::kU8) return static_cast<uint8_t>(bits);
  if constexpr (kType == Element::kS4) return static_cast<int8_t>(bits << 4) >> 4;
  if constexpr (kType == Element::kU4) return bits & 15;
}

// Dense matrices, row-major; large enough for every shape below. `turned` is B by columns.
template <typename T>
struct Dense {
  alignas(64) T a[32 * 64];
  alignas(64) T b[64 * 32];
  alignas(64) T c[32 * 32];
  alignas(64) T turned[64 * 32];
};

// c (m x n) += a (m x k) * b (k x n), where m is a multiple of four and n of eight. Blocks of four
// rows and eight columns stay in registers; the compiler does not find that by itself.
template <typename T>
inline void multiply(const T* __restrict a, const T* __restrict b, T* __restrict c, Shape shape) {
  typedef T Eight __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
  for (uint32_t row = 0; row < shape.m; row += 4) {
    for (uint32_t column = 0; column < shape.n; column += 8) {
      T* const out = c + row * shape.n + column;
      Eight sum[4];
      for (uint32_t r = 0; r < 4; ++r) sum[r] = *reinterpret_cast<Eight*>(out + r * shape.n);
      for (uint32_t i = 0; i < shape.k; ++i) {
        const Eight right = *reinterpret_cast<const Eight*>(b + i * shape.n + column);
        for (uint32_t r = 0; r < 4; ++r) {
          const T left = a[(row + r) * shape.k + i];
          if constexpr (std::is_same_v<T, double>) {
            for (uint32_t n = 0; n < 8; ++n) sum[r][n] = __builtin_fma(left, right[n], sum[r][n]);
          } else {
            sum[r] += left * right;
          }
        }
      }
      for (uint32_t r = 0; r < 4; ++r) *reinterpret_cast<Eight*>(out + r * shape.n) = sum[r];
    }
  }
}
// b (k x n, by rows) from `turned` (by columns).
template <typename T>
inline void turn(Shape shape, Dense<T>& dense) {
  for (uint32_t column = 0; column < shape.n; ++column) {
    for (uint32_t i = 0; i < shape.k; ++i) {
      dense.b[i * shape.n + column] = dense.turned[column * shape.k + i];
    }
  }
}

// `count` is a multiple of eight. The processor's conversion keeps the payload of a NaN; mma
// results are canonical in any case.
inline void unpack_halves(const uint32_t* words, uint32_t count, float* out) {
  const char* from = reinterpret_cast<const char*>(words);
#if defined(__F16C__)
  for (uint32_t i = 0; i < count; i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * i));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(halves));
  }
#else
  for (uint32_t i = 0; i < count; ++i) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    out[i] = f16_to_f32(half);
  }
#endif
}

template <Element kType, typename T>
inline T decode_as(uint32_t bits) {
  if constexpr (std::is_same_v<T, float>) {
    return decode<kType>(bits);
  } else {
    return decode_integer<kType>(bits);
  }
}

// Elements of `count` words, in order of their bits. Halves and bytes are read as such: contiguous
// loads and stores vectorise best.
template <Element kType, typename T>
inline void unpack(const uint32_t* words, uint32_t count, T* __restrict out) {
  constexpr uint32_t kBits = element_bits(kType), kPer = 32 / kBits;
  if constexpr (kType == Element::kF16) {
    unpack_halves(words, 2 * count, out);
  } else if constexpr (kBits == 16 || kBits == 8) {
    using Small = std::conditional_t<kBits == 16, uint16_t, uint8_t>;
    for (uint32_t i = 0; i < count * kPer; ++i) {
      Small bits;
      std::memcpy(&bits, reinterpret_cast<const char*>(words) + i * sizeof(Small), sizeof(Small));
      out[i] = decode_as<kType, T>(bits);
    }
  } else {
    constexpr uint32_t kMask = kBits == 32 ? ~0u : (1u << kBits) - 1;
    for (uint32_t i = 0; i < count; ++i) {
      for (uint32_t j = 0; j < kPer; ++j) {
        out[i * kPer + j] = decode_as<kType, T>((words[i] >> (j * kBits % 32)) & kMask);
      }
    }
  }
}

// A register row into its block: eight runs of 4 * per elements, `stride` apart.
template <Element kType, typename T>
inline void place_runs(ConstRow row, uint32_t stride, T* out) {
  constexpr uint32_t kRun = 4 * (32 / element_bits(kType));
  alignas(64) T elements[8 * kRun];
  unpack<kType>(row, kWarp, elements);
  for (uint32_t group = 0; group < 8; ++group) {
    std::memcpy(out + group * stride, elements + group * kRun, kRun * sizeof(T));
  }
}
template <Element kType, typename T>
inline void gather_a(Shape shape, const ConstRow* rows, T* out) {
  constexpr uint32_t kRun = 4 * (32 / element_bits(kType));
  const uint32_t halves = shape.m / 8, registers = halves * shape.k / kRun;
  for (uint32_t r = 0; r < registers; ++r) {
    place_runs<kType>(rows[r], shape.k, out + r % halves * 8 * shape.k + r / halves * kRun);
  }
}
template <Element kType, typename T>
inline void gather_b(Shape shape, const ConstRow* rows, Dense<T>& dense) {
  constexpr uint32_t kRun = 4 * (32 / element_bits(kType));
  for (uint32_t r = 0; r < shape.k / kRun; ++r) {
    place_runs<kType>(rows[r], shape.k, dense.turned + r * kRun);
  }
  turn(shape, dense);
}

// C and D, of 32-bit elements or packed halves.
inline void gather_c(const ConstRow* rows, Shape shape, bool half, float* dense) {
  for (uint32_t block = 0; block < shape.m / 8; ++block) {
    float* out = dense + block * 64;
    if (half) {
      unpack<Element::kF16>(rows[block], kWarp, out);
      continue;
    }
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      out[2 * lane] = as_f32(rows[2 * block][lane]);
      out[2 * lane + 1] = as_f32(rows[2 * block + 1][lane]);
    }
  }
}
inline uint32_t pack_halves(float low, float high) {
  return f32_to_f16x2<Rounding::kNearest>(high, low);
}
inline void scatter_d(const Row* rows, Shape shape, bool half, const float* dense) {
  for (uint32_t block = 0; block < shape.m / 8; ++block) {
    const float* in = dense + block * 64;
    for (uint32_t lane = 0; half && lane < kWarp; ++lane) {
      rows[block][lane] = pack_halves(in[2 * lane], in[2 * lane + 1]);
    }
    for (uint32_t lane = 0; !half && lane < kWarp; ++lane) {
      rows[2 * block][lane] = bits_of(canonical(in[2 * lane]));
      rows[2 * block + 1][lane] = bits_of(canonical(in[2 * lane + 1]));
    }
  }
}

// mma.sync.aligned with floating point inputs: m16n8k{4,8,16,32}. C and D are .f32 or packed .f16.
// Reads all operands before it writes D, which may be the rows of C.
template <Element kType>
inline void mma_float(Shape shape, bool half_c, bool half_d, const Row* d, const ConstRow* a,
                      const ConstRow* b, const ConstRow* c) {
  Dense<float> dense;
  gather_a<kType>(shape, a, dense.a);
  gather_b<kType>(shape, b, dense);
  gather_c(c, shape, half_c, dense.c);
  multiply(dense.a, dense.b, dense.c, shape);
  scatter_d(d, shape, half_d, dense.c);
}

// The formats of eight bits and less may differ between A and B.
template <typename Use>
inline void with_small_float(Element element, Use use) {
  switch (element) {
    case Element::kE4m3:
      return use(std::integral_constant<Element, Element::kE4m3>{});
    case Element::kE5m2:
      return use(std::integral_constant<Element, Element::kE5m2>{});
    case Element::kE2m1:
      return use(std::integral_constant<Element, Element::kE2m1>{});
    case Element::kE2m1Packed:
      return use(std::integral_constant<Element, Element::kE2m1Packed>{});
    case Element::kE2m3:
      return use(std::integral_constant<Element, Element::kE2m3>{});
    default:
      return use(std::integral_constant<Element, Element::kE3m2>{});
  }
}
inline void mma_float8(Element type_a, Element type_b, Shape shape, bool half_c, bool half_d,
                       const Row* d, const ConstRow* a, const ConstRow* b, const ConstRow* c) {
  Dense<float> dense;
  with_small_float(type_a, [&](auto type) { gather_a<type.value>(shape, a, dense.a); });
  with_small_float(type_b, [&](auto type) { gather_b<type.value>(shape, b, dense); });
  gather_c(c, shape, half_c, dense.c);
  multiply(dense.a, dense.b, dense.c, shape);
  scatter_d(d, shape, half_d, dense.c);
}

// mma.sync with .block_scale (9.7.14.3): each run of k / count elements of a row of A, and of a
// column of B, has a scale of its own.
struct Scales {
  uint32_t count;
  double a[16][4], b[8][4];
};
inline double scale_value(bool ue4m3, uint8_t code) {
  if (ue4m3) return e4m3_to_f32(code & 0x7F);
  return bf16_to_f32(ue8m0_to_bf16(code));
}
inline void mma_scaled(Element type_a, Element type_b, Shape shape, const Scales& scales,
                       const Row* d, const ConstRow* a, const ConstRow* b, const ConstRow* c) {
  Dense<float> dense;
  with_small_float(type_a, [&](auto type) { gather_a<type.value>(shape, a, dense.a); });
  with_small_float(type_b, [&](auto type) { gather_b<type.value>(shape, b, dense); });
  gather_c(c, shape, false, dense.c);
  const uint32_t run = shape.k / scales.count;
  for (uint32_t row = 0; row < shape.m; ++row) {
    for (uint32_t column = 0; column < shape.n; ++column) {
      double sum = dense.c[row * shape.n + column];
      for (uint32_t block = 0; block < scales.count; ++block) {
        double part = 0;
        for (uint32_t i = block * run; i < (block + 1) * run; ++i) {
          part += static_cast<double>(dense.a[row * shape.k + i]) * dense.b[i * shape.n + column];
        }
        sum += part * scales.a[row][block] * scales.b[column][block];
      }
      dense.c[row * shape.n + column] = static_cast<float>(sum);
    }
  }
  scatter_d(d, shape, false, dense.c);
}

// Places of one element per lane and register, for .f64 and .b1.
constexpr Place place_a(uint32_t m, uint32_t lane, uint32_t r) {
  const uint32_t halves = m / 8;
  return {lane / 4 + 8 * (r % halves), lane % 4 + r / halves * 4};
}
constexpr Place place_b(uint32_t lane, uint32_t r) { return {lane % 4 + r * 4, lane / 4}; }
constexpr Place place_c(uint32_t lane, uint32_t i) {
  return {lane / 4 + 8 * (i / 2), (lane % 4) * 2 + i % 2};
}

// mma.sync with .f64: m8n8k4, m16n8k{4,8,16}. Rows hold 64 bits per lane.
inline void mma_f64(Shape shape, double* const* d, const double* const* a, const double* const* b,
                    const double* const* c) {
  Dense<double> dense;
  const uint32_t halves = shape.m / 8, steps = shape.k / 4;
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t r = 0; r < halves * steps; ++r) {
      const Place at = place_a(shape.m, lane, r);
      dense.a[at.row * shape.k + at.column] = a[r][lane];
    }
    for (uint32_t r = 0; r < steps; ++r) {
      const Place at = place_b(lane, r);
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
  Dense<int32_t> dense;
  gather_a<kA>(shape, a, dense.a);
  gather_b<kB>(shape, b, dense);
  for (uint32_t i = 0; i < shape.m * shape.n; ++i) dense.c[i] = 0;
  multiply(dense.a, dense.b, dense.c, shape);  // at most 64 * 255 * 255: no overflow
  for (uint32_t r = 0; r < shape.m / 4; ++r) {
    const int32_t* products = dense.c + r / 2 * 64 + r % 2;
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const int64_t sum = int64_t{products[2 * lane]} + static_cast<int32_t>(c[r][lane]);
      d[r][lane] = finish_integer(sum, saturate_result);
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
  alignas(32) float dense_a[4][8 * 4], dense_b[4][4 * 8], dense_c[4][8 * 8];
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
  for (uint32_t q = 0; q < 4; ++q) multiply(dense_a[q], dense_b[q], dense_c[q], {8, 8, 4});
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const float* product = dense_c[lane % 16 / 4];
    float values[8];
    for (uint32_t i = 0; i < 8; ++i) {
      const Place at = place_c_884(half_d, lane, i);
      values[i] = product[at.row * 8 + at.column];
    }
    for (uint32_t i = 0; i < 8; ++i) {
      if (!half_d) d[i][lane] = bits_of(canonical(values[i]));
      if (half_d && i % 2 == 0) d[i / 2][lane] = pack_halves(values[i], values[i + 1]);
    }
  }
}

// --- ldmatrix, stmatrix, movmatrix: 8 x 8 matrices of 16-bit elements ---

// Lane 8 * j + i names the address of row i of matrix j, 16 bytes, for j < count. `memory` holds,
// per lane, the four words at that address.
using MatrixRows = uint32_t[kWarp][4];

// Lane 4 * row + i of a fragment holds word i of that row: the words in their order.
constexpr size_t kMatrixBytes = kWarp * sizeof(uint32_t);

// An 8 x 8 matrix of 16-bit elements, turned; `to` may be `from`.
inline void transpose(const void* from, void* to) {
  uint16_t in[64], out[64];
  std::memcpy(in, from, kMatrixBytes);
  for (uint32_t i = 0; i < 8; ++i) {
    for (uint32_t j = 0; j < 8; ++j) out[i * 8 + j] = in[j * 8 + i];
  }
  std::memcpy(to, out, kMatrixBytes);
}
inline void ldmatrix(uint32_t count, bool transposed, const MatrixRows& memory, const Row* d) {
  for (uint32_t j = 0; j < count; ++j) {
    if (transposed) {
      transpose(memory[8 * j], d[j]);
    } else {
      std::memcpy(d[j], memory[8 * j], kMatrixBytes);
    }
  }
}
inline void stmatrix(uint32_t count, bool transposed, const ConstRow* a, MatrixRows& memory) {
  for (uint32_t j = 0; j < count; ++j) {
    if (transposed) {
      transpose(a[j], memory[8 * j]);
    } else {
      std::memcpy(memory[8 * j], a[j], kMatrixBytes);
    }
  }
}
inline void movmatrix_trans(ConstRow a, Row d) { transpose(a, d); }

}  // namespace VGPU_MATH_VARIANT
}  // namespace vgpu::softgpu::math

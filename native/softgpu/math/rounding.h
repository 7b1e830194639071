// Rounding without touching the processor's rounding mode: results are computed to nearest together
// with the sign of their error, and then moved by one unit in the last place. Everything here is
// straight-line code that the compiler can run over 32 lanes at a time.
//
// Compile users with -ffp-contract=off: a fused a * b + c would change PTX results.
#pragma once

#include <bit>
#include <cstdint>

#include "softgpu/math/variant.h"

namespace vgpu::softgpu::math {
inline namespace VGPU_MATH_VARIANT {

// PTX ISA 9.7.9.21 (cvt): .rn .rz .rm .rp .rna; the integer forms .rni ... round the same way.
enum class Rounding : uint8_t { kNearest, kZero, kDown, kUp, kAway };

// PTX ISA 9.7.3: the NaN that single precision and half precision instructions return.
inline constexpr uint32_t kNanF32 = 0x7FFFFFFF;
inline constexpr uint16_t kNanF16 = 0x7FFF;
inline constexpr uint64_t kNanF64 = 0x7FF8000000000000;

inline float as_f32(uint32_t bits) { return std::bit_cast<float>(bits); }
inline double as_f64(uint64_t bits) { return std::bit_cast<double>(bits); }
inline uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }
inline uint64_t bits_of(double value) { return std::bit_cast<uint64_t>(value); }

inline bool is_nan(float value) { return (bits_of(value) & 0x7FFFFFFF) > 0x7F800000; }
inline bool is_nan(double value) {
  return (bits_of(value) & 0x7FFFFFFFFFFFFFFF) > 0x7FF0000000000000;
}
inline bool is_negative(float value) { return bits_of(value) >> 31; }
inline bool is_negative(double value) { return bits_of(value) >> 63; }

inline float canonical(float value) { return value != value ? as_f32(kNanF32) : value; }

// .ftz: subnormals become zero of the same sign.
inline float flush(float value) {
  const uint32_t bits = bits_of(value);
  return as_f32((bits & 0x7F800000) == 0 ? bits & 0x80000000 : bits);
}
// .sat: clamps to [0, 1]; NaN and -0 become +0.
inline float saturate(float value) { return value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f; }
inline double saturate(double value) { return value > 0.0 ? (value < 1.0 ? value : 1.0) : 0.0; }

// The sum of two doubles rounded to odd: exact, or its last bit is one. Rounding that to a format
// of 51 bits or fewer, in any mode, gives what rounding the exact sum would give (Boldo and
// Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
inline double sum_to_odd(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  const double error = (a - (sum - b_part)) + (b - b_part);
  const uint64_t bits = bits_of(sum);
  // Towards the error: away from zero if it has the sign of the sum. False for NaN (infinities).
  const bool inexact = __builtin_fabs(error) > 0;
  const uint64_t step = 1 - 2 * ((bits_of(error) ^ bits) >> 63);
  return as_f64(bits + (inexact && (bits & 1) == 0 ? step : 0));
}

// Double to single.
template <Rounding R>
inline float narrow(double value) {
  const float nearest = static_cast<float>(value);
  if constexpr (R == Rounding::kNearest) return canonical(nearest);
  const double back = nearest;
  const uint32_t bits = bits_of(nearest);
  // Bits count magnitude, so one more is away from zero. Overflow works out: the bits before
  // infinity are the largest finite number.
  const uint32_t up = value > 0 ? 1u : ~0u;
  if constexpr (R == Rounding::kUp) return canonical(as_f32(bits + (back < value ? up : 0)));
  if constexpr (R == Rounding::kDown) return canonical(as_f32(bits - (back > value ? up : 0)));
  if constexpr (R == Rounding::kZero) {
    return canonical(as_f32(bits - (__builtin_fabs(back) > __builtin_fabs(value) ? 1u : 0u)));
  }
  static_assert(R != Rounding::kAway, "PTX has no .rna to single precision");
}

// Double to single, to odd, for a second rounding to a smaller format.
inline float narrow_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  const double back = nearest;
  const uint32_t bits = bits_of(nearest);
  const uint32_t beyond = __builtin_fabs(back) > __builtin_fabs(value) ? 1 : 0;
  const bool inexact = back < value || back > value;
  return as_f32((bits - beyond) | (inexact ? 1u : 0u));
}

// To an integral value in the same format.
template <Rounding R>
inline float round_integral(float value) {
  if constexpr (R == Rounding::kNearest) return __builtin_nearbyintf(value);
  if constexpr (R == Rounding::kZero) return __builtin_truncf(value);
  if constexpr (R == Rounding::kDown) return __builtin_floorf(value);
  if constexpr (R == Rounding::kUp) return __builtin_ceilf(value);
}
template <Rounding R>
inline double round_integral(double value) {
  if constexpr (R == Rounding::kNearest) return __builtin_nearbyint(value);
  if constexpr (R == Rounding::kZero) return __builtin_trunc(value);
  if constexpr (R == Rounding::kDown) return __builtin_floor(value);
  if constexpr (R == Rounding::kUp) return __builtin_ceil(value);
}

}  // namespace VGPU_MATH_VARIANT
}  // namespace vgpu::softgpu::math

// cvt between all numeric types (PTX ISA 9.7.9.21, 9.7.9.22; alternate formats 5.2.3).
//
// Half, bfloat16 and the 8-bit formats are held as their bits. tf32 is a float whose low 13 bits
// are zero. Template parameters are what an instruction fixes at decode time.
#pragma once

#include <limits>
#include <type_traits>

#include "softgpu/math/rounding.h"

namespace vgpu::softgpu::math {
inline namespace VGPU_MATH_VARIANT {

// A binary format smaller than single precision.
struct SmallFormat {
  int exponent_bits;
  int mantissa_bits;
  bool has_infinity;
  uint32_t largest;  // finite, as bits
  uint32_t nan;
};
inline constexpr SmallFormat kF16{5, 10, true, 0x7BFF, 0x7FFF};
inline constexpr SmallFormat kBf16{8, 7, true, 0x7F7F, 0x7FFF};
inline constexpr SmallFormat kTf32{8, 10, true, 0x3FBFF, 0x3FFFF};
inline constexpr SmallFormat kE4m3{4, 3, false, 0x7E, 0x7F};
inline constexpr SmallFormat kE5m2{5, 2, true, 0x7B, 0x7F};
// Four and six bits have neither infinities nor NaN: a NaN becomes the largest positive number.
inline constexpr SmallFormat kE2m1{2, 1, false, 0x7, 0x7};
inline constexpr SmallFormat kE2m3{2, 3, false, 0x1F, 0x1F};
inline constexpr SmallFormat kE3m2{3, 2, false, 0x1F, 0x1F};

// What becomes of a value beyond the largest finite one.
enum class Overflow : uint8_t { kByRounding, kFinite };

// Single to a small format: bits of the result, sign on top of its width.
template <SmallFormat F, Rounding R, Overflow O = Overflow::kByRounding>
inline uint32_t encode(float value) {
  constexpr int kMantissa = F.mantissa_bits, kWidth = 1 + F.exponent_bits + F.mantissa_bits;
  // The biased single precision exponent of the smallest normal number.
  constexpr int32_t kFirst = 127 - ((1 << (F.exponent_bits - 1)) - 1) + 1;
  constexpr uint32_t kInfinity = F.largest + 1;
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7FFFFFFF, sign = bits >> 31;
  const int32_t raw = static_cast<int32_t>(magnitude >> 23);
  const int32_t exponent = raw == 0 ? 1 : raw;
  const uint32_t significand = (magnitude & 0x7FFFFF) | (raw == 0 ? 0u : 0x800000u);
  const int32_t below = exponent < kFirst ? kFirst - exponent : 0;
  const int32_t wanted = 23 - kMantissa + below;
  const uint32_t shift = static_cast<uint32_t>(wanted < 31 ? wanted : 31);
  const uint32_t kept = significand >> shift, rest = significand - (kept << shift);
  const uint32_t half = 1u << (shift - 1);
  bool up = false;
  if constexpr (R == Rounding::kNearest) up = rest > half || (rest == half && (kept & 1) != 0);
  if constexpr (R == Rounding::kAway) up = rest >= half;
  if constexpr (R == Rounding::kUp) up = rest != 0 && sign == 0;
  if constexpr (R == Rounding::kDown) up = rest != 0 && sign != 0;
  // `kept` carries the hidden bit, which adds one to the exponent field.
  const uint32_t above = static_cast<uint32_t>(exponent < kFirst ? 0 : exponent - kFirst);
  uint32_t result = (above << kMantissa) + kept + (up ? 1 : 0);
  uint32_t limit = F.largest;
  if constexpr (O == Overflow::kByRounding) {
    static_assert(F.has_infinity);
    if constexpr (R == Rounding::kNearest || R == Rounding::kAway) limit = kInfinity;
    if constexpr (R == Rounding::kUp) limit = sign == 0 ? kInfinity : F.largest;
    if constexpr (R == Rounding::kDown) limit = sign == 0 ? F.largest : kInfinity;
    if (magnitude == 0x7F800000) limit = kInfinity;
  }
  result = result > F.largest ? limit : result;
  result |= sign << (kWidth - 1);
  return magnitude > 0x7F800000 ? F.nan : result;
}

template <Rounding R, Overflow O = Overflow::kByRounding>
inline uint16_t f32_to_f16(float value) {
  return static_cast<uint16_t>(encode<kF16, R, O>(value));
}
template <Rounding R, Overflow O = Overflow::kByRounding>
inline uint16_t f32_to_bf16(float value) {
  return static_cast<uint16_t>(encode<kBf16, R, O>(value));
}
template <Rounding R, Overflow O = Overflow::kByRounding>
inline float f32_to_tf32(float value) {
  return as_f32(encode<kTf32, R, O>(value) << 13 | (value != value ? 0x1FFF : 0));
}
template <Rounding R>
inline uint16_t f64_to_f16(double value) {
  return f32_to_f16<R>(narrow_to_odd(value));
}
template <Rounding R>
inline uint16_t f64_to_bf16(double value) {
  return f32_to_bf16<R>(narrow_to_odd(value));
}
// .satfinite is mandatory for the 8-bit formats.
inline uint8_t f32_to_e4m3(float value) {
  return static_cast<uint8_t>(encode<kE4m3, Rounding::kNearest, Overflow::kFinite>(value));
}
inline uint8_t f32_to_e5m2(float value) {
  return static_cast<uint8_t>(encode<kE5m2, Rounding::kNearest, Overflow::kFinite>(value));
}

inline float f16_to_f32(uint16_t half) {
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7FFF) << 13;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t normal = magnitude + (112u << 23);
  // Subnormal: put the bits below 2^-14 and take 2^-14 away, which normalises exactly.
  const float subnormal = as_f32(magnitude + (113u << 23)) - as_f32(113u << 23);
  uint32_t bits = magnitude < (1u << 23) ? bits_of(subnormal) : normal;
  bits = magnitude >= (31u << 23) ? 0x7F800000 : bits;
  bits = magnitude > (31u << 23) ? kNanF32 : bits | sign;
  return as_f32(bits);
}
inline float bf16_to_f32(uint16_t value) { return as_f32(static_cast<uint32_t>(value) << 16); }
inline uint16_t e5m2_to_f16(uint8_t value) {
  return (value & 0x7F) > 0x7C ? kNanF16 : static_cast<uint16_t>(value << 8);
}
inline float e5m2_to_f32(uint8_t value) { return f16_to_f32(e5m2_to_f16(value)); }
inline float e4m3_to_f32(uint8_t value) {
  const uint32_t magnitude = static_cast<uint32_t>(value & 0x7F) << 20;
  const uint32_t sign = static_cast<uint32_t>(value & 0x80) << 24;
  const float subnormal = as_f32(magnitude + (121u << 23)) - as_f32(121u << 23);
  const uint32_t bits = magnitude < (1u << 23) ? bits_of(subnormal) : magnitude + (120u << 23);
  return as_f32((value & 0x7F) == 0x7F ? kNanF32 : bits | sign);
}
// Every 8-bit value is a half.
inline uint16_t e4m3_to_f16(uint8_t value) {
  return f32_to_f16<Rounding::kNearest>(e4m3_to_f32(value));
}

// Four and six bits: all values are halves.
template <SmallFormat F>
inline float small_to_f32(uint32_t bits) {
  constexpr int kShift = 23 - F.mantissa_bits;
  constexpr uint32_t kMagnitude = (1u << (F.exponent_bits + F.mantissa_bits)) - 1;
  constexpr uint32_t kOffset = (128u - (1u << (F.exponent_bits - 1))) << 23;
  constexpr uint32_t kFirst = kOffset + (1u << 23);
  const uint32_t magnitude = (bits & kMagnitude) << kShift;
  const uint32_t sign = (bits & (kMagnitude + 1)) << (31 - F.exponent_bits - F.mantissa_bits);
  const float subnormal = as_f32(magnitude + kFirst) - as_f32(kFirst);
  return as_f32((magnitude < (1u << 23) ? bits_of(subnormal) : magnitude + kOffset) | sign);
}

// ue8m0: a power of two, 2^(bits - 127), or NaN. The sign of what is converted is dropped (.rz, .rp
// of the magnitude); infinity and what rounds to 2^128 are NaN, or the largest with .satfinite.
template <Rounding R>
inline uint8_t f32_to_ue8m0(float value, bool finite) {
  const uint32_t magnitude = bits_of(value) & 0x7FFFFFFF;
  const bool nan = magnitude > 0x7F800000;
  // At and below 2^-127, whose code is 0, nothing rounds up.
  const bool up = R == Rounding::kUp && (magnitude & 0x7FFFFF) != 0 && magnitude > 0x400000;
  const uint32_t code = nan ? 0xFF : (magnitude >> 23) + (up ? 1 : 0);
  return static_cast<uint8_t>(finite && !nan && code == 0xFF ? 0xFE : code);
}
inline uint16_t ue8m0_to_bf16(uint8_t code) {
  const auto power = static_cast<uint16_t>(code << 7);
  return code == 0xFF ? 0x7FFF : code == 0 ? 0x0040 : power;
}

// .relu: negative values and -0 become +0; NaN becomes the canonical NaN.
inline float relu(float value) { return value != value ? as_f32(kNanF32) : value > 0 ? value : 0; }
inline uint16_t relu_f16(uint16_t value) {
  if ((value & 0x7FFF) > 0x7C00) return kNanF16;
  return (value & 0x8000) != 0 ? 0 : value;
}
inline uint16_t relu_bf16(uint16_t value) {
  if ((value & 0x7FFF) > 0x7F80) return kNanF16;
  return (value & 0x8000) != 0 ? 0 : value;
}

// Packed: `a` becomes the upper half (cvt.rn.f16x2.f32 d, a, b).
template <Rounding R>
inline uint32_t f32_to_f16x2(float a, float b) {
  return static_cast<uint32_t>(f32_to_f16<R>(a)) << 16 | f32_to_f16<R>(b);
}
template <Rounding R>
inline uint32_t f32_to_bf16x2(float a, float b) {
  return static_cast<uint32_t>(f32_to_bf16<R>(a)) << 16 | f32_to_bf16<R>(b);
}
inline uint16_t f32_to_e4m3x2(float a, float b) {
  return static_cast<uint16_t>(f32_to_e4m3(a) << 8 | f32_to_e4m3(b));
}
inline uint16_t f32_to_e5m2x2(float a, float b) {
  return static_cast<uint16_t>(f32_to_e5m2(a) << 8 | f32_to_e5m2(b));
}
inline uint32_t e4m3x2_to_f16x2(uint16_t pair) {
  return static_cast<uint32_t>(e4m3_to_f16(static_cast<uint8_t>(pair >> 8))) << 16 |
         e4m3_to_f16(static_cast<uint8_t>(pair));
}
inline uint32_t e5m2x2_to_f16x2(uint16_t pair) {
  return static_cast<uint32_t>(e5m2_to_f16(static_cast<uint8_t>(pair >> 8))) << 16 |
         e5m2_to_f16(static_cast<uint8_t>(pair));
}

// Floating point to integer: clamped to the destination's range. NaN gives 0, except that a 64-bit
// type on either side gives the top bit alone.
template <typename Int, Rounding R, typename Float>
inline Int to_integer(Float value) {
  using Limits = std::numeric_limits<Int>;
  constexpr bool kWide = sizeof(Float) == 8 || sizeof(Int) == 8;
  constexpr Int kNan =
      kWide ? static_cast<Int>(std::make_unsigned_t<Int>{1} << (8 * sizeof(Int) - 1)) : Int{0};
  // The first power of two above the range is exact in both formats; the lower bound too.
  constexpr Float kEnd = static_cast<Float>(Limits::max() / 2 + 1) * 2;
  constexpr Float kBegin = static_cast<Float>(Limits::min());
  const Float whole = round_integral<R>(value);
  const bool inside = whole >= kBegin && whole < kEnd;
  const Int converted = static_cast<Int>(inside ? whole : Float{0});
  const Int clamped = whole >= kEnd ? Limits::max() : whole < kBegin ? Limits::min() : converted;
  return value != value ? kNan : clamped;
}
template <typename Int, Rounding R>
inline Int f16_to_integer(uint16_t value) {
  return to_integer<Int, R>(f16_to_f32(value));
}

// A 64-bit magnitude as a float, truncated, its last bit set if that lost anything (round to odd).
inline float magnitude_to_odd(uint64_t magnitude) {
  const int excess = 40 - std::countl_zero(magnitude | 1);
  if (excess <= 0) return static_cast<float>(magnitude);
  const uint64_t kept = magnitude >> excess;
  const uint64_t lost = magnitude - (kept << excess);
  const auto odd = static_cast<uint32_t>(kept | (lost != 0 ? 1 : 0));
  return static_cast<float>(odd) * as_f32(static_cast<uint32_t>(127 + excess) << 23);
}
template <typename Int>
inline uint64_t magnitude_of(Int value) {
  return value < 0 ? uint64_t{0} - static_cast<uint64_t>(static_cast<int64_t>(value))
                   : static_cast<uint64_t>(value);
}

// Integer to floating point.
template <Rounding R, typename Int>
inline float integer_to_f32(Int value) {
  if constexpr (R == Rounding::kNearest) {
    return static_cast<float>(value);
  } else if constexpr (sizeof(Int) <= 4) {
    return narrow<R>(static_cast<double>(value));
  } else {
    // 25 bits with a sticky one decide every directed rounding.
    const uint64_t magnitude = magnitude_of(value);
    const int excess = 39 - std::countl_zero(magnitude | 1);
    uint64_t kept = magnitude;
    if (excess > 0) {
      kept = magnitude >> excess;
      kept |= (magnitude - (kept << excess)) != 0 ? 1 : 0;
    }
    double exact = static_cast<double>(kept);
    if (excess > 0) exact *= static_cast<double>(uint64_t{1} << excess);
    return narrow<R>(value < 0 ? -exact : exact);
  }
}
template <Rounding R, typename Int>
inline double integer_to_f64(Int value) {
  const double nearest = static_cast<double>(value);
  if constexpr (R == Rounding::kNearest || sizeof(Int) <= 4) {
    return nearest;
  } else {
    const uint64_t magnitude = magnitude_of(value);
    const int excess = 11 - std::countl_zero(magnitude | 1);
    if (excess <= 0) return nearest;
    uint64_t kept = magnitude >> excess;
    const bool inexact = magnitude != kept << excess;
    const bool away = R == Rounding::kUp ? value > 0 : R == Rounding::kDown ? value < 0 : false;
    kept += inexact && away ? 1 : 0;
    const double result = static_cast<double>(kept) * static_cast<double>(uint64_t{1} << excess);
    return value < 0 ? -result : result;
  }
}
template <Rounding R, typename Int>
inline uint16_t integer_to_f16(Int value) {
  const float odd = magnitude_to_odd(magnitude_of(value));
  return f32_to_f16<R>(value < 0 ? -odd : odd);
}
template <Rounding R, typename Int>
inline uint16_t integer_to_bf16(Int value) {
  const float odd = magnitude_to_odd(magnitude_of(value));
  return f32_to_bf16<R>(value < 0 ? -odd : odd);
}

// Integer to integer with .sat: clamps to the destination's range.
template <typename To, typename From>
inline To saturate_integer(From value) {
  using Limits = std::numeric_limits<To>;
  if constexpr (std::is_signed_v<From>) {
    const auto wide = static_cast<int64_t>(value);
    if constexpr (std::is_signed_v<To>) {
      if (wide < static_cast<int64_t>(Limits::min())) return Limits::min();
      if (wide > static_cast<int64_t>(Limits::max())) return Limits::max();
    } else {
      if (wide < 0) return 0;
      if (static_cast<uint64_t>(wide) > static_cast<uint64_t>(Limits::max())) return Limits::max();
    }
  } else if (static_cast<uint64_t>(value) > static_cast<uint64_t>(Limits::max())) {
    return Limits::max();
  }
  return static_cast<To>(value);
}

}  // namespace VGPU_MATH_VARIANT
}  // namespace vgpu::softgpu::math

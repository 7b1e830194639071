// Approximate functions (PTX ISA 9.7.3.x: .approx and .full). PTX bounds their errors; these are
// correct to about one unit in the last place, well inside the bounds, and give the special values
// of the ISA's tables. They are not the hardware's bits. Computed in double precision with
// polynomials, without library calls. .ftz: wrap operands and result in flush().
#pragma once

#include "softgpu/math/arithmetic.h"

namespace vgpu::softgpu::math {
inline namespace VGPU_MATH_VARIANT {

namespace approximate {

constexpr double kLn2 = 0.69314718055994530942;
// 1.5 * 2^52: added to a small integer, its low bits are that integer. A conversion that
// vectorises.
constexpr double kIntegerBits = 6755399441055744.0;

// Horner's scheme with the highest power first.
template <typename... Rest>
constexpr double polynomial(double x, double first, Rest... rest) {
  double value = first;
  ((value = value * x + rest), ...);
  return value;
}

// 2^x for |x| <= 1022; the relative error is below 2^-36.
inline double power_of_two(double x) {
  const double whole = __builtin_nearbyint(x);
  const double t = (x - whole) * kLn2;
  const double fraction = polynomial(t, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120,
                                     1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0);
  // The integer in the low bits of a sum with 1.5 * 2^52: a conversion that vectorises everywhere.
  const uint64_t exponent =
      bits_of(whole + 6755399441055744.0) - bits_of(6755399441055744.0) + 1023;
  return fraction * as_f64(exponent << 52);
}

// Quadrant and remainder of an angle. The remainder is exact to 2^-53 of the angle, and bounded for
// any.
struct Angle {
  double remainder;   // in [-pi/4, pi/4]
  uint64_t quadrant;  // its two low bits
};
inline Angle reduce(float x) {
  constexpr double kTwoOverPi = 0.63661977236758134308, kHalfPi = 1.57079632679489661923;
  const double turns = static_cast<double>(x) * kTwoOverPi;
  const double whole = __builtin_nearbyint(turns);
  const double quadrant = whole - 4.0 * __builtin_floor(whole * 0.25);
  return {(turns - whole) * kHalfPi, bits_of(quadrant + kIntegerBits)};
}
inline double sine_kernel(double r) {
  const double s = r * r;
  return r * polynomial(s, 1.0 / 362880, -1.0 / 5040, 1.0 / 120, -1.0 / 6, 1.0);
}
inline double cosine_kernel(double r) {
  const double s = r * r;
  return polynomial(s, -1.0 / 3628800, 1.0 / 40320, -1.0 / 720, 1.0 / 24, -0.5, 1.0);
}
inline double sine_of(double remainder, uint64_t quadrant) {
  const double sine = sine_kernel(remainder), cosine = cosine_kernel(remainder);
  const double value = (quadrant & 1) != 0 ? cosine : sine;
  return as_f64(bits_of(value) ^ ((quadrant & 2) << 62));
}

}  // namespace approximate

// ex2.approx: -inf gives +0, +inf gives +inf. Bound: 2 units in the last place.
inline float ex2_approx(float x) {
  const double wide = x;
  const double clamped = wide < -200 ? -200.0 : wide > 200 ? 200.0 : wide;
  const float value = static_cast<float>(approximate::power_of_two(clamped));
  return x != x ? as_f32(kNanF32) : value;
}

// lg2.approx: 0 gives -inf, negative values NaN, +inf gives +inf. Bound: 2^-22.
inline float lg2_approx(float x) {
  const uint64_t bits = bits_of(static_cast<double>(x));
  // Mantissa in [sqrt(1/2), sqrt(2)).
  constexpr uint64_t kSqrtHalf = 0x3FE6A09E667F3BCD;
  const uint64_t shifted = bits - kSqrtHalf;
  const auto exponent = static_cast<int64_t>(shifted) >> 52;
  const double mantissa = as_f64(bits - (static_cast<uint64_t>(exponent) << 52));
  const double t = (mantissa - 1.0) / (mantissa + 1.0), s = t * t;
  const double series =
      approximate::polynomial(s, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1.0);
  const auto whole = static_cast<double>(static_cast<int32_t>(exponent));
  const auto value = static_cast<float>(whole + 2.0 / approximate::kLn2 * t * series);
  const float infinite = x > 0 ? x : as_f32(0xFF800000);
  const float special = x < 0 || x != x ? as_f32(kNanF32) : infinite;
  return x > 0 && x < as_f32(0x7F800000) ? value : special;
}

// sin.approx, cos.approx: infinities give NaN. Bound: 2^-20.5 in [-pi, pi].
inline float sin_approx(float x) {
  const approximate::Angle angle = approximate::reduce(x);
  const auto value = static_cast<float>(approximate::sine_of(angle.remainder, angle.quadrant));
  return x == 0 ? x : canonical(value);
}
inline float cos_approx(float x) {
  const approximate::Angle angle = approximate::reduce(x);
  const double value = approximate::sine_of(angle.remainder, angle.quadrant + 1);
  return canonical(static_cast<float>(value));
}

// tanh.approx: -0 gives -0. Bound: relative 2^-11.
inline float tanh_approx(float x) {
  constexpr double kTwoOverLn2 = 2.0 / approximate::kLn2;
  const double wide = x, size = wide < 0 ? -wide : wide;
  const double bounded = size > 20 ? 20.0 : size;
  const double large = 1.0 - 2.0 / (approximate::power_of_two(bounded * kTwoOverLn2) + 1.0);
  const double s = bounded * bounded;
  const double small = bounded * approximate::polynomial(s, -17.0 / 315, 2.0 / 15, -1.0 / 3, 1.0);
  const auto value = static_cast<float>(bounded < 0.05 ? small : large);
  return x != x ? as_f32(kNanF32) : copysign(x, value);
}

// rcp, sqrt, div: correctly rounded, which every bound allows. rsqrt bound: relative 2^-22.9.
inline float rcp_approx(float x) { return rcp(x); }
inline float sqrt_approx(float x) { return sqrt(x); }
inline float rsqrt_approx(float x) {
  const double root = __builtin_sqrt(static_cast<double>(x));
  return canonical(static_cast<float>(1.0 / root));
}
inline float div_full(float a, float b) { return div(a, b); }
// div.approx: for 2^126 < |b| < 2^128 the result is +-0, and inf / b is NaN there.
inline float div_approx(float a, float b) {
  const uint32_t size = bits_of(b) & 0x7FFFFFFF;
  const bool huge = size > 0x7E800000 && size < 0x7F800000;
  const bool infinite = (bits_of(a) & 0x7FFFFFFF) == 0x7F800000;
  const float zero = as_f32((bits_of(a) ^ bits_of(b)) & 0x80000000);
  const float outside = infinite || a != a ? as_f32(kNanF32) : zero;
  return huge ? outside : div(a, b);
}

// rcp.approx.ftz.f64, rsqrt.approx.ftz.f64: the upper 32 bits of the result only (ISA 9.7.3.14,
// 9.7.3.17); the lower half of the operand is ignored. Subnormals are zero.
inline double upper_half(double value) { return as_f64(bits_of(value) & 0xFFFFFFFF00000000); }
inline double flush(double value) {
  const uint64_t bits = bits_of(value);
  return as_f64((bits & 0x7FF0000000000000) == 0 ? bits & 0x8000000000000000 : bits);
}
inline double rcp_approx_ftz(double x) {
  const double value = flush(upper_half(x));
  return value != value ? as_f64(kNanF64) : flush(upper_half(1.0 / value));
}
inline double rsqrt_approx_ftz(double x) {
  const double value = flush(upper_half(x));
  const double result = 1.0 / math::sqrt(value);
  return result != result ? as_f64(kNanF64) : flush(upper_half(result));
}

// Half precision and bfloat16 forms.
inline uint16_t ex2_f16(uint16_t a) {
  return f32_to_f16<Rounding::kNearest>(ex2_approx(f16_to_f32(a)));
}
inline uint16_t ex2_bf16(uint16_t a) {
  return f32_to_bf16<Rounding::kNearest>(flush(ex2_approx(flush(bf16_to_f32(a)))));
}
inline uint16_t tanh_f16(uint16_t a) {
  return f32_to_f16<Rounding::kNearest>(tanh_approx(f16_to_f32(a)));
}
inline uint16_t tanh_bf16(uint16_t a) {
  return f32_to_bf16<Rounding::kNearest>(tanh_approx(bf16_to_f32(a)));
}

}  // namespace VGPU_MATH_VARIANT
}  // namespace vgpu::softgpu::math

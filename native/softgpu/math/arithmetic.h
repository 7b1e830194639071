// Floating point arithmetic (PTX ISA 9.7.3: single and double; 9.7.4: half; 9.7.5: mixed).
//
// .ftz: wrap operands and result in flush(). .sat: wrap the result in saturate(). Single precision
// NaN results are the canonical one, as PTX defines; double precision keeps a payload.
#pragma once

#include <immintrin.h>

#include "softgpu/math/convert.h"

namespace vgpu::softgpu::math {
inline namespace VGPU_MATH_VARIANT {

// --- Single precision: add, sub, mul, fma, div, rcp, sqrt ---

template <Rounding R = Rounding::kNearest>
inline float add(float a, float b) {
  if constexpr (R == Rounding::kNearest) return canonical(a + b);
  const double sum = sum_to_odd(a, b);
  const float rounded = narrow<R>(sum);
  if constexpr (R != Rounding::kDown) return rounded;
  // Round-down makes an exact zero sum -0 unless both terms are +0.
  return sum == 0 ? as_f32((bits_of(a) | bits_of(b)) & 0x80000000) : rounded;
}
template <Rounding R = Rounding::kNearest>
inline float sub(float a, float b) {
  return add<R>(a, as_f32(bits_of(b) ^ 0x80000000));
}
template <Rounding R = Rounding::kNearest>
inline float mul(float a, float b) {
  if constexpr (R == Rounding::kNearest) return canonical(a * b);
  return narrow<R>(static_cast<double>(a) * static_cast<double>(b));  // the product is exact
}
template <Rounding R = Rounding::kNearest>
inline float fma(float a, float b, float c) {
  if constexpr (R == Rounding::kNearest) return canonical(__builtin_fmaf(a, b, c));
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double sum = sum_to_odd(product, c);
  const float rounded = narrow<R>(sum);
  if constexpr (R != Rounding::kDown) return rounded;
  const auto product_sign = static_cast<uint32_t>(bits_of(product) >> 32);
  return sum == 0 ? as_f32((product_sign | bits_of(c)) & 0x80000000) : rounded;
}
// Quotients and roots of 24-bit numbers lie further than 2^-52 from any 25-bit number that they do
// not equal, so rounding the double result again is correct in every mode.
template <Rounding R = Rounding::kNearest>
inline float div(float a, float b) {
  if constexpr (R == Rounding::kNearest) return canonical(a / b);
  return narrow<R>(static_cast<double>(a) / static_cast<double>(b));
}
template <Rounding R = Rounding::kNearest>
inline float rcp(float a) {
  return div<R>(1.0f, a);
}
template <Rounding R = Rounding::kNearest>
inline float sqrt(float a) {
  if constexpr (R == Rounding::kNearest) return canonical(__builtin_sqrtf(a));
  return narrow<R>(__builtin_sqrt(static_cast<double>(a)));
}

// --- Double precision ---

// Directed modes of double precision are rare in programs: these set the processor's mode. The asm
// statements keep the operation between the two changes.
template <Rounding R>
class RoundingScope {
 public:
  RoundingScope() : before_(_mm_getcsr()) {
    constexpr unsigned kMode = R == Rounding::kZero   ? _MM_ROUND_TOWARD_ZERO
                               : R == Rounding::kDown ? _MM_ROUND_DOWN
                                                      : _MM_ROUND_UP;
    set((before_ & ~unsigned{_MM_ROUND_MASK}) | kMode);
  }
  ~RoundingScope() { set(before_); }
  RoundingScope(const RoundingScope&) = delete;
  RoundingScope& operator=(const RoundingScope&) = delete;

 private:
  static void set(unsigned mode) { __asm__ volatile("ldmxcsr %0" : : "m"(mode) : "memory"); }
  unsigned before_;
};

template <Rounding R, typename Operation>
inline double with_rounding(Operation operation, double a, double b = 0, double c = 0) {
  if constexpr (R == Rounding::kNearest) {
    return operation(a, b, c);
  } else {
    const RoundingScope<R> scope;
    __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c));
    double result = operation(a, b, c);
    __asm__ volatile("" : "+x"(result));
    return result;
  }
}

template <Rounding R = Rounding::kNearest>
inline double add(double a, double b) {
  return with_rounding<R>([](double x, double y, double) { return x + y; }, a, b);
}
template <Rounding R = Rounding::kNearest>
inline double sub(double a, double b) {
  return with_rounding<R>([](double x, double y, double) { return x - y; }, a, b);
}
template <Rounding R = Rounding::kNearest>
inline double mul(double a, double b) {
  return with_rounding<R>([](double x, double y, double) { return x * y; }, a, b);
}
template <Rounding R = Rounding::kNearest>
inline double fma(double a, double b, double c) {
  return with_rounding<R>([](double x, double y, double z) { return __builtin_fma(x, y, z); }, a, b,
                          c);
}
template <Rounding R = Rounding::kNearest>
inline double div(double a, double b) {
  return with_rounding<R>([](double x, double y, double) { return x / y; }, a, b);
}
template <Rounding R = Rounding::kNearest>
inline double rcp(double a) {
  return div<R>(1.0, a);
}
template <Rounding R = Rounding::kNearest>
inline double sqrt(double a) {
  // The intrinsic: __builtin_sqrt may call the library for negative arguments.
  return with_rounding<R>(
      [](double x, double, double) {
        const __m128d value = _mm_set_sd(x);
        return _mm_cvtsd_f64(_mm_sqrt_sd(value, value));
      },
      a);
}

// --- neg, abs, copysign, testp ---

inline float neg(float a) { return as_f32(bits_of(a) ^ 0x80000000); }
inline float abs(float a) { return as_f32(bits_of(a) & 0x7FFFFFFF); }
inline double neg(double a) { return as_f64(bits_of(a) ^ 0x8000000000000000); }
inline double abs(double a) { return as_f64(bits_of(a) & 0x7FFFFFFFFFFFFFFF); }
// copysign d, a, b: the magnitude of b with the sign of a.
inline float copysign(float a, float b) {
  return as_f32((bits_of(a) & 0x80000000) | (bits_of(b) & 0x7FFFFFFF));
}
inline double copysign(double a, double b) {
  return as_f64((bits_of(a) & 0x8000000000000000) | (bits_of(b) & 0x7FFFFFFFFFFFFFFF));
}

// Zero counts as normal.
enum class Property : uint8_t { kFinite, kInfinite, kNumber, kNotANumber, kNormal, kSubnormal };
inline bool testp(Property property, float a) {
  const uint32_t magnitude = bits_of(a) & 0x7FFFFFFF;
  switch (property) {
    case Property::kFinite:
      return magnitude < 0x7F800000;
    case Property::kInfinite:
      return magnitude == 0x7F800000;
    case Property::kNumber:
      return magnitude <= 0x7F800000;
    case Property::kNotANumber:
      return magnitude > 0x7F800000;
    case Property::kNormal:
      return magnitude == 0 || (magnitude >= 0x00800000 && magnitude < 0x7F800000);
    case Property::kSubnormal:
      return magnitude != 0 && magnitude < 0x00800000;
  }
  return false;
}
inline bool testp(Property property, double a) {
  constexpr uint64_t kInfinity = 0x7FF0000000000000, kFirst = 0x0010000000000000;
  const uint64_t magnitude = bits_of(a) & 0x7FFFFFFFFFFFFFFF;
  switch (property) {
    case Property::kFinite:
      return magnitude < kInfinity;
    case Property::kInfinite:
      return magnitude == kInfinity;
    case Property::kNumber:
      return magnitude <= kInfinity;
    case Property::kNotANumber:
      return magnitude > kInfinity;
    case Property::kNormal:
      return magnitude == 0 || (magnitude >= kFirst && magnitude < kInfinity);
    case Property::kSubnormal:
      return magnitude != 0 && magnitude < kFirst;
  }
  return false;
}

// --- min, max ---
// A number wins over NaN; with .NaN, NaN wins. -0 is less than +0.

enum class NanRule : uint8_t { kNumber, kNan };

template <NanRule N = NanRule::kNumber>
inline float min(float a, float b) {
  const float equal = as_f32(bits_of(a) | bits_of(b));  // -0 if either is
  const float less = a < b ? a : b < a ? b : equal;
  const float with_nan = a != a ? (b != b ? as_f32(kNanF32) : b) : a;
  const bool any = a != a || b != b;
  return any ? (N == NanRule::kNan ? as_f32(kNanF32) : with_nan) : less;
}
template <NanRule N = NanRule::kNumber>
inline float max(float a, float b) {
  const float equal = as_f32(bits_of(a) & bits_of(b));  // +0 if either is
  const float more = a > b ? a : b > a ? b : equal;
  const float with_nan = a != a ? (b != b ? as_f32(kNanF32) : b) : a;
  const bool any = a != a || b != b;
  return any ? (N == NanRule::kNan ? as_f32(kNanF32) : with_nan) : more;
}
// .xorsign.abs: of the magnitudes, with the exclusive or of the signs.
template <NanRule N = NanRule::kNumber>
inline float min_xorsign_abs(float a, float b) {
  return as_f32(bits_of(min<N>(abs(a), abs(b))) | ((bits_of(a) ^ bits_of(b)) & 0x80000000));
}
template <NanRule N = NanRule::kNumber>
inline float max_xorsign_abs(float a, float b) {
  return as_f32(bits_of(max<N>(abs(a), abs(b))) | ((bits_of(a) ^ bits_of(b)) & 0x80000000));
}
inline double min(double a, double b) {
  const double less = a < b ? a : b < a ? b : as_f64(bits_of(a) | bits_of(b));
  return a != a ? (b != b ? as_f64(kNanF64) : b) : b != b ? a : less;
}
inline double max(double a, double b) {
  const double more = a > b ? a : b > a ? b : as_f64(bits_of(a) & bits_of(b));
  return a != a ? (b != b ? as_f64(kNanF64) : b) : b != b ? a : more;
}

// --- Half precision and bfloat16: add, sub, mul, fma, min, max, neg, abs ---

inline uint16_t neg16(uint16_t a) { return a ^ 0x8000; }
inline uint16_t abs16(uint16_t a) { return a & 0x7FFF; }
inline uint16_t flush_f16(uint16_t a) { return (a & 0x7C00) == 0 ? a & 0x8000 : a; }
inline uint16_t saturate_f16(uint16_t a) {
  return f32_to_f16<Rounding::kNearest>(saturate(f16_to_f32(a)));
}
inline uint16_t saturate_bf16(uint16_t a) {
  return f32_to_bf16<Rounding::kNearest>(saturate(bf16_to_f32(a)));
}

// Sums and products of two fit into single precision so well that rounding twice is harmless
// (24 >= 2 * 11 + 2).
inline uint16_t add_f16(uint16_t a, uint16_t b) {
  return f32_to_f16<Rounding::kNearest>(f16_to_f32(a) + f16_to_f32(b));
}
inline uint16_t sub_f16(uint16_t a, uint16_t b) { return add_f16(a, neg16(b)); }
inline uint16_t mul_f16(uint16_t a, uint16_t b) {
  return f32_to_f16<Rounding::kNearest>(f16_to_f32(a) * f16_to_f32(b));
}
inline uint16_t add_bf16(uint16_t a, uint16_t b) {
  return f32_to_bf16<Rounding::kNearest>(bf16_to_f32(a) + bf16_to_f32(b));
}
inline uint16_t sub_bf16(uint16_t a, uint16_t b) { return add_bf16(a, neg16(b)); }
// Where a bfloat16 result is subnormal, single precision still holds the whole product: its last
// bit is 2^-148 or more.
inline uint16_t mul_bf16(uint16_t a, uint16_t b) {
  return f32_to_bf16<Rounding::kNearest>(bf16_to_f32(a) * bf16_to_f32(b));
}
// The product is exact in double; the sum goes through odd, so that only one rounding happens.
inline float fma_to_odd(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b);
  return narrow_to_odd(sum_to_odd(product, c));
}
inline uint16_t fma_f16(uint16_t a, uint16_t b, uint16_t c) {
  return f32_to_f16<Rounding::kNearest>(fma_to_odd(f16_to_f32(a), f16_to_f32(b), f16_to_f32(c)));
}
inline uint16_t fma_bf16(uint16_t a, uint16_t b, uint16_t c) {
  return f32_to_bf16<Rounding::kNearest>(
      fma_to_odd(bf16_to_f32(a), bf16_to_f32(b), bf16_to_f32(c)));
}

// Works on both formats: their order is that of sign and magnitude. `infinity` is 0x7C00 or 0x7F80.
template <NanRule N, bool kMaximum>
inline uint16_t select16(uint16_t a, uint16_t b, uint16_t infinity) {
  const bool nan_a = (a & 0x7FFF) > infinity, nan_b = (b & 0x7FFF) > infinity;
  const int rank_a = (a & 0x8000) != 0 ? -1 - (a & 0x7FFF) : a;
  const int rank_b = (b & 0x8000) != 0 ? -1 - (b & 0x7FFF) : b;
  const uint16_t chosen = (rank_a < rank_b) == kMaximum ? b : a;
  if (N == NanRule::kNan && (nan_a || nan_b)) return kNanF16;
  if (nan_a) return nan_b ? kNanF16 : b;
  return nan_b ? a : chosen;
}
template <NanRule N = NanRule::kNumber>
inline uint16_t min_f16(uint16_t a, uint16_t b) {
  return select16<N, false>(a, b, 0x7C00);
}
template <NanRule N = NanRule::kNumber>
inline uint16_t max_f16(uint16_t a, uint16_t b) {
  return select16<N, true>(a, b, 0x7C00);
}
template <NanRule N = NanRule::kNumber>
inline uint16_t min_bf16(uint16_t a, uint16_t b) {
  return select16<N, false>(a, b, 0x7F80);
}
template <NanRule N = NanRule::kNumber>
inline uint16_t max_bf16(uint16_t a, uint16_t b) {
  return select16<N, true>(a, b, 0x7F80);
}
// .xorsign.abs for both formats, given min_f16 and its kin. A NaN that both chose has no sign.
template <uint16_t (*kSelect)(uint16_t, uint16_t)>
inline uint16_t xorsign_abs16(uint16_t a, uint16_t b) {
  const uint16_t chosen = kSelect(abs16(a), abs16(b));
  return chosen == kNanF16 ? chosen : static_cast<uint16_t>(chosen | ((a ^ b) & 0x8000));
}

// Packed pairs: the same on both halves.
template <typename Operation>
inline uint32_t each_half(Operation operation, uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(
             operation(static_cast<uint16_t>(a >> 16), static_cast<uint16_t>(b >> 16)))
             << 16 |
         static_cast<uint32_t>(operation(static_cast<uint16_t>(a), static_cast<uint16_t>(b)));
}
template <typename Operation>
inline uint32_t each_half(Operation operation, uint32_t a, uint32_t b, uint32_t c) {
  return static_cast<uint32_t>(operation(static_cast<uint16_t>(a >> 16),
                                         static_cast<uint16_t>(b >> 16),
                                         static_cast<uint16_t>(c >> 16)))
             << 16 |
         static_cast<uint32_t>(operation(static_cast<uint16_t>(a), static_cast<uint16_t>(b),
                                         static_cast<uint16_t>(c)));
}

}  // namespace VGPU_MATH_VARIANT
}  // namespace vgpu::softgpu::math

// Models for the tests of the software GPU's arithmetic: the processor's own rounding modes, and a
// sorted list of every value of a small format.
#pragma once

#include <algorithm>
#include <array>
#include <cfenv>
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "softgpu/math/convert.h"

namespace {

using namespace vgpu::softgpu::math;
using R = Rounding;

struct Random {
  uint64_t state;
  uint64_t next() {
    state = state * 6364136223846793005 + 1442695040888963407;
    uint64_t x = state ^ (state >> 33);
    x *= 0xff51afd7ed558ccd;
    return x ^ (x >> 33);
  }
  // Bits of a float: often special, often close to another one.
  float number() {
    static constexpr uint32_t kSpecial[] = {
        0,          0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 1,          0x80000001,
        0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800000, 0xBF800000, 0x3F800001,
        0x4B800000, 0x33800000, 0x34000000, 0x7F800001, 0x477FE000, 0x477FF000};
    const uint64_t random = next();
    if (random % 8 == 0) return as_f32(kSpecial[(random >> 8) % std::size(kSpecial)]);
    if (random % 8 < 4) return as_f32(0x3F800000 + static_cast<int32_t>(random >> 36) % (1 << 26));
    return as_f32(static_cast<uint32_t>(random >> 32));
  }
  double wide() {
    const uint64_t random = next();
    if (random % 4 == 0) return number();
    if (random % 4 == 1) return 1.0 + static_cast<double>(random >> 40) * 0x1p-52;
    return as_f64(next());
  }
};

inline bool same(float a, float b) { return bits_of(a) == bits_of(b) || (a != a && b != b); }
inline bool same(double a, double b) { return bits_of(a) == bits_of(b) || (a != a && b != b); }

// Runs `operation` in the processor's own rounding mode.
template <R kMode, typename Operation>
auto in_mode(Operation operation) {
  constexpr int kFlags = kMode == R::kZero   ? FE_TOWARDZERO
                         : kMode == R::kDown ? FE_DOWNWARD
                         : kMode == R::kUp   ? FE_UPWARD
                                             : FE_TONEAREST;
  std::fesetround(kFlags);
  volatile auto result = operation();
  std::fesetround(FE_TONEAREST);
  return decltype(operation())(result);
}

// --- Small formats: the model is the list of all their values. ---

inline double small_value(const SmallFormat& format, uint32_t bits) {
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const int width = format.exponent_bits + format.mantissa_bits;
  const double sign = (bits >> width) & 1 ? -1 : 1;
  const uint32_t magnitude = bits & ((1u << width) - 1);
  const int exponent = static_cast<int>(magnitude >> format.mantissa_bits);
  const double mantissa = magnitude & ((1u << format.mantissa_bits) - 1);
  const double scale = std::ldexp(1.0, -format.mantissa_bits);
  if (format.has_infinity && magnitude == format.largest + 1) return sign * INFINITY;
  if (magnitude > format.largest) return NAN;
  if (exponent == 0) return sign * std::ldexp(mantissa * scale, 1 - bias);
  return sign * std::ldexp(1 + mantissa * scale, exponent - bias);
}

struct Model {
  SmallFormat format;
  std::vector<double> values;  // magnitudes by their bits, finite, then what comes after them

  explicit Model(const SmallFormat& f) : format(f) {
    for (uint32_t bits = 0; bits <= f.largest; ++bits) values.push_back(small_value(f, bits));
    const double last = values.back(), before = values[values.size() - 2];
    values.push_back(last + (last - before));  // where infinity stands for rounding
  }
  [[nodiscard]] uint32_t sign_bit() const {
    return 1u << (format.exponent_bits + format.mantissa_bits);
  }

  // Rounds |value| given exactly; `finite` saturates.
  [[nodiscard]] uint32_t encode(long double value, bool negative, R mode, bool finite) const {
    const uint32_t sign = negative ? sign_bit() : 0;
    if (value != value) return format.nan;
    const long double size = std::fabs(value);
    const uint32_t infinity = finite ? format.largest : format.largest + 1;
    if (std::isinf(size)) return sign | infinity;
    const bool up = (mode == R::kUp && !negative) || (mode == R::kDown && negative);
    if (size >= values.back()) {
      const bool grows = up || mode == R::kNearest || mode == R::kAway;
      return sign | (grows ? infinity : format.largest);
    }
    const auto above = std::upper_bound(values.begin(), values.end(), size);
    uint32_t low = static_cast<uint32_t>(above - values.begin()) - 1;
    const long double rest = size - values[low],
                      gap = static_cast<long double>(values[low + 1]) - values[low];
    bool grow = rest != 0 && up;
    if (mode == R::kNearest) grow = 2 * rest > gap || (2 * rest == gap && low % 2 == 1);
    if (mode == R::kAway) grow = 2 * rest >= gap;
    low += grow ? 1 : 0;
    return sign | (low > format.largest ? infinity : low);
  }
};

}  // namespace

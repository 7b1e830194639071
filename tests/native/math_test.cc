// The software GPU's arithmetic against independent models: the processor's own rounding modes, a
// sorted list of every value of a small format, and exact integer arithmetic.
#include <algorithm>
#include <array>
#include <cfenv>
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "softgpu/math/approximate.h"
#include "softgpu/math/arithmetic.h"
#include "softgpu/math/convert.h"
#include "softgpu/math/integer.h"

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

bool same(float a, float b) { return bits_of(a) == bits_of(b) || (a != a && b != b); }
bool same(double a, double b) { return bits_of(a) == bits_of(b) || (a != a && b != b); }

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

template <R kMode>
void check_single() {
  Random random{1};
  int bad = 0;
  for (int i = 0; i < 400000; ++i) {
    volatile float a = random.number(), b = random.number(), c = random.number();
    if (i % 4 == 0) b = as_f32(bits_of(float(a)) ^ 0x80000000 ^ (i % 16 == 0 ? 1 : 0));
    bad += !same(add<kMode>(a, b), in_mode<kMode>([&] { return float(a + b); }));
    bad += !same(sub<kMode>(a, b), in_mode<kMode>([&] { return float(a - b); }));
    bad += !same(mul<kMode>(a, b), in_mode<kMode>([&] { return float(a * b); }));
    bad += !same(div<kMode>(a, b), in_mode<kMode>([&] { return float(a / b); }));
    bad += !same(sqrt<kMode>(float(a)), in_mode<kMode>([&] { return std::sqrt(float(a)); }));
    bad += !same(vgpu::softgpu::math::fma<kMode>(float(a), float(b), float(c)),
                 in_mode<kMode>([&] { return std::fma(float(a), float(b), float(c)); }));
    volatile double wide = random.wide();
    bad += !same(narrow<kMode>(wide), in_mode<kMode>([&] { return static_cast<float>(wide); }));
  }
  CHECK_EQ(bad, 0);
}

TEST(single_precision_in_every_mode) {
  check_single<R::kNearest>();
  check_single<R::kZero>();
  check_single<R::kDown>();
  check_single<R::kUp>();
}

template <R kMode>
void check_double() {
  Random random{2};
  int bad = 0;
  for (int i = 0; i < 100000; ++i) {
    volatile double a = random.wide(), b = random.wide(), c = random.wide();
    bad += !same(add<kMode>(double(a), double(b)), in_mode<kMode>([&] { return double(a + b); }));
    bad += !same(mul<kMode>(double(a), double(b)), in_mode<kMode>([&] { return double(a * b); }));
    bad += !same(div<kMode>(double(a), double(b)), in_mode<kMode>([&] { return double(a / b); }));
    bad += !same(sqrt<kMode>(double(a)), in_mode<kMode>([&] { return std::sqrt(double(a)); }));
    bad += !same(vgpu::softgpu::math::fma<kMode>(double(a), double(b), double(c)),
                 in_mode<kMode>([&] { return std::fma(double(a), double(b), double(c)); }));
    CHECK(std::fegetround() == FE_TONEAREST);
  }
  CHECK_EQ(bad, 0);
}

TEST(double_precision_in_every_mode) {
  check_double<R::kNearest>();
  check_double<R::kZero>();
  check_double<R::kDown>();
  check_double<R::kUp>();
}

// --- Small formats: the model is the list of all their values. ---

double small_value(const SmallFormat& format, uint32_t bits) {
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

template <SmallFormat F, R kMode, Overflow O>
void check_encoding(const Model& model) {
  Random random{3};
  int bad = 0;
  const auto one = [&](float value) {
    const uint32_t expected =
        model.encode(value, is_negative(value), kMode, O == Overflow::kFinite);
    const uint32_t got = encode<F, kMode, O>(value);
    if (got != expected && ++bad < 5) {
      std::fprintf(stderr, "%a: %x, not %x\n", static_cast<double>(value), got, expected);
    }
  };
  for (int i = 0; i < 100000; ++i) one(random.number());
  // Around every value and every midpoint.
  const uint32_t last = std::min<uint32_t>(F.largest, 0x8000);
  for (uint32_t i = 0; i <= last; ++i) {
    const uint32_t bits = F.largest > last ? static_cast<uint32_t>(random.next() % F.largest) : i;
    const double low = model.values[bits], middle = (low + model.values[bits + 1]) / 2;
    for (const double centre : {low, middle}) {
      const auto near = static_cast<float>(centre);
      for (const float value : {near, std::nextafterf(near, INFINITY), std::nextafterf(near, -1)}) {
        one(value);
        one(-value);
      }
    }
  }
  CHECK_EQ(bad, 0);
}

template <SmallFormat F>
void check_format() {
  const Model model(F);
  check_encoding<F, R::kNearest, Overflow::kFinite>(model);
  if constexpr (F.has_infinity) {
    check_encoding<F, R::kNearest, Overflow::kByRounding>(model);
    check_encoding<F, R::kZero, Overflow::kByRounding>(model);
    check_encoding<F, R::kDown, Overflow::kByRounding>(model);
    check_encoding<F, R::kUp, Overflow::kByRounding>(model);
    check_encoding<F, R::kAway, Overflow::kByRounding>(model);
    check_encoding<F, R::kZero, Overflow::kFinite>(model);
  }
}

TEST(encoding_of_small_formats) {
  check_format<kF16>();
  check_format<kBf16>();
  check_format<kTf32>();
  check_format<kE4m3>();
  check_format<kE5m2>();
}

TEST(decoding_of_small_formats) {
  int bad = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    bad += !same(f16_to_f32(half), static_cast<float>(small_value(kF16, bits)));
    bad += !same(bf16_to_f32(half), static_cast<float>(small_value(kBf16, bits)));
    if (!is_nan(f16_to_f32(half))) bad += f32_to_f16<R::kNearest>(f16_to_f32(half)) != half;
  }
  for (uint32_t bits = 0; bits < 256; ++bits) {
    const auto byte = static_cast<uint8_t>(bits);
    bad += !same(e4m3_to_f32(byte), static_cast<float>(small_value(kE4m3, bits)));
    bad += !same(e5m2_to_f32(byte), static_cast<float>(small_value(kE5m2, bits)));
    bad += !same(f16_to_f32(e4m3_to_f16(byte)), e4m3_to_f32(byte));
    if (!is_nan(e4m3_to_f32(byte))) bad += f32_to_e4m3(e4m3_to_f32(byte)) != byte;
  }
  CHECK_EQ(bad, 0);
  CHECK_EQ(f32_to_e5m2(INFINITY), 0x7B);
  CHECK_EQ(f32_to_e4m3(-INFINITY), 0xFE);
  CHECK_EQ(f32_to_e4m3(NAN), 0x7F);
  CHECK_EQ(bits_of(f32_to_tf32<R::kAway>(as_f32(0x3F801000))), 0x3F802000u);
  CHECK_EQ(bits_of(f32_to_tf32<R::kNearest>(NAN)), 0x7FFFFFFFu);
}

TEST(double_to_half_rounds_once) {
  const Model half(kF16), brain(kBf16);
  Random random{4};
  int bad = 0;
  for (int i = 0; i < 200000; ++i) {
    // Just beside midpoints, where a first rounding to single precision would decide wrongly.
    const double low = half.values[random.next() % kF16.largest];
    double value = low * (1 + 0x1p-11) + (i % 3 - 1) * 0x1p-40 * low;
    if (i % 2) value = -value;
    if (i % 5 == 0) value = random.wide();
    const bool negative = is_negative(value);
    bad += f64_to_f16<R::kNearest>(value) != half.encode(value, negative, R::kNearest, false);
    bad += f64_to_f16<R::kUp>(value) != half.encode(value, negative, R::kUp, false);
    bad += f64_to_f16<R::kDown>(value) != half.encode(value, negative, R::kDown, false);
    bad += f64_to_f16<R::kZero>(value) != half.encode(value, negative, R::kZero, false);
    bad += f64_to_bf16<R::kNearest>(value) != brain.encode(value, negative, R::kNearest, false);
  }
  CHECK_EQ(bad, 0);
}

// Rounds `sum` * 2^-48 to half precision, exactly.
uint16_t fixed_to_half(__int128 sum, bool negative_zero) {
  static const Model model(kF16);
  if (sum == 0) return negative_zero ? 0x8000 : 0;
  const bool negative = sum < 0;
  unsigned __int128 size = negative ? -static_cast<unsigned __int128>(sum) : sum;
  // Halves are multiples of 2^24 in this scale and end below 2^64; keep a sticky bit far below.
  if (size >= static_cast<unsigned __int128>(1) << 66) return negative ? 0xFC00 : 0x7C00;
  uint64_t kept = 0;
  int scale = -48;
  while (size >> 62) {
    size = (size >> 1) | (size & 1);
    ++scale;
  }
  kept = static_cast<uint64_t>(size);
  const long double value = std::ldexp(static_cast<long double>(kept), scale);
  return static_cast<uint16_t>(model.encode(value, negative, R::kNearest, false));
}

TEST(half_arithmetic_is_rounded_once) {
  Random random{5};
  int bad = 0;
  for (int i = 0; i < 1000000; ++i) {
    const uint64_t bits = random.next();
    uint16_t a = static_cast<uint16_t>(bits), b = static_cast<uint16_t>(bits >> 16),
             c = static_cast<uint16_t>(bits >> 32);
    if ((a & 0x7C00) == 0x7C00 || (b & 0x7C00) == 0x7C00 || (c & 0x7C00) == 0x7C00) continue;
    const auto fixed = [](uint16_t h) {
      return static_cast<__int128>(std::ldexp(small_value(kF16, h), 24));
    };
    const __int128 product = fixed(a) * fixed(b);
    const bool product_negative = ((a ^ b) & 0x8000) != 0;
    const bool both = (a & 0x8000) != 0 && (b & 0x8000) != 0;
    bad += mul_f16(a, b) != fixed_to_half(product, product_negative);
    bad += add_f16(a, b) != fixed_to_half((fixed(a) + fixed(b)) << 24, both);
    bad += fma_f16(a, b, c) !=
           fixed_to_half(product + (fixed(c) << 24), product_negative && (c & 0x8000) != 0);
  }
  CHECK_EQ(bad, 0);
}

TEST(bfloat_arithmetic_is_rounded_once) {
  const Model model(kBf16);
  Random random{6};
  int bad = 0;
  for (int i = 0; i < 300000; ++i) {
    const uint64_t bits = random.next();
    // Exponents near each other, so that long double holds every result exactly.
    const auto number = [&](int at) {
      return static_cast<uint16_t>(((bits >> at) & 0x8000) | (0x3C00 + ((bits >> at) & 0x7FF)));
    };
    const uint16_t a = number(0), b = number(16), c = number(32);
    const long double x = bf16_to_f32(a), y = bf16_to_f32(b), z = bf16_to_f32(c);
    const auto expected = [&](long double value) {
      return model.encode(value, std::signbit(value), R::kNearest, false);
    };
    bad += add_bf16(a, b) != expected(x + y);
    bad += mul_bf16(a, b) != expected(x * y);
    bad += fma_bf16(a, b, c) != expected(x * y + z);
  }
  CHECK_EQ(bad, 0);
  // 1.5 * (1 + 2^-7) = 1.51171875, a midpoint; a far smaller addend decides.
  CHECK_EQ(fma_bf16(0x3FC0, 0x3F81, 0x0080), 0x3FC2);
  CHECK_EQ(fma_bf16(0x3FC0, 0x3F81, 0x8080), 0x3FC1);
}

TEST(minimum_and_maximum) {
  const float nan = NAN;
  CHECK_EQ(min(1.0f, nan), 1.0f);
  CHECK_EQ(max(nan, -1.0f), -1.0f);
  CHECK_EQ(bits_of(min(nan, nan)), kNanF32);
  CHECK_EQ(bits_of(min<NanRule::kNan>(1.0f, nan)), kNanF32);
  CHECK_EQ(bits_of(min(0.0f, -0.0f)), 0x80000000u);
  CHECK_EQ(bits_of(max(-0.0f, 0.0f)), 0u);
  CHECK_EQ(min_xorsign_abs(-1.0f, 2.0f), -1.0f);
  CHECK_EQ(max_xorsign_abs(-1.0f, -2.0f), 2.0f);
  CHECK_EQ(min(1.0, static_cast<double>(nan)), 1.0);
  CHECK_EQ(bits_of(max(-0.0, 0.0)), 0u);
  CHECK_EQ(min_f16(0x0000, 0x8000), 0x8000);
  CHECK_EQ(max_f16(0x8000, 0x0000), 0x0000);
  CHECK_EQ(max_f16(0x3C00, 0x7E00), 0x3C00);
  CHECK_EQ(max_f16<NanRule::kNan>(0x3C00, 0x7E00), 0x7FFF);
  CHECK_EQ((xorsign_abs16<max_f16<NanRule::kNumber>>(0x3C00, 0xC000)), 0xC000);
  int bad = 0;
  Random random{7};
  for (int i = 0; i < 200000; ++i) {
    const auto a = static_cast<uint16_t>(random.next()), b = static_cast<uint16_t>(random.next());
    bad += max_f16(a, b) != f32_to_f16<R::kNearest>(max(f16_to_f32(a), f16_to_f32(b))) &&
           !is_nan(f16_to_f32(a)) && !is_nan(f16_to_f32(b));
    bad += min_bf16(a, b) != f32_to_bf16<R::kNearest>(min(bf16_to_f32(a), bf16_to_f32(b))) &&
           !is_nan(bf16_to_f32(a)) && !is_nan(bf16_to_f32(b));
  }
  CHECK_EQ(bad, 0);
}

TEST(modifiers) {
  CHECK_EQ(bits_of(flush(as_f32(0x807FFFFF))), 0x80000000u);
  CHECK_EQ(bits_of(flush(as_f32(0x00800000))), 0x00800000u);
  CHECK_EQ(saturate(NAN), 0.0f);
  CHECK_EQ(saturate(2.0f), 1.0f);
  CHECK_EQ(bits_of(saturate(-0.0f)), 0u);
  CHECK_EQ(bits_of(relu(NAN)), kNanF32);
  CHECK_EQ(bits_of(relu(-3.0f)), 0u);
  CHECK_EQ(relu_f16(0xBC00), 0);
  CHECK_EQ(relu_bf16(0x7F81), 0x7FFF);
  CHECK_EQ(saturate_f16(0x4000), 0x3C00);
  CHECK_EQ(copysign(-1.0f, 2.0f), -2.0f);
  CHECK(testp(Property::kNormal, 0.0f) && !testp(Property::kSubnormal, 0.0f));
  CHECK(testp(Property::kSubnormal, as_f32(1)) && testp(Property::kSubnormal, as_f64(1)));
  CHECK(testp(Property::kInfinite, -INFINITY) && testp(Property::kNotANumber, NAN));
  CHECK_EQ(f32_to_f16x2<R::kNearest>(1.0f, 2.0f), 0x3C004000u);
  CHECK_EQ(e4m3x2_to_f16x2(0x3840), 0x3C004000u);
}

template <typename Int, R kMode, typename Float>
void check_to_integer(uint64_t seed) {
  Random random{seed};
  int bad = 0;
  constexpr bool kWide = sizeof(Float) == 8 || sizeof(Int) == 8;
  using Limits = std::numeric_limits<Int>;
  for (int i = 0; i < 20000; ++i) {
    Float value = static_cast<Float>(i % 2 ? random.number() : random.wide());
    if (i % 3 == 0)
      value = static_cast<Float>(static_cast<int64_t>(random.next()) >> (random.next() % 64)) / 4;
    if (i % 101 == 0) value = static_cast<Float>(Limits::max());
    if (i % 103 == 0) value = static_cast<Float>(Limits::min());
    const long double whole =
        in_mode<kMode>([&] { return std::rint(static_cast<long double>(value)); });
    Int expected;
    if (value != value) {
      expected = kWide ? static_cast<Int>(uint64_t{1} << (8 * sizeof(Int) - 1)) : Int{0};
    } else if (whole >= static_cast<long double>(Limits::max())) {
      expected = Limits::max();
    } else if (whole <= static_cast<long double>(Limits::min())) {
      expected = Limits::min();
    } else {
      expected = static_cast<Int>(whole);
    }
    bad += to_integer<Int, kMode>(value) != expected;
  }
  CHECK_EQ(bad, 0);
}
template <typename Int>
void check_integer_type() {
  check_to_integer<Int, R::kNearest, float>(10);
  check_to_integer<Int, R::kZero, float>(11);
  check_to_integer<Int, R::kDown, float>(12);
  check_to_integer<Int, R::kUp, float>(13);
  check_to_integer<Int, R::kNearest, double>(14);
  check_to_integer<Int, R::kZero, double>(15);
  check_to_integer<Int, R::kDown, double>(16);
  check_to_integer<Int, R::kUp, double>(17);
}

TEST(floating_point_to_integer) {
  check_integer_type<int8_t>();
  check_integer_type<uint8_t>();
  check_integer_type<int16_t>();
  check_integer_type<uint16_t>();
  check_integer_type<int32_t>();
  check_integer_type<uint32_t>();
  check_integer_type<int64_t>();
  check_integer_type<uint64_t>();
}

template <typename Int, R kMode>
void check_from_integer() {
  const Model half(kF16), brain(kBf16);
  Random random{20};
  int bad = 0;
  for (int i = 0; i < 100000; ++i) {
    auto value = static_cast<Int>(static_cast<int64_t>(random.next()) >> (random.next() % 64));
    if (i % 7 == 0)
      value = static_cast<Int>((Int{1} << (random.next() % (8 * sizeof(Int)))) - 1 + i % 3);
    const auto exact = static_cast<long double>(value);  // 64 bits of mantissa
    bad += !same(integer_to_f32<kMode>(value),
                 in_mode<kMode>([&] { return static_cast<float>(exact); }));
    bad += !same(integer_to_f64<kMode>(value),
                 in_mode<kMode>([&] { return static_cast<double>(exact); }));
    bad += integer_to_f16<kMode>(value) != half.encode(exact, value < 0, kMode, false);
    bad += integer_to_bf16<kMode>(value) != brain.encode(exact, value < 0, kMode, false);
  }
  CHECK_EQ(bad, 0);
}
template <typename Int>
void check_from_integer_modes() {
  check_from_integer<Int, R::kNearest>();
  check_from_integer<Int, R::kZero>();
  check_from_integer<Int, R::kDown>();
  check_from_integer<Int, R::kUp>();
}

TEST(integer_to_floating_point) {
  check_from_integer_modes<int8_t>();
  check_from_integer_modes<uint16_t>();
  check_from_integer_modes<int32_t>();
  check_from_integer_modes<uint32_t>();
  check_from_integer_modes<int64_t>();
  check_from_integer_modes<uint64_t>();
}

TEST(integer_saturation) {
  CHECK_EQ((saturate_integer<int8_t>(int32_t{200})), 127);
  CHECK_EQ((saturate_integer<uint8_t>(int32_t{-1})), 0);
  CHECK_EQ((saturate_integer<int32_t>(uint64_t{1} << 40)), INT32_MAX);
  CHECK_EQ((saturate_integer<uint64_t>(int64_t{-5})), 0u);
  CHECK_EQ((saturate_integer<int64_t>(UINT64_MAX)), INT64_MAX);
  CHECK_EQ((saturate_integer<int16_t>(int64_t{-70000})), INT16_MIN);
}

// The documented bounds (PTX ISA 9.7.3), against long double.
template <typename Approximate, typename Exact>
double worst_error(Approximate approximate, Exact exact, float from, float to, bool relative) {
  double worst = 0;
  for (int i = 0; i <= 200000; ++i) {
    const float x = from + (to - from) * (static_cast<float>(i) / 200000);
    const long double expected = exact(static_cast<long double>(x));
    const long double error = std::fabs(approximate(x) - expected);
    const long double scaled = relative ? error / std::fabs(expected) : error;
    if (scaled > worst) worst = static_cast<double>(scaled);
  }
  return worst;
}

TEST(approximations_keep_their_bounds) {
  const auto l2 = [](long double x) { return std::log2(x); };
  const auto e2 = [](long double x) { return std::exp2(x); };
  const auto sine = [](long double x) { return std::sin(x); };
  const auto cosine = [](long double x) { return std::cos(x); };
  const auto tangent = [](long double x) { return std::tanh(x); };
  const auto root = [](long double x) { return 1 / std::sqrt(x); };
  CHECK(worst_error(ex2_approx, e2, -126, 127.9f, true) < 0x1p-23);
  CHECK(worst_error(lg2_approx, l2, 0.5f, 2.0f, false) < 0x1p-22);
  CHECK(worst_error(lg2_approx, l2, 2.0f, 1e30f, true) < 0x1p-22);
  CHECK(worst_error(lg2_approx, l2, 1e-44f, 1e-38f, true) < 0x1p-22);
  CHECK(worst_error(sin_approx, sine, -3.1415927f, 3.1415927f, false) < 0x1p-22);
  CHECK(worst_error(cos_approx, cosine, -3.1415927f, 3.1415927f, false) < 0x1p-22);
  CHECK(worst_error(sin_approx, sine, -100000, 100000, false) < 0x1p-21);
  CHECK(worst_error(tanh_approx, tangent, 1e-6f, 12, true) < 0x1p-11);
  CHECK(worst_error(tanh_approx, tangent, 1e-6f, 0.1f, true) < 0x1p-20);
  CHECK(worst_error(rsqrt_approx, root, 1e-38f, 1e-30f, true) < 1.27e-7);
  CHECK(worst_error(rsqrt_approx, root, 0.5f, 1e10f, true) < 1.27e-7);
}

TEST(approximations_of_special_values) {
  const float infinity = INFINITY;
  CHECK_EQ(ex2_approx(-infinity), 0.0f);
  CHECK_EQ(ex2_approx(infinity), infinity);
  CHECK_EQ(ex2_approx(-0.0f), 1.0f);
  CHECK_EQ(ex2_approx(-149.0f), as_f32(1));
  CHECK(is_nan(ex2_approx(NAN)));
  CHECK_EQ(lg2_approx(0.0f), -infinity);
  CHECK_EQ(lg2_approx(-0.0f), -infinity);
  CHECK_EQ(lg2_approx(infinity), infinity);
  CHECK_EQ(lg2_approx(8.0f), 3.0f);
  CHECK_EQ(bits_of(lg2_approx(1.0f)), 0u);
  CHECK(is_nan(lg2_approx(-1.0f)) && is_nan(lg2_approx(NAN)));
  CHECK(is_nan(sin_approx(infinity)) && is_nan(cos_approx(-infinity)) && is_nan(sin_approx(NAN)));
  CHECK_EQ(bits_of(sin_approx(-0.0f)), 0x80000000u);
  CHECK_EQ(cos_approx(0.0f), 1.0f);
  CHECK(std::fabs(sin_approx(3e38f)) <= 1.0f);
  CHECK_EQ(tanh_approx(infinity), 1.0f);
  CHECK_EQ(tanh_approx(-infinity), -1.0f);
  CHECK_EQ(bits_of(tanh_approx(-0.0f)), 0x80000000u);
  CHECK(is_nan(tanh_approx(NAN)));
  CHECK_EQ(rcp_approx(-0.0f), -infinity);
  CHECK_EQ(bits_of(rcp_approx(-infinity)), 0x80000000u);
  CHECK_EQ(rsqrt_approx(-0.0f), -infinity);
  CHECK_EQ(rsqrt_approx(infinity), 0.0f);
  CHECK(is_nan(rsqrt_approx(-1.0f)));
  CHECK_EQ(bits_of(div_approx(-1.0f, 0x1p127f)), 0x80000000u);
  CHECK(is_nan(div_approx(infinity, 0x1p127f)));
  CHECK_EQ(div_approx(infinity, 0x1p126f), infinity);
  CHECK_EQ(div_full(1.0f, 3.0f), 1.0f / 3.0f);
  CHECK_EQ(rcp_approx_ftz(3.0), as_f64(bits_of(1.0 / 3.0) & 0xFFFFFFFF00000000));
  CHECK_EQ(rcp_approx_ftz(0.0), static_cast<double>(infinity));
  CHECK_EQ(rsqrt_approx_ftz(4.0), 0.5);
  CHECK_EQ(ex2_f16(0x3C00), 0x4000);
  CHECK_EQ(tanh_bf16(0x7F80), 0x3F80);
}

// --- Integers, against the pseudo code of the ISA, bit by bit. ---

template <typename T>
T slow_bfe(T a, uint32_t b, uint32_t c) {
  const int top = 8 * sizeof(T) - 1, at = b & 0xFF, count = c & 0xFF;
  const auto bit = [&](int i) { return (static_cast<std::make_unsigned_t<T>>(a) >> i) & 1; };
  const bool sign = std::is_signed_v<T> && count != 0 && bit(std::min(at + count - 1, top)) != 0;
  std::make_unsigned_t<T> d = 0;
  for (int i = 0; i <= top; ++i) {
    const bool set = i < count && at + i <= top ? bit(at + i) != 0 : sign;
    d |= static_cast<std::make_unsigned_t<T>>(set) << i;
  }
  return static_cast<T>(d);
}
template <typename T>
T slow_bfi(T a, T b, uint32_t c, uint32_t d) {
  const int top = 8 * sizeof(T) - 1, at = c & 0xFF, count = d & 0xFF;
  T f = b;
  for (int i = 0; i < count && at + i <= top; ++i) {
    f = (f & ~(T{1} << (at + i))) | (((a >> i) & 1) << (at + i));
  }
  return f;
}

TEST(bit_fields) {
  Random random{30};
  int bad = 0;
  for (int i = 0; i < 200000; ++i) {
    const uint64_t a = random.next(), b = random.next();
    const auto at = static_cast<uint32_t>(random.next() % (i % 2 ? 70 : 300));
    const auto count = static_cast<uint32_t>(random.next() % (i % 2 ? 70 : 300));
    bad += bfe<uint32_t>(static_cast<uint32_t>(a), at, count) !=
           slow_bfe<uint32_t>(static_cast<uint32_t>(a), at, count);
    bad += bfe<int32_t>(static_cast<int32_t>(a), at, count) !=
           slow_bfe<int32_t>(static_cast<int32_t>(a), at, count);
    bad += bfe<uint64_t>(a, at, count) != slow_bfe<uint64_t>(a, at, count);
    bad += bfe<int64_t>(static_cast<int64_t>(a), at, count) !=
           slow_bfe<int64_t>(static_cast<int64_t>(a), at, count);
    bad += bfi<uint32_t>(static_cast<uint32_t>(a), static_cast<uint32_t>(b), at, count) !=
           slow_bfi<uint32_t>(static_cast<uint32_t>(a), static_cast<uint32_t>(b), at, count);
    bad += bfi<uint64_t>(a, b, at, count) != slow_bfi<uint64_t>(a, b, at, count);
  }
  CHECK_EQ(bad, 0);
}

TEST(bit_searches) {
  CHECK_EQ(brev(0x00000001u), 0x80000000u);
  CHECK_EQ(brev(uint64_t{0x12}), 0x4800000000000000u);
  CHECK_EQ(clz(0u), 32u);
  CHECK_EQ(clz(uint64_t{1}), 63u);
  CHECK_EQ(popc(uint64_t{0xF0F0}), 8u);
  CHECK_EQ(bfind<false>(uint32_t{0x80000000}), 31u);
  CHECK_EQ(bfind<false>(int32_t{-1}), 0xFFFFFFFFu);
  CHECK_EQ(bfind<false>(int32_t{-2}), 0u);
  CHECK_EQ(bfind<true>(uint32_t{1}), 31u);
  CHECK_EQ(bfind<true>(uint64_t{0}), 0xFFFFFFFFu);
  CHECK_EQ(bfind<false>(int64_t{1} << 40), 40u);
  CHECK_EQ(fns(0xaaaaaaaa, 0, 1), 1u);
  CHECK_EQ(fns(0xaaaaaaaa, 3, -2), 1u);
  CHECK_EQ(fns(0xaaaaaaaa, 3, 0), 3u);
  CHECK_EQ(fns(0xaaaaaaaa, 2, 0), 0xFFFFFFFFu);
  CHECK_EQ(fns(0xaaaaaaaa, 31, 2), 0xFFFFFFFFu);
  CHECK_EQ((bmsk<false>(4, 8)), 0xFF0u);
  CHECK_EQ((bmsk<false>(4, 100)), 0xFFFFFFF0u);
  CHECK_EQ((bmsk<false>(32, 1)), 0u);
  CHECK_EQ((bmsk<true>(36, 40)), 0xFF0u);
  CHECK_EQ((szext<false>(int32_t{0xFF}, 8)), -1);
  CHECK_EQ((szext<false>(uint32_t{0x1FF}, 8)), 0xFFu);
  CHECK_EQ((szext<false>(int32_t{5}, 0)), 0);
  CHECK_EQ((szext<true>(int32_t{0xFF}, 40)), -1);
}

TEST(shifts_clamp) {
  CHECK_EQ(shl(1u, 31), 0x80000000u);
  CHECK_EQ(shl(1u, 32), 0u);
  CHECK_EQ(shl(uint16_t{1}, 16), 0);
  CHECK_EQ(shr(0x80000000u, 40), 0u);
  CHECK_EQ(shr(int32_t{-5}, 40), -1);
  CHECK_EQ(shr(int16_t{-32768}, 15), -1);
  CHECK_EQ(shr(uint64_t{1} << 63, 63), 1u);
  CHECK_EQ((shf_l<false>(0x80000000, 1, 1)), 3u);
  CHECK_EQ((shf_l<false>(5, 1, 99)), 5u);
  CHECK_EQ((shf_l<true>(5, 1, 32)), 1u);
  CHECK_EQ((shf_r<false>(5, 1, 99)), 1u);
  CHECK_EQ((shf_r<true>(6, 1, 33)), 0x80000003u);
}

TEST(lop3_and_prmt) {
  CHECK_EQ(lop3(0xFF00FF00, 0xF0F0F0F0, 0xCCCCCCCC, 0x80), 0xFF00FF00 & 0xF0F0F0F0 & 0xCCCCCCCC);
  CHECK_EQ(lop3(0xFF00FF00, 0xF0F0F0F0, 0xCCCCCCCC, 0x96), 0xFF00FF00 ^ 0xF0F0F0F0 ^ 0xCCCCCCCC);
  CHECK_EQ(lop3(0x12345678, 0x9ABCDEF0, 0x0F0F0F0F, 0xE2),
           (0x12345678u & 0x9ABCDEF0u) | (~0x9ABCDEF0u & 0x0F0F0F0Fu));
  const uint32_t a = 0x33221100, b = 0x77665584;
  CHECK_EQ(prmt(a, b, 0x3210), a);
  CHECK_EQ(prmt(a, b, 0x7654), b);
  CHECK_EQ(prmt(a, b, 0xC4C0), 0xFF84FF00);
  CHECK_EQ(prmt(Permute::kForward4, a, b, 1), 0x84332211u);
  CHECK_EQ(prmt(Permute::kBackward4, a, b, 0), 0x55667700u);
  CHECK_EQ(prmt(Permute::kReplicate8, a, b, 2), 0x22222222u);
  CHECK_EQ(prmt(Permute::kEdgeLeft, a, b, 2), 0x33222222u);
  CHECK_EQ(prmt(Permute::kEdgeRight, a, b, 1), 0x11111100u);
  CHECK_EQ(prmt(Permute::kReplicate16, a, b, 1), 0x33223322u);
}

TEST(integer_multiplication) {
  CHECK_EQ(mul_hi(INT64_MIN, int64_t{2}), -1);
  CHECK_EQ(mul_hi(UINT64_MAX, UINT64_MAX), UINT64_MAX - 1);
  CHECK_EQ(mul_hi(int32_t{-1}, int32_t{1}), -1);
  CHECK_EQ(mul_hi(uint16_t{0xFFFF}, uint16_t{0xFFFF}), 0xFFFE);
  CHECK_EQ(mul_lo(INT32_MIN, int32_t{-1}), INT32_MIN);
  CHECK_EQ(mul24_lo(int32_t{0xFFFFFF}, int32_t{2}), -2);
  CHECK_EQ(mul24_lo(0x1FFFFFFu, 2u), 0x1FFFFFEu);
  CHECK_EQ(mul24_hi(0xFFFFFFu, 0xFFFFFFu), 0xFFFFFE00u);
  CHECK_EQ(mad24_hi_sat(0x7FFFFF, 0x7FFFFF, INT32_MAX), INT32_MAX);
  CHECK_EQ(add_sat(INT32_MAX, 1), INT32_MAX);
  CHECK_EQ(sub_sat(INT32_MIN, 1), INT32_MIN);
  CHECK_EQ(sad(int32_t{-5}, int32_t{7}, int32_t{1}), 13);
  CHECK_EQ(sad(3u, 5u, 10u), 12u);
  CHECK_EQ(div_integer(7, 0), -1);
  CHECK_EQ(div_integer(INT32_MIN, -1), INT32_MIN);
  CHECK_EQ(rem_integer(INT64_MIN, int64_t{-1}), 0);
  CHECK_EQ(rem_integer(7u, 0u), 7u);
  CHECK_EQ((dp4a<int8_t, int8_t>(0xFF02807F, 0x01020304, 10)), 10u + 508 - 384 + 4 - 1);
  CHECK_EQ((dp4a<uint8_t, int8_t>(0xFF000000, 0xFF000000, 0)), static_cast<uint32_t>(-255));
  CHECK_EQ((dp2a<int16_t, uint8_t, false>(0xFFFF0002, 0x00000305, 1)), 1u + 10 - 3);
  CHECK_EQ((dp2a<uint16_t, int8_t, true>(0x00010002, 0xFF030000, 0)), 5u);
}

TEST(carry_chains) {
  Random random{40};
  int bad = 0;
  using Wide = unsigned __int128;
  for (int i = 0; i < 100000; ++i) {
    const Wide a = static_cast<Wide>(random.next()) << 64 | random.next();
    const Wide b =
        i % 3 == 0 ? ~a + (i % 2) : static_cast<Wide>(random.next()) << 64 | random.next();
    const auto low = add_carry(static_cast<uint64_t>(a), static_cast<uint64_t>(b), false);
    const auto high =
        add_carry(static_cast<uint64_t>(a >> 64), static_cast<uint64_t>(b >> 64), low.carry);
    bad += (static_cast<Wide>(high.value) << 64 | low.value) != a + b;
    bad += high.carry != (a + b < a);
    const auto low_sub = sub_borrow(static_cast<uint64_t>(a), static_cast<uint64_t>(b), false);
    const auto high_sub =
        sub_borrow(static_cast<uint64_t>(a >> 64), static_cast<uint64_t>(b >> 64), low_sub.carry);
    bad += (static_cast<Wide>(high_sub.value) << 64 | low_sub.value) != a - b;
    bad += high_sub.carry != (a < b);
  }
  CHECK_EQ(bad, 0);
}

}  // namespace

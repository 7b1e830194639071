// The software GPU's floating point instructions against independent models: the processor's own
// rounding modes, exact integer arithmetic, and long double for the approximations.
#include "math_model.h"
#include "softgpu/math/approximate.h"
#include "softgpu/math/arithmetic.h"

namespace {

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

}  // namespace

// The software GPU's conversions against the list of every value of a format, and long double.
#include "math_model.h"

namespace {

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
  check_format<kE2m1>();
  check_format<kE2m3>();
  check_format<kE3m2>();
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
      value = static_cast<Int>((uint64_t{1} << (random.next() % (8 * sizeof(Int)))) - 1 + i % 3);
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

}  // namespace

// The software GPU's integer instructions, against the pseudo code of the PTX ISA, bit by bit.
#include <algorithm>

#include "check.h"
#include "softgpu/math/integer.h"

namespace {

using namespace vgpu::softgpu::math;

struct Random {
  uint64_t state;
  uint64_t next() {
    state = state * 6364136223846793005 + 1442695040888963407;
    uint64_t x = state ^ (state >> 33);
    x *= 0xff51afd7ed558ccd;
    return x ^ (x >> 33);
  }
};

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

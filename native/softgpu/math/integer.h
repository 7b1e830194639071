// Integer, logic and bit instructions (PTX ISA 9.7.1, 9.7.2, 9.7.8, 9.7.9.7).
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "softgpu/math/variant.h"

namespace vgpu::softgpu::math {
inline namespace VGPU_MATH_VARIANT {

// --- Multiply, multiply-add (9.7.1.3 to 9.7.1.6) ---

template <typename T>
inline T mul_hi(T a, T b) {
  if constexpr (sizeof(T) == 8) {
    using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
    return static_cast<T>((static_cast<Wide>(a) * b) >> 64);
  } else {
    using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
    return static_cast<T>((static_cast<Wide>(a) * static_cast<Wide>(b)) >> (8 * sizeof(T)));
  }
}
// Signed overflow is undefined in C++ and wraps in PTX.
template <typename T>
inline T mul_lo(T a, T b) {
  return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
template <typename T>
inline T add_wrap(T a, T b) {
  return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
// mad.hi.sat.s32, add.sat.s32 and sub.sat.s32.
inline int32_t clamp_s32(int64_t value) {
  constexpr int64_t kMin = std::numeric_limits<int32_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(value < kMin ? kMin : value > kMax ? kMax : value);
}
inline int32_t add_sat(int32_t a, int32_t b) { return clamp_s32(int64_t{a} + b); }
inline int32_t sub_sat(int32_t a, int32_t b) { return clamp_s32(int64_t{a} - b); }
inline int32_t mad_hi_sat(int32_t a, int32_t b, int32_t c) {
  return clamp_s32(int64_t{mul_hi(a, b)} + c);
}

inline int64_t low24(int32_t a) { return static_cast<int32_t>(static_cast<uint32_t>(a) << 8) >> 8; }
inline uint64_t low24(uint32_t a) { return a & 0xFFFFFF; }
// .lo: bits 31..0 of the 48-bit product; .hi: bits 47..16.
template <typename T>
inline T mul24_lo(T a, T b) {
  return static_cast<T>(low24(a) * low24(b));
}
template <typename T>
inline T mul24_hi(T a, T b) {
  return static_cast<T>((low24(a) * low24(b)) >> 16);
}
template <typename T>
inline T mad24_lo(T a, T b, T c) {
  return add_wrap(mul24_lo(a, b), c);
}
template <typename T>
inline T mad24_hi(T a, T b, T c) {
  return add_wrap(mul24_hi(a, b), c);
}
inline int32_t mad24_hi_sat(int32_t a, int32_t b, int32_t c) {
  return clamp_s32(int64_t{mul24_hi(a, b)} + c);
}

// sad: c + |a - b|
template <typename T>
inline T sad(T a, T b, T c) {
  const auto difference = a < b ? static_cast<uint64_t>(b) - static_cast<uint64_t>(a)
                                : static_cast<uint64_t>(a) - static_cast<uint64_t>(b);
  return static_cast<T>(static_cast<uint64_t>(c) + difference);
}

// Division by zero gives all ones, a remainder by zero the dividend, as the hardware does (the ISA
// leaves both unspecified); the most negative number divided by -1 wraps.
template <typename T>
inline T div_integer(T a, T b) {
  if (b == 0) return static_cast<T>(~T{0});
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return static_cast<T>(0 - static_cast<uint64_t>(a));
  }
  return static_cast<T>(a / b);
}
template <typename T>
inline T rem_integer(T a, T b) {
  if (b == 0) return a;
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return 0;
  }
  return static_cast<T>(a % b);
}

// --- Extended precision with carry (9.7.2) ---

template <typename T>
struct Carried {
  T value;
  bool carry;
};
// add.cc (carry_in 0) and addc.
template <typename T>
inline Carried<T> add_carry(T a, T b, bool carry_in) {
  static_assert(std::is_unsigned_v<T>);
  const T sum = static_cast<T>(a + b), total = static_cast<T>(sum + (carry_in ? 1 : 0));
  return {total, sum < a || total < sum};
}
// sub.cc (borrow_in 0) and subc: the carry flag holds the borrow.
template <typename T>
inline Carried<T> sub_borrow(T a, T b, bool borrow_in) {
  static_assert(std::is_unsigned_v<T>);
  const T difference = static_cast<T>(a - b);
  const T total = static_cast<T>(difference - (borrow_in ? 1 : 0));
  return {total, a < b || difference < static_cast<T>(borrow_in ? 1 : 0)};
}
// mad.cc and madc: the product half is `mul_lo` or `mul_hi` of a and b.
template <typename T>
inline Carried<T> mad_carry(T product_half, T c, bool carry_in) {
  return add_carry(product_half, c, carry_in);
}

// --- Bits (9.7.1.15 to 9.7.1.22) ---

inline uint32_t popc(uint32_t a) { return static_cast<uint32_t>(std::popcount(a)); }
inline uint32_t popc(uint64_t a) { return static_cast<uint32_t>(std::popcount(a)); }
inline uint32_t clz(uint32_t a) { return static_cast<uint32_t>(std::countl_zero(a)); }
inline uint32_t clz(uint64_t a) { return static_cast<uint32_t>(std::countl_zero(a)); }

inline uint32_t brev(uint32_t a) {
  a = (a & 0x55555555) << 1 | ((a >> 1) & 0x55555555);
  a = (a & 0x33333333) << 2 | ((a >> 2) & 0x33333333);
  a = (a & 0x0F0F0F0F) << 4 | ((a >> 4) & 0x0F0F0F0F);
  return __builtin_bswap32(a);
}
inline uint64_t brev(uint64_t a) {
  return uint64_t{brev(static_cast<uint32_t>(a))} << 32 | brev(static_cast<uint32_t>(a >> 32));
}

// The most significant bit that is not a copy of the sign (of zero, for unsigned); all ones if
// there is none. With .shiftamt: how far to shift it to the top.
template <bool kShiftAmount, typename T>
inline uint32_t bfind(T a) {
  using U = std::make_unsigned_t<T>;
  U bits = static_cast<U>(a);
  if constexpr (std::is_signed_v<T>) bits = a < 0 ? static_cast<U>(~bits) : bits;
  if (bits == 0) return 0xFFFFFFFF;
  const auto zeros = static_cast<uint32_t>(std::countl_zero(bits));
  return kShiftAmount ? zeros : static_cast<uint32_t>(8 * sizeof(T) - 1) - zeros;
}

// fns: the |offset|-th set bit from `base` upwards (offset > 0) or downwards; 0: base itself.
inline uint32_t fns(uint32_t mask, uint32_t base, int32_t offset) {
  if (offset == 0) return base < 32 && ((mask >> base) & 1) != 0 ? base : 0xFFFFFFFF;
  const int step = offset > 0 ? 1 : -1;
  int64_t count = offset > 0 ? offset : -int64_t{offset};
  for (int64_t bit = base; bit >= 0 && bit < 32; bit += step) {
    if (((mask >> bit) & 1) != 0 && --count == 0) return static_cast<uint32_t>(bit);
  }
  return 0xFFFFFFFF;
}

// bfe d, a, b, c: the field of c bits at position b, only the low 8 bits of which count. A signed
// field is extended by its own top bit, or by a's when it reaches beyond.
template <typename T>
inline T bfe(T a, uint32_t position, uint32_t length) {
  using U = std::make_unsigned_t<T>;
  constexpr uint32_t kWidth = 8 * sizeof(T);
  const uint32_t at = position & 0xFF, count = length & 0xFF;
  if (count == 0) return 0;
  const uint32_t top = at + count - 1 < kWidth - 1 ? at + count - 1 : kWidth - 1;
  const U sign = std::is_signed_v<T> ? (static_cast<U>(a) >> top) & 1 : 0;
  const U field = at >= kWidth ? 0 : static_cast<U>(a) >> at;
  const uint32_t present = at >= kWidth ? 0 : (kWidth - at < count ? kWidth - at : count);
  const U mask = present >= kWidth ? ~U{0} : (U{1} << present) - 1;
  return static_cast<T>((field & mask) | (sign != 0 ? ~mask : 0));
}
// bfi f, a, b, c, d: the low d bits of a replace those of b at position c.
template <typename T>
inline T bfi(T a, T b, uint32_t position, uint32_t length) {
  static_assert(std::is_unsigned_v<T>);
  constexpr uint32_t kWidth = 8 * sizeof(T);
  const uint32_t at = position & 0xFF, count = length & 0xFF;
  if (at >= kWidth || count == 0) return b;
  const T mask = (count >= kWidth ? ~T{0} : (T{1} << count) - 1) << at;
  return (b & ~mask) | ((a << at) & mask);
}
// bmsk: ones from bit `position` for `length` bits. Clamp or wrap to 32.
template <bool kWrap>
inline uint32_t bmsk(uint32_t position, uint32_t length) {
  const uint32_t at = kWrap ? position & 31 : position;
  const uint32_t count = kWrap ? length & 31 : length;
  if (at >= 32 || count == 0) return 0;
  return (count >= 32 ? 0xFFFFFFFF : (1u << count) - 1) << at;
}
// szext: sign or zero extends from bit width n.
template <bool kWrap, typename T>
inline T szext(T a, uint32_t width) {
  static_assert(sizeof(T) == 4);
  const uint32_t count = kWrap ? width & 31 : width;
  if (count >= 32) return a;
  if (count == 0) return 0;
  const uint32_t shift = 32 - count;
  return static_cast<T>(static_cast<T>(static_cast<uint32_t>(a) << shift) >> shift);
}

// --- Shifts (9.7.8.5 to 9.7.8.8): amounts beyond the width clamp to it ---

template <typename T>
inline T shl(T a, uint32_t amount) {
  using U = std::make_unsigned_t<T>;
  constexpr uint32_t kWidth = 8 * sizeof(T);
  const U shifted = static_cast<U>(static_cast<U>(a) << (amount & (kWidth - 1)));
  return static_cast<T>(amount >= kWidth ? U{0} : shifted);
}
template <typename T>
inline T shr(T a, uint32_t amount) {
  constexpr uint32_t kWidth = 8 * sizeof(T);
  if constexpr (std::is_signed_v<T>) {
    return static_cast<T>(a >> (amount >= kWidth ? kWidth - 1 : amount));
  } else {
    const T shifted = static_cast<T>(a >> (amount & (kWidth - 1)));
    return amount >= kWidth ? T{0} : shifted;
  }
}
// Funnel shifts of b:a, the low word first: .l gives the upper word of the shift to the left, .r
// the lower one of the shift to the right.
template <bool kWrap>
inline uint32_t shf_l(uint32_t a, uint32_t b, uint32_t amount) {
  const uint32_t n = kWrap ? amount & 31 : (amount < 32 ? amount : 32);
  const uint64_t both = uint64_t{b} << 32 | a;
  return static_cast<uint32_t>(both >> (32 - n));
}
template <bool kWrap>
inline uint32_t shf_r(uint32_t a, uint32_t b, uint32_t amount) {
  const uint32_t n = kWrap ? amount & 31 : (amount < 32 ? amount : 32);
  const uint64_t both = uint64_t{b} << 32 | a;
  return static_cast<uint32_t>(both >> n);
}

// --- lop3, prmt (9.7.8.4, 9.7.9.7) ---

// The truth table's bit at index (a, b, c), as in F(0xF0, 0xCC, 0xAA).
inline uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t result = 0;
  for (uint32_t index = 0; index < 8; ++index) {
    const uint32_t minterm =
        ((index & 4) != 0 ? a : ~a) & ((index & 2) != 0 ? b : ~b) & ((index & 1) != 0 ? c : ~c);
    result |= minterm & (0u - ((table >> index) & 1));
  }
  return result;
}

enum class Permute : uint8_t {
  kDefault,
  kForward4,    // .f4e
  kBackward4,   // .b4e
  kReplicate8,  // .rc8
  kEdgeLeft,    // .ecl
  kEdgeRight,   // .ecr
  kReplicate16  // .rc16
};
// Byte `index` (0 to 7) of b:a.
inline uint32_t byte_of(uint32_t a, uint32_t b, uint32_t index) {
  return static_cast<uint32_t>(((uint64_t{b} << 32 | a) >> (8 * (index & 7))) & 0xFF);
}
// Selector bit 3 of each digit replicates the sign of the byte instead.
inline uint32_t prmt(uint32_t a, uint32_t b, uint32_t selector) {
  uint32_t result = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t digit = (selector >> (4 * i)) & 15;
    const uint32_t byte = byte_of(a, b, digit);
    const uint32_t sign = (byte & 0x80) != 0 ? 0xFF : 0;
    result |= ((digit & 8) != 0 ? sign : byte) << (8 * i);
  }
  return result;
}
inline uint32_t prmt_index(Permute mode, uint32_t control, uint32_t i) {
  switch (mode) {
    case Permute::kForward4:
      return (control + i) & 7;
    case Permute::kBackward4:
      return (control - i) & 7;
    case Permute::kReplicate8:
      return control;
    case Permute::kEdgeLeft:
      return i < control ? control : i;
    case Permute::kEdgeRight:
      return i < control ? i : control;
    case Permute::kReplicate16:
      return (control & 1) * 2 + (i & 1);
    case Permute::kDefault:
      break;
  }
  return i;
}
inline uint32_t prmt(Permute mode, uint32_t a, uint32_t b, uint32_t selector) {
  if (mode == Permute::kDefault) return prmt(a, b, selector);
  uint32_t result = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    result |= byte_of(a, b, prmt_index(mode, selector & 3, i)) << (8 * i);
  }
  return result;
}

// --- Dot products (9.7.1.23, 9.7.1.24) ---

// The i-th byte or half, extended as its type says.
template <typename T>
inline int64_t element(uint32_t packed, int i) {
  return static_cast<T>(packed >> (8 * sizeof(T) * static_cast<uint32_t>(i)));
}
// dp4a: A and B are int8_t or uint8_t. The accumulator wraps.
template <typename A, typename B>
inline uint32_t dp4a(uint32_t a, uint32_t b, uint32_t c) {
  int64_t sum = 0;
  for (int i = 0; i < 4; ++i) sum += element<A>(a, i) * element<B>(b, i);
  return c + static_cast<uint32_t>(sum);
}
// dp2a: two halves of a (int16_t or uint16_t) with the lower or upper two bytes of b.
template <typename A, typename B, bool kUpper>
inline uint32_t dp2a(uint32_t a, uint32_t b, uint32_t c) {
  int64_t sum = 0;
  for (int i = 0; i < 2; ++i) sum += element<A>(a, i) * element<B>(b, i + (kUpper ? 2 : 0));
  return c + static_cast<uint32_t>(sum);
}

}  // namespace VGPU_MATH_VARIANT
}  // namespace vgpu::softgpu::math

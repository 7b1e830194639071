// What integer instructions do to one lane.
#pragma once

#include "softgpu/ptx/lanes/lanes.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

template <class T>
struct Unsigned;
template <>
struct Unsigned<uint8_t> {
  using type = uint8_t;
  using wide = uint16_t;
};
template <>
struct Unsigned<int8_t> {
  using type = uint8_t;
  using wide = int16_t;
};
template <>
struct Unsigned<uint16_t> {
  using type = uint16_t;
  using wide = uint32_t;
};
template <>
struct Unsigned<int16_t> {
  using type = uint16_t;
  using wide = int32_t;
};
template <>
struct Unsigned<uint32_t> {
  using type = uint32_t;
  using wide = uint64_t;
};
template <>
struct Unsigned<int32_t> {
  using type = uint32_t;
  using wide = int64_t;
};
template <>
struct Unsigned<uint64_t> {
  using type = uint64_t;
  using wide = unsigned __int128;
};
template <>
struct Unsigned<int64_t> {
  using type = uint64_t;
  using wide = __int128;
};
template <class T>
using U = typename Unsigned<T>::type;
template <class T>
using Wide = typename Unsigned<T>::wide;
template <class T>
inline constexpr int kBits = sizeof(T) * 8;
template <class T>
inline constexpr bool kIsSigned = static_cast<T>(-1) < static_cast<T>(0);
template <class T>
inline constexpr T kLowest = kIsSigned<T> ? static_cast<T>(U<T>{1} << (kBits<T> - 1)) : T{0};
template <class T>
inline constexpr T kHighest = static_cast<T>(~kLowest<T>);

struct Move {
  template <class T>
  VGPU_INLINE T run(T a, const Instr*) {
    return a;
  }
};
template <class T>
struct Add {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    return static_cast<T>(static_cast<U<T>>(a) + static_cast<U<T>>(b));
  }
};
template <class T>
struct Sub {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    return static_cast<T>(static_cast<U<T>>(a) - static_cast<U<T>>(b));
  }
};
template <class T>
struct AddSat {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    const Wide<T> r = static_cast<Wide<T>>(a) + b;
    return r > kHighest<T> ? kHighest<T> : r < kLowest<T> ? kLowest<T> : static_cast<T>(r);
  }
};
template <class T>
struct SubSat {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    const Wide<T> r = static_cast<Wide<T>>(a) - b;
    return r > kHighest<T> ? kHighest<T> : r < kLowest<T> ? kLowest<T> : static_cast<T>(r);
  }
};
template <class T>
struct MulLo {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  }
};
template <class T>
struct MulHi {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    return static_cast<T>((static_cast<Wide<T>>(a) * b) >> kBits<T>);
  }
};
template <class T>
struct MulWide {
  VGPU_INLINE Wide<T> run(T a, T b, const Instr*) { return static_cast<Wide<T>>(a) * b; }
};
template <class T>
struct MadLo {
  VGPU_INLINE T run(T a, T b, T c, const Instr*) {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b) +
                          static_cast<uint64_t>(c));
  }
};
template <class T>
struct MadHi {
  VGPU_INLINE T run(T a, T b, T c, const Instr* in) {
    return static_cast<T>(static_cast<U<T>>(MulHi<T>::run(a, b, in)) + static_cast<U<T>>(c));
  }
};
template <class T>
struct MadHiSat {
  VGPU_INLINE T run(T a, T b, T c, const Instr* in) {
    return AddSat<T>::run(MulHi<T>::run(a, b, in), c, in);
  }
};
template <class T>
struct MadWide {
  VGPU_INLINE Wide<T> run(T a, T b, Wide<T> c, const Instr*) {
    return static_cast<Wide<T>>(static_cast<uint64_t>(static_cast<Wide<T>>(a) * b) +
                                static_cast<uint64_t>(c));
  }
};
template <class T>
struct Mul24Lo {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    const int64_t x =
        kIsSigned<T> ? static_cast<int32_t>(a << 8) >> 8 : static_cast<int64_t>(a & 0xffffff);
    const int64_t y =
        kIsSigned<T> ? static_cast<int32_t>(b << 8) >> 8 : static_cast<int64_t>(b & 0xffffff);
    return static_cast<T>(x * y);
  }
};
template <class T>
struct Mul24Hi {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    const int64_t x =
        kIsSigned<T> ? static_cast<int32_t>(a << 8) >> 8 : static_cast<int64_t>(a & 0xffffff);
    const int64_t y =
        kIsSigned<T> ? static_cast<int32_t>(b << 8) >> 8 : static_cast<int64_t>(b & 0xffffff);
    return static_cast<T>((x * y) >> 16);
  }
};
template <class T>
struct Mad24Lo {
  VGPU_INLINE T run(T a, T b, T c, const Instr* in) {
    return Add<T>::run(Mul24Lo<T>::run(a, b, in), c, in);
  }
};
template <class T>
struct Mad24Hi {
  VGPU_INLINE T run(T a, T b, T c, const Instr* in) {
    return Add<T>::run(Mul24Hi<T>::run(a, b, in), c, in);
  }
};
template <class T>
struct Mad24HiSat {
  VGPU_INLINE T run(T a, T b, T c, const Instr* in) {
    return AddSat<T>::run(Mul24Hi<T>::run(a, b, in), c, in);
  }
};
template <class T>
struct Sad {
  VGPU_INLINE T run(T a, T b, T c, const Instr*) {
    const U<T> difference = a < b ? static_cast<U<T>>(b) - static_cast<U<T>>(a)
                                  : static_cast<U<T>>(a) - static_cast<U<T>>(b);
    return static_cast<T>(difference + static_cast<U<T>>(c));
  }
};
// Division by zero is unspecified by PTX; hardware gives all ones, and the dividend as remainder.
template <class T>
struct Div {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    if (b == 0) return static_cast<T>(~T{0});
    if (kIsSigned<T> && b == static_cast<T>(-1))
      return static_cast<T>(U<T>{0} - static_cast<U<T>>(a));
    return static_cast<T>(a / b);
  }
};
template <class T>
struct Rem {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    if (b == 0) return a;
    if (kIsSigned<T> && b == static_cast<T>(-1)) return 0;
    return static_cast<T>(a % b);
  }
};
template <class T>
struct Abs {
  VGPU_INLINE T run(T a, const Instr*) {
    return a < 0 ? static_cast<T>(U<T>{0} - static_cast<U<T>>(a)) : a;
  }
};
template <class T>
struct Neg {
  VGPU_INLINE T run(T a, const Instr*) { return static_cast<T>(U<T>{0} - static_cast<U<T>>(a)); }
};
template <class T>
struct Min {
  VGPU_INLINE T run(T a, T b, const Instr*) { return a < b ? a : b; }
};
template <class T>
struct Max {
  VGPU_INLINE T run(T a, T b, const Instr*) { return a > b ? a : b; }
};
template <class T>
struct MinRelu {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    const T r = a < b ? a : b;
    return r < 0 ? T{0} : r;
  }
};
template <class T>
struct MaxRelu {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    const T r = a > b ? a : b;
    return r < 0 ? T{0} : r;
  }
};
template <class T>
struct Popc {
  VGPU_INLINE uint32_t run(T a, const Instr*) {
    return static_cast<uint32_t>(__builtin_popcountll(a));
  }
};
template <class T>
struct Clz {
  VGPU_INLINE uint32_t run(T a, const Instr*) {
    return a == 0 ? kBits<T> : static_cast<uint32_t>(__builtin_clzll(a)) - (64 - kBits<T>);
  }
};
template <class T>
struct Bfind {
  VGPU_INLINE uint32_t run(T a, const Instr* in) {
    const U<T> bits = static_cast<U<T>>(kIsSigned<T> && a < 0 ? ~a : a);
    if (bits == 0) return 0xffffffffu;
    const auto at = 63 - static_cast<uint32_t>(__builtin_clzll(bits));
    return (in->mods & kShiftAmt) != 0 ? kBits<T> - 1 - at : at;
  }
};
struct Fns {
  VGPU_INLINE uint32_t run(uint32_t mask, uint32_t base, int32_t offset, const Instr*) {
    if (offset == 0) return base < 32 && (mask >> base & 1) != 0 ? base : 0xffffffffu;
    const int step = offset > 0 ? 1 : -1;
    int64_t count = offset > 0 ? offset : -int64_t{offset};
    for (int at = static_cast<int>(base); at >= 0 && at < 32; at += step) {
      if ((mask >> at & 1) != 0 && --count == 0) return static_cast<uint32_t>(at);
    }
    return 0xffffffffu;
  }
};
template <class T>
struct Brev {
  VGPU_INLINE T run(T a, const Instr*) {
    uint64_t v = a;
    v = (v >> 1 & 0x5555555555555555u) | (v & 0x5555555555555555u) << 1;
    v = (v >> 2 & 0x3333333333333333u) | (v & 0x3333333333333333u) << 2;
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0fu) | (v & 0x0f0f0f0f0f0f0f0fu) << 4;
    v = __builtin_bswap64(v);
    return static_cast<T>(v >> (64 - kBits<T>));
  }
};
template <class T>
struct Bfe {
  VGPU_INLINE T run(T a, uint32_t position, uint32_t length, const Instr*) {
    const uint32_t pos = position & 0xff, len = length & 0xff;
    if (len == 0) return 0;
    const uint32_t top = pos + len - 1 < kBits<T> - 1 ? pos + len - 1 : kBits<T> - 1;
    const uint64_t sign = kIsSigned<T> ? static_cast<uint64_t>(static_cast<U<T>>(a)) >> top & 1 : 0;
    uint64_t value = pos >= kBits<T> ? 0 : static_cast<uint64_t>(static_cast<U<T>>(a)) >> pos;
    const uint32_t kept = pos >= kBits<T> ? 0 : (len < kBits<T> - pos ? len : kBits<T> - pos);
    const uint64_t ones = kept >= 64 ? ~uint64_t{0} : (uint64_t{1} << kept) - 1;
    value &= ones;
    if (sign != 0) value |= ~ones;
    return static_cast<T>(value);
  }
};
template <class T>
struct Bfi {
  VGPU_INLINE const Instr* handle(Warp& w, const Instr* in) {
    T* d = w.row<T>(in->d);
    const T* a = w.row<T>(in->a);
    const T* b = w.row<T>(in->b);
    const uint32_t* c = w.row<uint32_t>(in->c);
    const uint32_t* e = w.row<uint32_t>(in->e);
    for (int i = 0; i < kLanes; ++i) {
      if (w.lanes[i] == 0) continue;
      const uint32_t pos = c[i] & 0xff, len = e[i] & 0xff;
      const T ones = len >= kBits<T> ? static_cast<T>(~T{0}) : static_cast<T>((T{1} << len) - 1);
      const T mask = pos >= kBits<T> ? T{0} : static_cast<T>(ones << pos);
      const T value = pos >= kBits<T> ? T{0} : static_cast<T>(a[i] << pos);
      d[i] = (b[i] & ~mask) | (value & mask);
    }
    return in + 1;
  }
};
struct Bmsk {
  VGPU_INLINE uint32_t run(uint32_t a, uint32_t b, const Instr* in) {
    const bool wrap = (in->mods & kWrap) != 0;
    const uint32_t pos = wrap ? a & 31 : a, len = wrap ? b & 31 : b;
    if (pos >= 32) return 0;
    const uint32_t ones = len >= 32 ? ~0u : (1u << len) - 1;
    return ones << pos;
  }
};
template <class T>
struct Szext {
  VGPU_INLINE T run(T a, uint32_t b, const Instr* in) {
    const uint32_t n = (in->mods & kWrap) != 0 ? b & 31 : b;
    if (n >= 32) return a;
    if (n == 0) return 0;
    return static_cast<T>(static_cast<T>(static_cast<uint32_t>(a) << (32 - n)) >> (32 - n));
  }
};
struct Dp4a {
  VGPU_INLINE uint32_t run(uint32_t a, uint32_t b, uint32_t c, const Instr* in) {
    uint32_t sum = c;
    for (int k = 0; k < 32; k += 8) {
      const int32_t x =
          (in->mods & kSignedA) != 0 ? static_cast<int8_t>(a >> k) : static_cast<uint8_t>(a >> k);
      const int32_t y =
          (in->mods & kSignedB) != 0 ? static_cast<int8_t>(b >> k) : static_cast<uint8_t>(b >> k);
      sum += static_cast<uint32_t>(x * y);
    }
    return sum;
  }
};
struct Dp2a {
  VGPU_INLINE uint32_t run(uint32_t a, uint32_t b, uint32_t c, const Instr* in) {
    uint32_t sum = c;
    const int high = (in->mods & kHigh) != 0 ? 16 : 0;
    for (int k = 0; k < 2; ++k) {
      const int32_t x = (in->mods & kSignedA) != 0 ? static_cast<int16_t>(a >> (16 * k))
                                                   : static_cast<uint16_t>(a >> (16 * k));
      const int32_t y = (in->mods & kSignedB) != 0 ? static_cast<int8_t>(b >> (8 * k + high))
                                                   : static_cast<uint8_t>(b >> (8 * k + high));
      sum += static_cast<uint32_t>(x * y);
    }
    return sum;
  }
};
template <class T>
struct And {
  VGPU_INLINE T run(T a, T b, const Instr*) { return a & b; }
};
template <class T>
struct Or {
  VGPU_INLINE T run(T a, T b, const Instr*) { return a | b; }
};
template <class T>
struct Xor {
  VGPU_INLINE T run(T a, T b, const Instr*) { return a ^ b; }
};
template <class T>
struct Not {
  VGPU_INLINE T run(T a, const Instr*) { return static_cast<T>(~a); }
};
template <class T>
struct Cnot {
  VGPU_INLINE T run(T a, const Instr*) { return a == 0 ? T{1} : T{0}; }
};
struct Lop3 {
  VGPU_INLINE uint32_t run(uint32_t a, uint32_t b, uint32_t c, const Instr* in) {
    const auto table = static_cast<uint32_t>(in->imm);
    uint32_t r = 0;
    for (uint32_t k = 0; k < 8; ++k) {
      const uint32_t on = 0u - (table >> k & 1);
      r |= on & ((k & 4) != 0 ? a : ~a) & ((k & 2) != 0 ? b : ~b) & ((k & 1) != 0 ? c : ~c);
    }
    return r;
  }
};
template <class T>
struct Shl {
  VGPU_INLINE T run(T a, uint32_t n, const Instr*) {
    return n >= kBits<T> ? T{0} : static_cast<T>(a << (n & (kBits<T> - 1)));
  }
};
template <class T>
struct Shr {
  VGPU_INLINE T run(T a, uint32_t n, const Instr*) {
    const uint32_t m = n >= kBits<T> ? kBits<T> - 1 : n;
    const T shifted = static_cast<T>(a >> m);
    return !kIsSigned<T> && n >= kBits<T> ? T{0} : shifted;
  }
};
struct ShfL {
  VGPU_INLINE uint32_t run(uint32_t a, uint32_t b, uint32_t c, const Instr* in) {
    const uint32_t n = (in->mods & kWrap) != 0 ? c & 31 : (c > 32 ? 32 : c);
    return static_cast<uint32_t>((((static_cast<uint64_t>(b) << 32) | a) << n) >> 32);
  }
};
struct ShfR {
  VGPU_INLINE uint32_t run(uint32_t a, uint32_t b, uint32_t c, const Instr* in) {
    const uint32_t n = (in->mods & kWrap) != 0 ? c & 31 : (c > 32 ? 32 : c);
    return static_cast<uint32_t>(((static_cast<uint64_t>(b) << 32) | a) >> n);
  }
};
// The default mode; imm: f4e, b4e, rc8, ecl, ecr, rc16 as 1 to 6.
struct Prmt {
  VGPU_INLINE uint32_t select(uint64_t bytes, uint32_t selector) {
    uint32_t r = 0;
    for (int k = 0; k < 4; ++k) {
      const uint32_t s = selector >> (4 * k) & 15;
      uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (s & 7))) & 0xff;
      if ((s & 8) != 0) byte = (byte & 0x80) != 0 ? 0xff : 0;
      r |= byte << (8 * k);
    }
    return r;
  }
  VGPU_INLINE uint32_t run(uint32_t a, uint32_t b, uint32_t c, const Instr* in) {
    const uint64_t bytes = (static_cast<uint64_t>(b) << 32) | a;
    const uint32_t n = c & 3;
    switch (in->imm) {
      case 1:
        return static_cast<uint32_t>(bytes >> (8 * n));
      case 2: {
        uint32_t s = 0;
        for (uint32_t k = 0; k < 4; ++k) s |= ((n - k) & 7) << (4 * k);
        return select(bytes, s);
      }
      case 3:
        return select(bytes, n * 0x1111);
      case 4: {
        uint32_t s = 0;
        for (uint32_t k = 0; k < 4; ++k) s |= (k > n ? k : n) << (4 * k);
        return select(bytes, s);
      }
      case 5: {
        uint32_t s = 0;
        for (uint32_t k = 0; k < 4; ++k) s |= (k < n ? k : n) << (4 * k);
        return select(bytes, s);
      }
      case 6:
        return select(bytes, (n & 1) != 0 ? 0x3232 : 0x1010);
      default:
        return select(bytes, c);
    }
  }
};

}  // namespace
}  // namespace vgpu::softgpu::ptx::VGPU_LANES

// cvt from and to 16 bits and less: f16, bf16, tf32, the 8-bit formats, and pairs of them.
#include "softgpu/math/convert.h"
#include "softgpu/ptx/lanes/lanes.h"
#include "softgpu/ptx/lanes/types.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

namespace m = math;
using m::Overflow;
using m::Rounding;

template <class T>
inline constexpr bool kIsFloat = static_cast<T>(0.5) != static_cast<T>(0);

template <Rounding R, bool bf16, class S>
VGPU_INLINE uint16_t narrow_as(S a, bool finite) {
  if constexpr (sizeof(S) == 8 && kIsFloat<S>) {
    return bf16 ? m::f64_to_bf16<R>(a) : m::f64_to_f16<R>(a);
  } else if constexpr (kIsFloat<S>) {
    if (finite)
      return bf16 ? m::f32_to_bf16<R, Overflow::kFinite>(a)
                  : m::f32_to_f16<R, Overflow::kFinite>(a);
    return bf16 ? m::f32_to_bf16<R>(a) : m::f32_to_f16<R>(a);
  } else {
    return bf16 ? m::integer_to_bf16<R>(a) : m::integer_to_f16<R>(a);
  }
}

template <bool bf16, class S>
VGPU_INLINE uint16_t narrow(S a, uint32_t mods) {
  if constexpr (kIsFloat<S>) {
    if constexpr (sizeof(S) == 4) {
      if ((mods & kFtz) != 0) a = m::flush(a);
    }
    if ((mods & kRelu) != 0) a = a != a ? a : a > 0 ? a : S{0};
    if ((mods & kSat) != 0) a = m::saturate(a);
  }
  const bool finite = (mods & kSatFinite) != 0;
  uint16_t r;
  switch (mods & kRoundMask) {
    case kRoundZero:
      r = narrow_as<Rounding::kZero, bf16>(a, finite);
      break;
    case kRoundDown:
      r = narrow_as<Rounding::kDown, bf16>(a, finite);
      break;
    case kRoundUp:
      r = narrow_as<Rounding::kUp, bf16>(a, finite);
      break;
    default:
      r = narrow_as<Rounding::kNearest, bf16>(a, finite);
      break;
  }
  if (!kIsFloat<S> && (mods & kSat) != 0)
    r = bf16 ? m::f32_to_bf16<Rounding::kNearest>(m::saturate(m::bf16_to_f32(r)))
             : m::f32_to_f16<Rounding::kNearest>(m::saturate(m::f16_to_f32(r)));
  return r;
}

template <bool bf16, class S>
struct To16 {
  VGPU_INLINE uint16_t run(S a, const Instr* in) { return narrow<bf16, S>(a, in->mods); }
};
template <bool bf16>
struct To16Plain {
  VGPU_INLINE uint16_t run(float a, const Instr*) {
    return bf16 ? m::f32_to_bf16<Rounding::kNearest>(a) : m::f32_to_f16<Rounding::kNearest>(a);
  }
};

VGPU_INLINE float integral(float x, uint32_t mods) {
  switch (mods & kRoundMask) {
    case kRoundZero:
      return m::round_integral<Rounding::kZero>(x);
    case kRoundDown:
      return m::round_integral<Rounding::kDown>(x);
    case kRoundUp:
      return m::round_integral<Rounding::kUp>(x);
    default:
      return m::round_integral<Rounding::kNearest>(x);
  }
}

template <bool bf16, class D>
struct From16 {
  VGPU_INLINE D run(uint16_t a, const Instr* in) {
    float x = bf16 ? m::bf16_to_f32(a) : m::f16_to_f32(a);
    if constexpr (!kIsFloat<D>) {
      switch (in->mods & kRoundMask) {
        case kRoundZero:
          return m::to_integer<D, Rounding::kZero>(x);
        case kRoundDown:
          return m::to_integer<D, Rounding::kDown>(x);
        case kRoundUp:
          return m::to_integer<D, Rounding::kUp>(x);
        default:
          return m::to_integer<D, Rounding::kNearest>(x);
      }
    } else {
      if ((in->mods & kRoundInteger) != 0) x = integral(x, in->mods);
      if ((in->mods & kSat) != 0) x = m::saturate(x);
      if ((in->mods & kFtz) != 0) x = m::flush(x);
      return static_cast<D>(x);
    }
  }
};
template <bool bf16>
struct From16Plain {
  VGPU_INLINE float run(uint16_t a, const Instr*) {
    return bf16 ? m::bf16_to_f32(a) : m::f16_to_f32(a);
  }
};
template <bool from_bf16, bool to_bf16>
struct Between16 {
  VGPU_INLINE uint16_t run(uint16_t a, const Instr* in) {
    float x = from_bf16 ? m::bf16_to_f32(a) : m::f16_to_f32(a);
    uint32_t mods = in->mods;
    if ((mods & kRoundInteger) != 0) {
      x = integral(x, mods);
      mods &= ~kRoundMask;
    }
    return narrow<to_bf16>(x, mods);
  }
};
struct ToTf32 {
  VGPU_INLINE float run(float a, const Instr* in) {
    float x = (in->mods & kRelu) != 0 ? m::relu(a) : a;
    return (in->mods & kSatFinite) != 0 ? round<Overflow::kFinite>(x, in->mods)
                                        : round<Overflow::kByRounding>(x, in->mods);
  }
  template <Overflow O>
  VGPU_INLINE float round(float x, uint32_t mods) {
    if ((mods & kRoundAway) != 0) return m::f32_to_tf32<Rounding::kAway, O>(x);
    return (mods & kRoundMask) == kRoundZero ? m::f32_to_tf32<Rounding::kZero, O>(x)
                                             : m::f32_to_tf32<Rounding::kNearest, O>(x);
  }
};

// Two singles into a pair: a becomes the upper half.
template <bool bf16>
struct Pack {
  VGPU_INLINE uint32_t run(float a, float b, const Instr* in) {
    return static_cast<uint32_t>(narrow<bf16>(a, in->mods)) << 16 | narrow<bf16>(b, in->mods);
  }
};

// Formats of eight bits and less, in pairs. code() is a value's bits; a pair's values are `bits`
// apart. .satfinite is mandatory where it is not said.
struct E4m3 {
  static constexpr int bits = 8;
  VGPU_INLINE uint32_t code(float x, uint32_t) { return m::f32_to_e4m3(x); }
  VGPU_INLINE uint16_t half_of(uint32_t code) { return m::e4m3_to_f16(static_cast<uint8_t>(code)); }
};
struct E5m2 {
  static constexpr int bits = 8;
  VGPU_INLINE uint32_t code(float x, uint32_t) { return m::f32_to_e5m2(x); }
  VGPU_INLINE uint16_t half_of(uint32_t code) { return m::e5m2_to_f16(static_cast<uint8_t>(code)); }
};
template <m::SmallFormat F, int distance>
struct Tiny {
  static constexpr int bits = distance;
  VGPU_INLINE uint32_t code(float x, uint32_t) {
    return m::encode<F, Rounding::kNearest, Overflow::kFinite>(x);
  }
  VGPU_INLINE uint16_t half_of(uint32_t code) {
    return m::f32_to_f16<Rounding::kNearest>(m::small_to_f32<F>(code));
  }
};
struct Ue8m0 {
  static constexpr int bits = 8;
  VGPU_INLINE uint32_t code(float x, uint32_t mods) {
    const bool finite = (mods & kSatFinite) != 0;
    return (mods & kRoundMask) == kRoundUp ? m::f32_to_ue8m0<Rounding::kUp>(x, finite)
                                           : m::f32_to_ue8m0<Rounding::kZero>(x, finite);
  }
  VGPU_INLINE uint16_t half_of(uint32_t code) {
    return m::ue8m0_to_bf16(static_cast<uint8_t>(code));
  }
};

template <class Format>
VGPU_INLINE uint16_t pack_codes(float high, float low, uint32_t mods) {
  if ((mods & kRelu) != 0) {
    high = m::relu(high);
    low = m::relu(low);
  }
  return static_cast<uint16_t>(Format::code(high, mods) << Format::bits | Format::code(low, mods));
}
template <class Format>
struct PackCodes {
  VGPU_INLINE uint16_t run(float a, float b, const Instr* in) {
    return pack_codes<Format>(a, b, in->mods);
  }
};
template <class Format, bool bf16>
struct PackCodesFrom16 {
  VGPU_INLINE uint16_t run(uint32_t a, const Instr* in) {
    const auto low = static_cast<uint16_t>(a), high = static_cast<uint16_t>(a >> 16);
    return pack_codes<Format>(bf16 ? m::bf16_to_f32(high) : m::f16_to_f32(high),
                              bf16 ? m::bf16_to_f32(low) : m::f16_to_f32(low), in->mods);
  }
};
template <class Format>
struct UnpackCodes {
  VGPU_INLINE uint32_t run(uint16_t a, const Instr* in) {
    constexpr uint32_t kMask = (1u << Format::bits) - 1;
    uint16_t high = Format::half_of(a >> Format::bits & kMask), low = Format::half_of(a & kMask);
    if ((in->mods & kRelu) != 0) {
      high = m::relu_f16(high);
      low = m::relu_f16(low);
    }
    return static_cast<uint32_t>(high) << 16 | low;
  }
};
template <class Format>
Handler pairs_of(Type to, Type from) {
  const bool to_half = to == Type::kF16x2 || to == Type::kBF16x2;
  if (to_half) return unary<UnpackCodes<Format>, uint32_t, uint16_t>;
  switch (from) {
    case Type::kF32:
      return binary<PackCodes<Format>, uint16_t, float, float>;
    case Type::kF16x2:
      return unary<PackCodesFrom16<Format, false>, uint16_t, uint32_t>;
    case Type::kBF16x2:
      return unary<PackCodesFrom16<Format, true>, uint16_t, uint32_t>;
    default:
      return nullptr;
  }
}
// To and from `small`; ue8m0 goes with bf16, the others with f16 on the way out.
Handler pairs_with(Type small, Type to, Type from) {
  if (to != small && to != (small == Type::kUE8M0x2 ? Type::kBF16x2 : Type::kF16x2)) return nullptr;
  switch (small) {
    case Type::kE4M3x2:
      return pairs_of<E4m3>(to, from);
    case Type::kE5M2x2:
      return pairs_of<E5m2>(to, from);
    case Type::kE2M1x2:
      return pairs_of<Tiny<m::kE2m1, 4>>(to, from);
    case Type::kE2M3x2:
      return pairs_of<Tiny<m::kE2m3, 8>>(to, from);
    case Type::kE3M2x2:
      return pairs_of<Tiny<m::kE3m2, 8>>(to, from);
    case Type::kUE8M0x2:
      return from == Type::kF16x2 ? nullptr : pairs_of<Ue8m0>(to, from);
    default:
      return nullptr;
  }
}

template <bool bf16>
Handler to_16(Type from, uint32_t mods) {
  if (from == Type::kF16) return unary<Between16<false, bf16>, uint16_t, uint16_t>;
  if (from == Type::kBF16) return unary<Between16<true, bf16>, uint16_t, uint16_t>;
  if (from == Type::kF32 && (mods & ~kFtz) == 0) return unary<To16Plain<bf16>, uint16_t, float>;
  return with_type(from, [&]<class S>(S) -> Handler { return unary<To16<bf16, S>, uint16_t, S>; });
}
template <bool bf16>
Handler from_16(Type to, uint32_t mods) {
  if (to == Type::kF32 && mods == 0) return unary<From16Plain<bf16>, float, uint16_t>;
  return with_type(to, [&]<class D>(D) -> Handler { return unary<From16<bf16, D>, D, uint16_t>; });
}

}  // namespace

Handler convert_half(Type to, Type from, uint32_t mods) {
  if ((mods & kRoundStochastic) != 0) return nullptr;
  if (to == Type::kF16x2 && from == Type::kF32) return binary<Pack<false>, uint32_t, float, float>;
  if (to == Type::kBF16x2 && from == Type::kF32) return binary<Pack<true>, uint32_t, float, float>;
  if (const Handler pairs = pairs_with(to, to, from)) return pairs;
  if (const Handler pairs = pairs_with(from, to, from)) return pairs;
  if (to == Type::kTF32 && from == Type::kF32) return unary<ToTf32, float, float>;
  if (to == Type::kF16) return to_16<false>(from, mods);
  if (to == Type::kBF16) return to_16<true>(from, mods);
  if (from == Type::kF16) return from_16<false>(to, mods);
  if (from == Type::kBF16) return from_16<true>(to, mods);
  return nullptr;
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

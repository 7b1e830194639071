// cvt between integers, single and double precision (PTX ISA section 9.7.9.21), and register
// resizing.
#include <cfenv>
#include <cmath>

#include "softgpu/ptx/lanes/lanes.h"
#include "softgpu/ptx/lanes/types.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

template <class T>
inline constexpr bool kIsFloat = static_cast<T>(0.5) != static_cast<T>(0);
template <class T>
inline constexpr bool kIsSigned = static_cast<T>(-1) < static_cast<T>(0);
template <class T>
inline constexpr int kBits = sizeof(T) * 8;
template <class T>
constexpr T lowest() {
  return kIsSigned<T> ? static_cast<T>(uint64_t{1} << (kBits<T> - 1)) : T{0};
}
template <class T>
constexpr T highest() {
  return static_cast<T>(~lowest<T>());
}

VGPU_INLINE float flush(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  bits = (bits & 0x7f800000u) == 0 ? bits & 0x80000000u : bits;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
VGPU_INLINE double flush(double x) { return x; }

// A NaN in single precision is the canonical one (PTX ISA 9.7.3).
VGPU_INLINE float canonical(float x) {
  float nan;
  const uint32_t bits = 0x7fffffffu;
  __builtin_memcpy(&nan, &bits, 4);
  return x != x ? nan : x;
}
VGPU_INLINE double canonical(double x) { return x; }

template <class T>
VGPU_INLINE T to_integral(T x, uint32_t mods) {
  switch (mods & kRoundMask) {
    case kRoundZero:
      return static_cast<T>(sizeof(T) == 4 ? __builtin_truncf(static_cast<float>(x))
                                           : __builtin_trunc(x));
    case kRoundDown:
      return static_cast<T>(sizeof(T) == 4 ? __builtin_floorf(static_cast<float>(x))
                                           : __builtin_floor(x));
    case kRoundUp:
      return static_cast<T>(sizeof(T) == 4 ? __builtin_ceilf(static_cast<float>(x))
                                           : __builtin_ceil(x));
    default:
      return static_cast<T>(sizeof(T) == 4 ? __builtin_rintf(static_cast<float>(x))
                                           : __builtin_rint(x));
  }
}

// Narrowing keeps the low bits; .sat clamps.
template <class D, class S, bool sat>
struct IntToInt {
  VGPU_INLINE D run(S a, const Instr*) {
    if constexpr (sat) {
      const __int128 x = a;
      return x < lowest<D>() ? lowest<D>() : x > highest<D>() ? highest<D>() : static_cast<D>(a);
    } else {
      return static_cast<D>(a);
    }
  }
};
// Out of range clamps. NaN gives zero, or the highest bit alone where one of the types has 64 bits.
template <class D, class S>
struct FloatToInt {
  VGPU_INLINE D run(S a, const Instr* in) {
    const S x = (in->mods & kFtz) != 0 ? flush(a) : a;
    if (x != x) {
      constexpr bool kWide = sizeof(D) == 8 || sizeof(S) == 8;
      return kWide ? static_cast<D>(uint64_t{1} << (kBits<D> - 1)) : D{0};
    }
    const S r = to_integral(x, in->mods);
    const S limit =
        static_cast<S>(2) * static_cast<S>(uint64_t{1} << (kBits<D> - 1 - (kIsSigned<D> ? 1 : 0)));
    if (r >= limit) return highest<D>();
    if (r < (kIsSigned<D> ? -limit : S{0})) return lowest<D>();
    return static_cast<D>(r);
  }
};
// cvt.rzi.s32.f32 and the like, by far the most frequent: shaped so that the compiler vectorises.
struct FloatToS32Zero {
  VGPU_INLINE int32_t run(float x, const Instr*) {
    const float low = -2147483648.0f;
    const float clamped = x < low ? low : x;
    const int32_t r = static_cast<int32_t>(clamped >= 2147483648.0f ? 0.0f
                                           : clamped != clamped     ? 0.0f
                                                                    : clamped);
    return clamped >= 2147483648.0f ? 2147483647 : r;
  }
};
template <class D, class S>
struct IntToFloat {
  VGPU_INLINE D run(S a, const Instr* in) {
    const D r = static_cast<D>(a);
    return (in->mods & kSat) != 0 ? (r > 0 ? (r < 1 ? r : D{1}) : D{0}) : r;
  }
};
template <class D, class S>
struct FloatToFloat {
  VGPU_INLINE D run(S a, const Instr* in) {
    S x = a;
    if ((in->mods & kFtz) != 0) x = flush(x);
    if ((in->mods & kRoundInteger) != 0) x = to_integral(x, in->mods);
    D r = canonical(static_cast<D>(x));
    if ((in->mods & kFtz) != 0) r = flush(r);
    if ((in->mods & kSat) != 0) r = r > 0 ? (r < 1 ? r : D{1}) : D{0};
    return r;
  }
};
template <class D, class S>
struct FloatWiden {
  VGPU_INLINE D run(S a, const Instr*) { return canonical(static_cast<D>(a)); }
};

template <Handler plain>
const Instr* rounded(Warp& w, const Instr* in) {
  static constexpr int kModes[4] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  std::fesetround(kModes[(in->mods & kRoundMask) >> kRoundShift]);
  Handler volatile handler = plain;
  const Instr* next = handler(w, in);
  std::fesetround(FE_TONEAREST);
  return next;
}

template <class D, class S>
Handler between(uint32_t mods) {
  const bool directed = (mods & kRoundMask) != kRoundNearest && (mods & kRoundInteger) == 0;
  if constexpr (!kIsFloat<D> && !kIsFloat<S>) {
    return (mods & kSat) != 0 ? unary<IntToInt<D, S, true>, D, S>
                              : unary<IntToInt<D, S, false>, D, S>;
  } else if constexpr (!kIsFloat<D>) {
    if constexpr (sizeof(D) == 4 && kIsSigned<D> && sizeof(S) == 4) {
      if ((mods & kRoundMask) == kRoundZero) return unary<FloatToS32Zero, D, S>;
    }
    return unary<FloatToInt<D, S>, D, S>;
  } else if constexpr (!kIsFloat<S>) {
    return directed ? Handler{rounded<unary<IntToFloat<D, S>, D, S>>}
                    : Handler{unary<IntToFloat<D, S>, D, S>};
  } else {
    if (mods == 0) return unary<FloatWiden<D, S>, D, S>;
    return directed && sizeof(D) < sizeof(S) ? Handler{rounded<unary<FloatToFloat<D, S>, D, S>>}
                                             : Handler{unary<FloatToFloat<D, S>, D, S>};
  }
}

template <class D, class S>
struct Resize {
  VGPU_INLINE D run(S a, const Instr*) { return static_cast<D>(a); }
};

}  // namespace

Handler convert(Type to, Type from, uint32_t mods) {
  return with_type(to, [&]<class D>(D) {
    return with_type(from, [&]<class S>(S) { return between<D, S>(mods); });
  });
}

Handler resize(uint32_t to_bytes, uint32_t from_bytes, bool is_signed) {
  const Type unsigned_types[] = {Type::kNone, Type::kU8,   Type::kU16,  Type::kNone, Type::kU32,
                                 Type::kNone, Type::kNone, Type::kNone, Type::kU64};
  const Type signed_types[] = {Type::kNone, Type::kS8,   Type::kS16,  Type::kNone, Type::kS32,
                               Type::kNone, Type::kNone, Type::kNone, Type::kS64};
  if (to_bytes > 8 || from_bytes > 8) return nullptr;
  return convert(is_signed ? signed_types[to_bytes] : unsigned_types[to_bytes],
                 is_signed ? signed_types[from_bytes] : unsigned_types[from_bytes], 0);
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

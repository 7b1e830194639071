// Single and double precision arithmetic (PTX ISA section 9.7.3).
#include <cfenv>
#include <cmath>

#include "softgpu/math/approximate.h"
#include "softgpu/ptx/lanes/lanes.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

VGPU_INLINE uint32_t bits_of(float x) {
  uint32_t r;
  __builtin_memcpy(&r, &x, 4);
  return r;
}
VGPU_INLINE float float_of(uint32_t x) {
  float r;
  __builtin_memcpy(&r, &x, 4);
  return r;
}
VGPU_INLINE uint64_t bits_of(double x) {
  uint64_t r;
  __builtin_memcpy(&r, &x, 8);
  return r;
}
VGPU_INLINE double double_of(uint64_t x) {
  double r;
  __builtin_memcpy(&r, &x, 8);
  return r;
}

template <bool ftz>
VGPU_INLINE float flush(float x) {
  if (!ftz) return x;
  const uint32_t b = bits_of(x);
  return float_of((b & 0x7f800000u) == 0 ? b & 0x80000000u : b);
}
template <bool ftz>
VGPU_INLINE double flush(double x) {
  return x;
}

// NaN results of single precision are canonical; double precision keeps payloads.
VGPU_INLINE float canonical(float x) { return float_of(x != x ? 0x7fffffffu : bits_of(x)); }
VGPU_INLINE double canonical(double x) { return x; }

VGPU_INLINE float saturate(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
VGPU_INLINE double saturate(double x) { return x > 0 ? (x < 1 ? x : 1.0) : 0.0; }

template <bool ftz, bool sat, class T>
VGPU_INLINE T finish(T x) {
  const T r = canonical(flush<ftz>(x));
  return sat ? saturate(r) : r;
}

template <class T, bool ftz, bool sat>
struct Add {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    return finish<ftz, sat>(flush<ftz>(a) + flush<ftz>(b));
  }
};
template <class T, bool ftz, bool sat>
struct Sub {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    return finish<ftz, sat>(flush<ftz>(a) - flush<ftz>(b));
  }
};
template <class T, bool ftz, bool sat>
struct Mul {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    return finish<ftz, sat>(flush<ftz>(a) * flush<ftz>(b));
  }
};
template <class T, bool ftz, bool sat>
struct Div {
  VGPU_INLINE T run(T a, T b, const Instr*) {
    return finish<ftz, sat>(flush<ftz>(a) / flush<ftz>(b));
  }
};
// div.approx: 0 for 2^126 < |b| < 2^128, and NaN there if a is infinite; else correctly rounded.
template <bool ftz>
struct DivApprox {
  VGPU_INLINE float run(float a, float b, const Instr*) {
    return finish<ftz, false>(math::div_approx(flush<ftz>(a), flush<ftz>(b)));
  }
};
VGPU_INLINE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
VGPU_INLINE double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
template <class T, bool ftz, bool sat>
struct Fma {
  VGPU_INLINE T run(T a, T b, T c, const Instr*) {
    return finish<ftz, sat>(fused(flush<ftz>(a), flush<ftz>(b), flush<ftz>(c)));
  }
};

// min and max order -0 below +0 and prefer the operand that is a number.
template <class T, bool ftz, bool max>
VGPU_INLINE T pick(T x, T y, uint32_t mods) {
  const T a = flush<ftz>(x), b = flush<ftz>(y);
  T r = max ? (a > b ? a : b) : (a < b ? a : b);
  const bool a_negative = __builtin_signbit(a) != 0;
  if (a == b) r = a_negative == max ? b : a;
  if (a != a) r = b;
  if (b != b) r = a;
  if ((mods & kNan) != 0 && (a != a || b != b)) r = static_cast<T>(__builtin_nanf(""));
  if ((mods & kXorSign) != 0) {
    r = max ? (__builtin_fabs(a) > __builtin_fabs(b) ? a : b)
            : (__builtin_fabs(a) < __builtin_fabs(b) ? a : b);
    if (a != a) r = b;
    if (b != b) r = a;
    if ((mods & kNan) != 0 && (a != a || b != b)) r = static_cast<T>(__builtin_nanf(""));
    const bool negative = (__builtin_signbit(a) != 0) != (__builtin_signbit(b) != 0);
    r = static_cast<T>(negative ? -__builtin_fabs(r) : __builtin_fabs(r));
  }
  return canonical(r);
}
template <class T, bool ftz, bool max, bool plain>
struct MinMax {
  VGPU_INLINE T run(T a, T b, const Instr* in) {
    return pick<T, ftz, max>(a, b, plain ? 0 : in->mods);
  }
};
// Of three, with .abs: of their magnitudes.
template <class T, bool ftz, bool max>
struct MinMax3 {
  VGPU_INLINE T run(T a, T b, T c, const Instr* in) {
    if ((in->mods & kAbsolute) != 0) {
      a = static_cast<T>(__builtin_fabs(a));
      b = static_cast<T>(__builtin_fabs(b));
      c = static_cast<T>(__builtin_fabs(c));
    }
    return pick<T, ftz, max>(pick<T, ftz, max>(a, b, in->mods), c, in->mods);
  }
};

template <bool ftz>
struct AbsF {
  VGPU_INLINE float run(float a, const Instr*) {
    return float_of(bits_of(flush<ftz>(a)) & 0x7fffffffu);
  }
};
template <bool ftz>
struct NegF {
  VGPU_INLINE float run(float a, const Instr*) {
    return float_of(bits_of(flush<ftz>(a)) ^ 0x80000000u);
  }
};
struct AbsD {
  VGPU_INLINE double run(double a, const Instr*) {
    return double_of(bits_of(a) & ~(uint64_t{1} << 63));
  }
};
struct NegD {
  VGPU_INLINE double run(double a, const Instr*) {
    return double_of(bits_of(a) ^ (uint64_t{1} << 63));
  }
};
struct CopySignF {
  VGPU_INLINE uint32_t run(uint32_t a, uint32_t b, const Instr*) {
    return (a & 0x80000000u) | (b & 0x7fffffffu);
  }
};
struct CopySignD {
  VGPU_INLINE uint64_t run(uint64_t a, uint64_t b, const Instr*) {
    return (a & (uint64_t{1} << 63)) | (b & ~(uint64_t{1} << 63));
  }
};

template <class T, bool ftz>
struct Rcp {
  VGPU_INLINE T run(T a, const Instr*) { return finish<ftz, false>(T{1} / flush<ftz>(a)); }
};
template <class T, bool ftz>
struct Sqrt {
  VGPU_INLINE T run(T a, const Instr*) {
    return finish<ftz, false>(static_cast<T>(__builtin_sqrt(flush<ftz>(a))));
  }
};
template <bool ftz>
struct SqrtF {
  VGPU_INLINE float run(float a, const Instr*) {
    return finish<ftz, false>(__builtin_sqrtf(flush<ftz>(a)));
  }
};
template <bool ftz>
struct RsqrtF {
  VGPU_INLINE float run(float a, const Instr*) {
    return finish<ftz, false>(
        static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(flush<ftz>(a)))));
  }
};
struct RsqrtD {
  VGPU_INLINE double run(double a, const Instr*) { return 1.0 / __builtin_sqrt(a); }
};
// rcp.approx.ftz.f64 and rsqrt.approx.ftz.f64: the lower 32 bits of the result are zero, and a NaN
// is the one that PTX names (PTX ISA 9.7.3.14, 9.7.3.17).
VGPU_INLINE double upper_half(double x) { return double_of(bits_of(x) & 0xffffffff00000000u); }
VGPU_INLINE double flush_double(double x) {
  return (bits_of(x) & (uint64_t{0x7ff} << 52)) == 0 ? double_of(bits_of(x) & (uint64_t{1} << 63))
                                                     : x;
}
VGPU_INLINE double finish_upper(double x) {
  return x != x ? double_of(0x7fffffff00000000u) : flush_double(upper_half(x));
}
struct RcpUpper {
  VGPU_INLINE double run(double a, const Instr*) {
    return finish_upper(1.0 / flush_double(upper_half(a)));
  }
};
struct RsqrtUpper {
  VGPU_INLINE double run(double a, const Instr*) {
    return finish_upper(1.0 / __builtin_sqrt(flush_double(upper_half(a))));
  }
};

template <bool ftz>
struct Sin {
  VGPU_INLINE float run(float a, const Instr*) {
    return finish<ftz, false>(math::sin_approx(flush<ftz>(a)));
  }
};
template <bool ftz>
struct Cos {
  VGPU_INLINE float run(float a, const Instr*) {
    return finish<ftz, false>(math::cos_approx(flush<ftz>(a)));
  }
};
template <bool ftz>
struct Lg2 {
  VGPU_INLINE float run(float a, const Instr*) {
    return finish<ftz, false>(math::lg2_approx(flush<ftz>(a)));
  }
};
template <bool ftz>
struct Ex2 {
  VGPU_INLINE float run(float a, const Instr*) {
    return finish<ftz, false>(math::ex2_approx(flush<ftz>(a)));
  }
};
template <bool ftz>
struct Tanh {
  VGPU_INLINE float run(float a, const Instr*) {
    return finish<ftz, false>(math::tanh_approx(flush<ftz>(a)));
  }
};

// Directed rounding: the processor's mode is changed around the ordinary handler.
template <Handler plain>
const Instr* rounded(Warp& w, const Instr* in) {
  static constexpr int kModes[4] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  std::fesetround(kModes[(in->mods & kRoundMask) >> kRoundShift]);
  Handler volatile handler = plain;  // opaque, so that nothing moves across the change of mode
  const Instr* next = handler(w, in);
  std::fesetround(FE_TONEAREST);
  return next;
}

template <Handler plain>
Handler with_rounding(uint32_t mods) {
  return (mods & kRoundMask) != kRoundNearest ? Handler{rounded<plain>} : Handler{plain};
}

template <class T, bool ftz, bool sat>
Handler rounding_op(Op op, uint32_t mods) {
  switch (op) {
    case Op::kAdd:
      return with_rounding<binary<Add<T, ftz, sat>, T, T, T>>(mods);
    case Op::kSub:
      return with_rounding<binary<Sub<T, ftz, sat>, T, T, T>>(mods);
    case Op::kMulLo:
      return with_rounding<binary<Mul<T, ftz, sat>, T, T, T>>(mods);
    case Op::kDiv:
      return with_rounding<binary<Div<T, ftz, sat>, T, T, T>>(mods);
    case Op::kFma:
    case Op::kMadLo:
      return with_rounding<ternary<Fma<T, ftz, sat>, T, T, T, T>>(mods);
    default:
      return nullptr;
  }
}

template <bool ftz>
Handler single(Op op, uint32_t mods) {
  if (op == Op::kDiv && (mods & kApprox) != 0) {
    return binary<DivApprox<ftz>, float, float, float>;
  }
  if (const Handler handler = (mods & kSat) != 0 ? rounding_op<float, ftz, true>(op, mods)
                                                 : rounding_op<float, ftz, false>(op, mods)) {
    return handler;
  }
  const bool plain = (mods & (kNan | kXorSign)) == 0;
  switch (op) {
    case Op::kMin:
      return plain ? binary<MinMax<float, ftz, false, true>, float, float, float>
                   : binary<MinMax<float, ftz, false, false>, float, float, float>;
    case Op::kMax:
      return plain ? binary<MinMax<float, ftz, true, true>, float, float, float>
                   : binary<MinMax<float, ftz, true, false>, float, float, float>;
    case Op::kMin3:
      return ternary<MinMax3<float, ftz, false>, float, float, float, float>;
    case Op::kMax3:
      return ternary<MinMax3<float, ftz, true>, float, float, float, float>;
    case Op::kAbs:
      return unary<AbsF<ftz>, float, float>;
    case Op::kNeg:
      return unary<NegF<ftz>, float, float>;
    case Op::kRcp:
      return with_rounding<unary<Rcp<float, ftz>, float, float>>(mods);
    case Op::kSqrt:
      return with_rounding<unary<SqrtF<ftz>, float, float>>(mods);
    case Op::kRsqrt:
      return unary<RsqrtF<ftz>, float, float>;
    case Op::kSin:
      return unary<Sin<ftz>, float, float>;
    case Op::kCos:
      return unary<Cos<ftz>, float, float>;
    case Op::kLg2:
      return unary<Lg2<ftz>, float, float>;
    case Op::kEx2:
      return unary<Ex2<ftz>, float, float>;
    case Op::kTanh:
      return unary<Tanh<ftz>, float, float>;
    case Op::kCopysign:
      return binary<CopySignF, uint32_t, uint32_t, uint32_t>;
    default:
      return nullptr;
  }
}

Handler full(Op op, uint32_t mods) {
  if (const Handler handler = (mods & kSat) != 0 ? rounding_op<double, false, true>(op, mods)
                                                 : rounding_op<double, false, false>(op, mods)) {
    return handler;
  }
  switch (op) {
    case Op::kMin:
      return binary<MinMax<double, false, false, true>, double, double, double>;
    case Op::kMax:
      return binary<MinMax<double, false, true, true>, double, double, double>;
    case Op::kAbs:
      return unary<AbsD, double, double>;
    case Op::kNeg:
      return unary<NegD, double, double>;
    case Op::kRcp:
      return (mods & kApprox) != 0 ? unary<RcpUpper, double, double>
                                   : with_rounding<unary<Rcp<double, false>, double, double>>(mods);
    case Op::kSqrt:
      return with_rounding<unary<Sqrt<double, false>, double, double>>(mods);
    case Op::kRsqrt:
      return (mods & kFtz) != 0 ? unary<RsqrtUpper, double, double> : unary<RsqrtD, double, double>;
    case Op::kCopysign:
      return binary<CopySignD, uint64_t, uint64_t, uint64_t>;
    default:
      return nullptr;
  }
}

// Two single precision values in one 64-bit register.
template <class F>
const Instr* packed_two(Warp& w, const Instr* in) {
  float* d = w.row<float>(in->d);
  const float* a = w.row<float>(in->a);
  const float* b = w.row<float>(in->b);
  const float* c = w.row<float>(in->c);
  for (int i = 0; i < 2 * kLanes; ++i) {
    const float r = F::run(a[i], b[i], c[i]);
    d[i] = w.lanes[i / 2] != 0 ? r : d[i];
  }
  return in + 1;
}
template <bool ftz>
struct PairAdd {
  VGPU_INLINE float run(float a, float b, float) {
    return finish<ftz, false>(flush<ftz>(a) + flush<ftz>(b));
  }
};
template <bool ftz>
struct PairSub {
  VGPU_INLINE float run(float a, float b, float) {
    return finish<ftz, false>(flush<ftz>(a) - flush<ftz>(b));
  }
};
template <bool ftz>
struct PairMul {
  VGPU_INLINE float run(float a, float b, float) {
    return finish<ftz, false>(flush<ftz>(a) * flush<ftz>(b));
  }
};
template <bool ftz>
struct PairFma {
  VGPU_INLINE float run(float a, float b, float c) {
    return finish<ftz, false>(fused(flush<ftz>(a), flush<ftz>(b), flush<ftz>(c)));
  }
};

template <bool ftz>
Handler pairs(Op op, uint32_t mods) {
  switch (op) {
    case Op::kAdd:
      return with_rounding<packed_two<PairAdd<ftz>>>(mods);
    case Op::kSub:
      return with_rounding<packed_two<PairSub<ftz>>>(mods);
    case Op::kMulLo:
      return with_rounding<packed_two<PairMul<ftz>>>(mods);
    case Op::kFma:
    case Op::kMadLo:
      return with_rounding<packed_two<PairFma<ftz>>>(mods);
    default:
      return nullptr;
  }
}

enum class Test { kFinite, kInfinite, kNumber, kNotANumber, kNormal, kSubnormal };

template <class T, class B>
const Instr* test_property(Warp& w, const Instr* in) {
  const B* a = w.row<B>(in->a);
  constexpr int kMantissa = sizeof(T) == 4 ? 23 : 52;
  constexpr B kExponent = sizeof(T) == 4 ? B{0xff} : B{0x7ff};
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) {
    const B exponent = a[i] >> kMantissa & kExponent;
    const B mantissa = a[i] & ((B{1} << kMantissa) - 1);
    bool r = false;
    switch (static_cast<Test>(in->imm)) {
      case Test::kFinite:
        r = exponent != kExponent;
        break;
      case Test::kInfinite:
        r = exponent == kExponent && mantissa == 0;
        break;
      case Test::kNumber:
        r = !(exponent == kExponent && mantissa != 0);
        break;
      case Test::kNotANumber:
        r = exponent == kExponent && mantissa != 0;
        break;
      case Test::kNormal:
        r = exponent != kExponent && (exponent != 0 || mantissa == 0);  // a zero is normal
        break;
      case Test::kSubnormal:
        r = exponent == 0 && mantissa != 0;
        break;
    }
    bits |= static_cast<uint32_t>(r) << i;
  }
  w.set_predicate(in->d, bits);
  return in + 1;
}

}  // namespace

Handler floating(Op op, Type type, uint32_t mods) {
  if (op == Op::kTestp) {
    if (type == Type::kF32) return test_property<float, uint32_t>;
    return type == Type::kF64 ? Handler{test_property<double, uint64_t>} : nullptr;
  }
  const bool ftz = (mods & kFtz) != 0;
  switch (type) {
    case Type::kF32:
      return ftz ? single<true>(op, mods) : single<false>(op, mods);
    case Type::kF64:
      return full(op, mods);
    case Type::kF32x2:
      return ftz ? pairs<true>(op, mods) : pairs<false>(op, mods);
    default:
      return nullptr;
  }
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

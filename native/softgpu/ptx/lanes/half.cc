// f16, bf16 and pairs of them, and pairs of 16-bit integers (PTX ISA sections 9.7.4, 9.7.1).
#include "softgpu/math/approximate.h"
#include "softgpu/math/arithmetic.h"
#include "softgpu/ptx/lanes/lanes.h"
#include "softgpu/ptx/lanes/types.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

namespace m = math;
using m::NanRule;
using m::Rounding;

// What an operation does before and after: flush, clamp, drop negative values.
template <bool bf16>
VGPU_INLINE uint16_t before(uint16_t a, uint32_t mods) {
  return !bf16 && (mods & kFtz) != 0 ? m::flush_f16(a) : a;
}
template <bool bf16>
VGPU_INLINE uint16_t after(uint16_t r, uint32_t mods) {
  if (!bf16 && (mods & kFtz) != 0) r = m::flush_f16(r);
  if ((mods & kSat) != 0) r = bf16 ? m::saturate_bf16(r) : m::saturate_f16(r);
  if ((mods & kRelu) != 0) r = bf16 ? m::relu_bf16(r) : m::relu_f16(r);
  return r;
}

template <Op op, bool bf16>
VGPU_INLINE uint16_t compute(uint16_t a, uint16_t b, uint16_t c, uint32_t mods) {
  switch (op) {
    case Op::kAdd:
      return bf16 ? m::add_bf16(a, b) : m::add_f16(a, b);
    case Op::kSub:
      return bf16 ? m::sub_bf16(a, b) : m::sub_f16(a, b);
    case Op::kMulLo:
      return bf16 ? m::mul_bf16(a, b) : m::mul_f16(a, b);
    case Op::kFma:
      return bf16 ? m::fma_bf16(a, b, c) : m::fma_f16(a, b, c);
    case Op::kNeg:
      return m::neg16(a);
    case Op::kAbs:
      return m::abs16(a);
    case Op::kEx2:
      return bf16 ? m::ex2_bf16(a) : m::ex2_f16(a);
    case Op::kTanh:
      return bf16 ? m::tanh_bf16(a) : m::tanh_f16(a);
    case Op::kMin:
    case Op::kMax: {
      constexpr bool kMax = op == Op::kMax;
      constexpr uint16_t kInfinity = bf16 ? 0x7F80 : 0x7C00;
      const uint16_t sign = (mods & kXorSign) != 0 ? (a ^ b) & 0x8000 : 0;
      if ((mods & kXorSign) != 0) {
        a = m::abs16(a);
        b = m::abs16(b);
      }
      const uint16_t r = (mods & kNan) != 0 ? m::select16<NanRule::kNan, kMax>(a, b, kInfinity)
                                            : m::select16<NanRule::kNumber, kMax>(a, b, kInfinity);
      return r == m::kNanF16 ? r : r | sign;
    }
    default:
      return a;
  }
}

// `width` values per lane: 1 or 2.
template <Op op, bool bf16, int width, bool plain>
const Instr* half(Warp& w, const Instr* in) {
  uint16_t* d = w.row<uint16_t>(in->d);
  const uint16_t* a = w.row<uint16_t>(in->a);
  const uint16_t* b = w.row<uint16_t>(in->b);
  const uint16_t* c = w.row<uint16_t>(in->c);
  const uint32_t mods = plain ? 0 : in->mods;
  alignas(64) uint16_t r[kLanes * width];
  _Pragma("GCC ivdep") for (int i = 0; i < kLanes * width; ++i) {
    r[i] = after<bf16>(compute<op, bf16>(before<bf16>(a[i], mods), before<bf16>(b[i], mods),
                                         before<bf16>(c[i], mods), mods),
                       mods);
  }
  if (w.full) {
    __builtin_memcpy(d, r, sizeof(r));
  } else {
    for (int i = 0; i < kLanes * width; ++i) d[i] = w.lanes[i / width] != 0 ? r[i] : d[i];
  }
  return in + 1;
}

template <bool bf16, int width>
Handler pick_half(Op op, uint32_t mods) {
  const bool plain = (mods & (kFtz | kSat | kRelu | kNan | kXorSign)) == 0;
#define VGPU_HALF(name) \
  case Op::name:        \
    return plain ? half<Op::name, bf16, width, true> : half<Op::name, bf16, width, false>
  switch (op) {
    VGPU_HALF(kAdd);
    VGPU_HALF(kSub);
    VGPU_HALF(kMulLo);
    VGPU_HALF(kFma);
    VGPU_HALF(kNeg);
    VGPU_HALF(kAbs);
    VGPU_HALF(kEx2);
    VGPU_HALF(kTanh);
    VGPU_HALF(kMin);
    VGPU_HALF(kMax);
    default:
      return nullptr;
  }
#undef VGPU_HALF
}

template <Op op, class T>
const Instr* pair_integer(Warp& w, const Instr* in) {
  T* d = w.row<T>(in->d);
  const T* a = w.row<T>(in->a);
  const T* b = w.row<T>(in->b);
  const bool relu = (in->mods & kRelu) != 0;
  for (int i = 0; i < 2 * kLanes; ++i) {
    T r = op == Op::kAdd   ? static_cast<T>(a[i] + b[i])
          : op == Op::kSub ? static_cast<T>(a[i] - b[i])
          : op == Op::kMin ? (a[i] < b[i] ? a[i] : b[i])
          : op == Op::kMax ? (a[i] > b[i] ? a[i] : b[i])
                           : static_cast<T>(-a[i]);
    if (relu && r < 0) r = 0;
    d[i] = w.lanes[i / 2] != 0 ? r : d[i];
  }
  return in + 1;
}
template <class T>
Handler pick_pair(Op op) {
  switch (op) {
    case Op::kAdd:
      return pair_integer<Op::kAdd, T>;
    case Op::kSub:
      return pair_integer<Op::kSub, T>;
    case Op::kMin:
      return pair_integer<Op::kMin, T>;
    case Op::kMax:
      return pair_integer<Op::kMax, T>;
    case Op::kNeg:
      return pair_integer<Op::kNeg, T>;
    default:
      return nullptr;
  }
}

// Comparisons. imm as in compare.cc; of a pair, p is the lower half's and q the upper half's.
VGPU_INLINE uint32_t combine(int64_t how, uint32_t x, uint32_t c) {
  return how == 1 ? x & c : how == 2 ? x | c : how == 3 ? x ^ c : x;
}

template <bool bf16, int width>
const Instr* setp_half(Warp& w, const Instr* in) {
  const uint16_t* a = w.row<uint16_t>(in->a);
  const uint16_t* b = w.row<uint16_t>(in->b);
  const auto compare = static_cast<Compare>(in->mods >> kCompareShift);
  uint32_t bits[2] = {0, 0};
  for (int i = 0; i < kLanes * width; ++i) {
    const uint16_t x = before<bf16>(a[i], in->mods), y = before<bf16>(b[i], in->mods);
    const bool r = holds(compare, bf16 ? m::bf16_to_f32(x) : m::f16_to_f32(x),
                         bf16 ? m::bf16_to_f32(y) : m::f16_to_f32(y));
    bits[i % width] |= static_cast<uint32_t>(r) << (i / width);
  }
  const uint32_t c = in->imm != 0 ? w.predicate(in->c) : 0;
  w.set_predicate(in->d, combine(in->imm, bits[0], c));
  if (in->e != 0) w.set_predicate(in->e - 4, combine(in->imm, width == 2 ? bits[1] : ~bits[0], c));
  return in + 1;
}

}  // namespace

Handler half_arithmetic(Op op, Type type, uint32_t mods) {
  if (op == Op::kMadLo) op = Op::kFma;
  switch (type) {
    case Type::kF16:
      return pick_half<false, 1>(op, mods);
    case Type::kBF16:
      return pick_half<true, 1>(op, mods);
    case Type::kF16x2:
      return pick_half<false, 2>(op, mods);
    case Type::kBF16x2:
      return pick_half<true, 2>(op, mods);
    case Type::kU16x2:
      return pick_pair<uint16_t>(op);
    case Type::kS16x2:
      return pick_pair<int16_t>(op);
    default:
      return nullptr;
  }
}

Handler half_compare(Type type) {
  switch (type) {
    case Type::kF16:
      return setp_half<false, 1>;
    case Type::kBF16:
      return setp_half<true, 1>;
    case Type::kF16x2:
      return setp_half<false, 2>;
    case Type::kBF16x2:
      return setp_half<true, 2>;
    default:
      return nullptr;
  }
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

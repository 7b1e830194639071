// setp: comparisons into predicates (PTX ISA sections 9.3.1, 9.7.6).
#include "softgpu/ptx/lanes/lanes.h"
#include "softgpu/ptx/lanes/types.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

template <class T, bool flush_denormals>
VGPU_INLINE T operand(T x) {
  if constexpr (sizeof(T) == 4 && flush_denormals) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    bits = (bits & 0x7f800000u) == 0 ? bits & 0x80000000u : bits;
    __builtin_memcpy(&x, &bits, 4);
  }
  return x;
}

// imm: 0 none, 1 and, 2 or, 3 xor with predicate c; e: the complement's place, or kNoPair.
VGPU_INLINE const Instr* store(Warp& w, const Instr* in, uint32_t bits) {
  uint32_t p = bits, q = ~bits;
  if (in->imm != 0) {
    const uint32_t c = w.predicate(in->c);
    p = in->imm == 1 ? bits & c : in->imm == 2 ? bits | c : bits ^ c;
    q = in->imm == 1 ? ~bits & c : in->imm == 2 ? ~bits | c : ~bits ^ c;
  }
  w.set_predicate(in->d, p);
  if (in->e != 0) w.set_predicate(in->e - 4, q);
  return in + 1;
}

template <Compare compare, class T, bool ftz>
const Instr* setp(Warp& w, const Instr* in) {
  const T* a = w.row<T>(in->a);
  const T* b = w.row<T>(in->b);
  alignas(64) uint32_t flags[kLanes];
  VGPU_EACH_LANE flags[i] = holds(compare, operand<T, ftz>(a[i]), operand<T, ftz>(b[i])) ? ~0u : 0u;
  return store(w, in, pack_mask(flags));
}

template <class T, bool ftz>
Handler pick_integer(Compare compare) {
  switch (compare) {
    case Compare::kEq:
      return setp<Compare::kEq, T, ftz>;
    case Compare::kNe:
      return setp<Compare::kNe, T, ftz>;
    case Compare::kLt:
    case Compare::kLo:
      return setp<Compare::kLt, T, ftz>;
    case Compare::kLe:
    case Compare::kLs:
      return setp<Compare::kLe, T, ftz>;
    case Compare::kGt:
    case Compare::kHi:
      return setp<Compare::kGt, T, ftz>;
    case Compare::kGe:
    case Compare::kHs:
      return setp<Compare::kGe, T, ftz>;
    default:
      return nullptr;
  }
}

template <class T, bool ftz>
Handler pick_floating(Compare compare) {
  switch (compare) {
    case Compare::kEqu:
      return setp<Compare::kEqu, T, ftz>;
    case Compare::kNeu:
      return setp<Compare::kNeu, T, ftz>;
    case Compare::kLtu:
      return setp<Compare::kLtu, T, ftz>;
    case Compare::kLeu:
      return setp<Compare::kLeu, T, ftz>;
    case Compare::kGtu:
      return setp<Compare::kGtu, T, ftz>;
    case Compare::kGeu:
      return setp<Compare::kGeu, T, ftz>;
    case Compare::kNum:
      return setp<Compare::kNum, T, ftz>;
    case Compare::kNan:
      return setp<Compare::kNan, T, ftz>;
    default:
      return pick_integer<T, ftz>(compare);
  }
}

}  // namespace

Handler compare(Compare compare, Type type, uint32_t mods) {
  switch (type) {
    case Type::kB16:
    case Type::kU16:
    case Type::kB8:
    case Type::kU8:
      return pick_integer<uint16_t, false>(compare);
    case Type::kS16:
      return pick_integer<int16_t, false>(compare);
    case Type::kB32:
    case Type::kU32:
      return pick_integer<uint32_t, false>(compare);
    case Type::kS32:
      return pick_integer<int32_t, false>(compare);
    case Type::kB64:
    case Type::kU64:
      return pick_integer<uint64_t, false>(compare);
    case Type::kS64:
      return pick_integer<int64_t, false>(compare);
    case Type::kF32:
      return (mods & kFtz) != 0 ? pick_floating<float, true>(compare)
                                : pick_floating<float, false>(compare);
    case Type::kF64:
      return pick_floating<double, false>(compare);
    default:
      return nullptr;
  }
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

// Integer, logic, shift and bit-field instructions (PTX ISA sections 9.7.1, 9.7.2, 9.7.8).
#include "softgpu/ptx/lanes/integer_lane.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

template <class T>
const Instr* selp(Warp& w, const Instr* in) {
  T* d = w.row<T>(in->d);
  const T* a = w.row<T>(in->a);
  const T* b = w.row<T>(in->b);
  alignas(64) uint32_t take[kLanes];
  widen_mask(w.predicate(in->c), take);
  if (w.full) {
    VGPU_EACH_LANE d[i] = take[i] != 0 ? a[i] : b[i];
  } else {
    VGPU_EACH_LANE {
      const T r = take[i] != 0 ? a[i] : b[i];
      d[i] = w.lanes[i] != 0 ? r : d[i];
    }
  }
  return in + 1;
}

const Instr* predicate_logic(Warp& w, const Instr* in) {
  const uint32_t a = w.predicate(in->a);
  const uint32_t b = w.predicate(in->b);
  uint32_t r = a;
  switch (static_cast<Op>(in->imm)) {
    case Op::kAnd:
      r = a & b;
      break;
    case Op::kOr:
      r = a | b;
      break;
    case Op::kXor:
      r = a ^ b;
      break;
    case Op::kNot:
    case Op::kCnot:
      r = ~a;
      break;
    default:
      break;
  }
  w.set_predicate(in->d, r);
  return in + 1;
}

// add.cc, addc, sub.cc, subc, mad.cc, madc: the carry is a row of its own (e), one bit per lane.
template <class T, Op op>
const Instr* with_carry(Warp& w, const Instr* in) {
  T* d = w.row<T>(in->d);
  const T* a = w.row<T>(in->a);
  const T* b = w.row<T>(in->b);
  const T* c = op == Op::kMadCLo || op == Op::kMadCHi ? w.row<T>(in->c) : nullptr;
  const uint32_t carry = (in->mods & kCarryIn) != 0 ? w.mask_at(in->e) : 0;
  uint32_t out = 0;
  for (int i = 0; i < kLanes; ++i) {
    if (w.lanes[i] == 0) continue;
    unsigned __int128 x = static_cast<U<T>>(a[i]), y = static_cast<U<T>>(b[i]);
    if (op == Op::kMadCLo || op == Op::kMadCHi) {
      const Wide<T> product = static_cast<Wide<T>>(a[i]) * b[i];
      x = static_cast<U<T>>(op == Op::kMadCLo ? product : product >> kBits<T>);
      y = static_cast<U<T>>(c[i]);
    }
    const uint32_t bit = carry >> i & 1;
    unsigned __int128 r;
    if (op == Op::kSubC) {
      r = x - y - bit;  // the borrow shows in every bit above
    } else {
      r = x + y + bit;
    }
    out |= (static_cast<uint32_t>(r >> kBits<T>) & 1) << i;
    d[i] = static_cast<T>(static_cast<U<T>>(r));
  }
  if ((in->mods & kCarryOut) != 0) w.set_predicate(in->e, out);
  return in + 1;
}

template <class T>
Handler of_type(Op op, uint32_t mods) {
  using S = U<T>;
  const bool saturate = (mods & kSat) != 0;
  const bool relu = (mods & kRelu) != 0;
  switch (op) {
    case Op::kMov:
      return unary<Move, S, S>;
    case Op::kAdd:
      return saturate ? binary<AddSat<T>, T, T, T> : binary<Add<T>, T, T, T>;
    case Op::kSub:
      return saturate ? binary<SubSat<T>, T, T, T> : binary<Sub<T>, T, T, T>;
    case Op::kMulLo:
      return binary<MulLo<T>, T, T, T>;
    case Op::kMulHi:
      return binary<MulHi<T>, T, T, T>;
    case Op::kMadLo:
      return ternary<MadLo<T>, T, T, T, T>;
    case Op::kMadHi:
      return saturate ? ternary<MadHiSat<T>, T, T, T, T> : ternary<MadHi<T>, T, T, T, T>;
    case Op::kSad:
      return ternary<Sad<T>, T, T, T, T>;
    case Op::kDiv:
      return binary<Div<T>, T, T, T>;
    case Op::kRem:
      return binary<Rem<T>, T, T, T>;
    case Op::kAbs:
      return unary<Abs<T>, T, T>;
    case Op::kNeg:
      return unary<Neg<T>, T, T>;
    case Op::kMin:
      return relu ? binary<MinRelu<T>, T, T, T> : binary<Min<T>, T, T, T>;
    case Op::kMax:
      return relu ? binary<MaxRelu<T>, T, T, T> : binary<Max<T>, T, T, T>;
    case Op::kAnd:
      return binary<And<S>, S, S, S>;
    case Op::kOr:
      return binary<Or<S>, S, S, S>;
    case Op::kXor:
      return binary<Xor<S>, S, S, S>;
    case Op::kNot:
      return unary<Not<S>, S, S>;
    case Op::kCnot:
      return unary<Cnot<S>, S, S>;
    case Op::kShl:
      return binary<Shl<S>, S, S, uint32_t>;
    case Op::kShr:
      return binary<Shr<T>, T, T, uint32_t>;
    case Op::kSelp:
      return selp<Row<S>>;
    default:
      return nullptr;
  }
}

template <class T>
Handler wide_of(Op op) {
  if (op == Op::kMulWide) return binary<MulWide<T>, Wide<T>, T, T>;
  if (op == Op::kMadWide) return ternary<MadWide<T>, Wide<T>, T, T, Wide<T>>;
  return nullptr;
}

template <class T>
Handler of_32_and_64(Op op) {
  using S = U<T>;
  switch (op) {
    case Op::kPopc:
      return unary<Popc<S>, uint32_t, S>;
    case Op::kClz:
      return unary<Clz<S>, uint32_t, S>;
    case Op::kBfind:
      return unary<Bfind<T>, uint32_t, T>;
    case Op::kBrev:
      return unary<Brev<S>, S, S>;
    case Op::kBfe:
      return ternary<Bfe<T>, T, T, uint32_t, uint32_t>;
    case Op::kBfi:
      return Bfi<S>::handle;
    case Op::kAddC:
      return with_carry<T, Op::kAddC>;
    case Op::kSubC:
      return with_carry<T, Op::kSubC>;
    case Op::kMadCLo:
      return with_carry<T, Op::kMadCLo>;
    case Op::kMadCHi:
      return with_carry<T, Op::kMadCHi>;
    default:
      return nullptr;
  }
}

template <class T>
Handler of_32(Op op, uint32_t mods) {
  switch (op) {
    case Op::kMul24Lo:
      return binary<Mul24Lo<T>, T, T, T>;
    case Op::kMul24Hi:
      return binary<Mul24Hi<T>, T, T, T>;
    case Op::kMad24Lo:
      return ternary<Mad24Lo<T>, T, T, T, T>;
    case Op::kMad24Hi:
      return (mods & kSat) != 0 ? ternary<Mad24HiSat<T>, T, T, T, T>
                                : ternary<Mad24Hi<T>, T, T, T, T>;
    case Op::kFns:
      return ternary<Fns, uint32_t, uint32_t, uint32_t, int32_t>;
    case Op::kBmsk:
      return binary<Bmsk, uint32_t, uint32_t, uint32_t>;
    case Op::kSzext:
      return binary<Szext<T>, T, T, uint32_t>;
    case Op::kDp4a:
      return ternary<Dp4a, uint32_t, uint32_t, uint32_t, uint32_t>;
    case Op::kDp2a:
      return ternary<Dp2a, uint32_t, uint32_t, uint32_t, uint32_t>;
    case Op::kLop3:
      return ternary<Lop3, uint32_t, uint32_t, uint32_t, uint32_t>;
    case Op::kShfL:
      return ternary<ShfL, uint32_t, uint32_t, uint32_t, uint32_t>;
    case Op::kShfR:
      return ternary<ShfR, uint32_t, uint32_t, uint32_t, uint32_t>;
    case Op::kPrmt:
      return ternary<Prmt, uint32_t, uint32_t, uint32_t, uint32_t>;
    default:
      return nullptr;
  }
}

// 128-bit moves: two 64-bit rows.
const Instr* move_128(Warp& w, const Instr* in) {
  uint64_t* d = w.row<uint64_t>(in->d);
  const uint64_t* a = w.row<uint64_t>(in->a);
  for (int i = 0; i < 2 * kLanes; ++i) d[i] = w.lanes[i % kLanes] != 0 ? a[i] : d[i];
  return in + 1;
}

}  // namespace

Handler integer(Op op, Type type, uint32_t mods) {
  const auto pick = [&]<class T>(T) -> Handler {
    if (const Handler handler = of_type<T>(op, mods)) return handler;
    if constexpr (sizeof(T) < 8) {
      if (const Handler handler = wide_of<T>(op)) return handler;
    }
    if constexpr (sizeof(T) >= 4) {
      if (const Handler handler = of_32_and_64<T>(op)) return handler;
    }
    if constexpr (sizeof(T) == 4) return of_32<T>(op, mods);
    return nullptr;
  };
  switch (type) {
    case Type::kPred:
      return predicate_logic;
    case Type::kB8:
    case Type::kU8:
    case Type::kS8:
    case Type::kB16:
    case Type::kU16:
      return pick(uint16_t{});
    case Type::kS16:
      return pick(int16_t{});
    case Type::kB32:
    case Type::kU32:
      return pick(uint32_t{});
    case Type::kS32:
      return pick(int32_t{});
    case Type::kB64:
    case Type::kU64:
      return pick(uint64_t{});
    case Type::kS64:
      return pick(int64_t{});
    case Type::kB128:
      return op == Op::kMov ? move_128 : nullptr;
    default:
      return nullptr;
  }
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

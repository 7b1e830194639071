// atom and red (PTX ISA sections 9.7.13.5 to 9.7.13.7). Lanes go one after the other in order;
// other host threads run other blocks, so global memory needs the host's atomics.
#include "softgpu/math/arithmetic.h"
#include "softgpu/ptx/lanes/access.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

template <class T>
struct Bits {
  using type = T;
};
template <>
struct Bits<float> {
  using type = uint32_t;
};
template <>
struct Bits<double> {
  using type = uint64_t;
};

enum class Half { kF16, kBf16 };

template <Atomic op, class T>
VGPU_INLINE T combine(T old, T b, T c) {
  switch (op) {
    case Atomic::kAdd:
      return static_cast<T>(old + b);
    case Atomic::kMin:
      return b < old ? b : old;
    case Atomic::kMax:
      return b > old ? b : old;
    case Atomic::kInc:
      return old >= b ? T{0} : static_cast<T>(old + 1);
    case Atomic::kDec:
      return old == 0 || old > b ? b : static_cast<T>(old - 1);
    case Atomic::kExch:
      return b;
    case Atomic::kCas:
      return old == b ? c : old;
    default:
      break;
  }
  if constexpr (static_cast<T>(0.5) == static_cast<T>(0)) {
    if (op == Atomic::kAnd) return old & b;
    if (op == Atomic::kOr) return old | b;
    if (op == Atomic::kXor) return old ^ b;
  }
  return old;
}

// A block runs on one host thread at a time: its shared memory needs no atomic of the host.
template <Atomic op, class T>
VGPU_INLINE T change_alone(uint64_t address, T b, T c) {
  T old;
  __builtin_memcpy(&old, reinterpret_cast<const void*>(address), sizeof(T));
  const T next = combine<op, T>(old, b, c);
  __builtin_memcpy(reinterpret_cast<void*>(address), &next, sizeof(T));
  return old;
}

// Changes one place; returns what was there.
template <Space space, Atomic op, class T>
VGPU_INLINE T change(uint64_t address, T b, T c) {
  if constexpr (space == Space::kShared) return change_alone<op, T>(address, b, c);
  using B = typename Bits<T>::type;
  auto* place = reinterpret_cast<B*>(address);
  if constexpr (static_cast<T>(0.5) == static_cast<T>(0)) {
    switch (op) {
      case Atomic::kAdd:
        return static_cast<T>(__atomic_fetch_add(place, static_cast<B>(b), __ATOMIC_SEQ_CST));
      case Atomic::kAnd:
        return static_cast<T>(__atomic_fetch_and(place, static_cast<B>(b), __ATOMIC_SEQ_CST));
      case Atomic::kOr:
        return static_cast<T>(__atomic_fetch_or(place, static_cast<B>(b), __ATOMIC_SEQ_CST));
      case Atomic::kXor:
        return static_cast<T>(__atomic_fetch_xor(place, static_cast<B>(b), __ATOMIC_SEQ_CST));
      case Atomic::kExch:
        return static_cast<T>(__atomic_exchange_n(place, static_cast<B>(b), __ATOMIC_SEQ_CST));
      case Atomic::kCas: {
        B expected = static_cast<B>(b);
        __atomic_compare_exchange_n(place, &expected, static_cast<B>(c), false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
        return static_cast<T>(expected);
      }
      default:
        break;
    }
  }
  B old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (true) {
    T value;
    __builtin_memcpy(&value, &old, sizeof(T));
    const T next = combine<op, T>(value, b, c);
    B bits;
    __builtin_memcpy(&bits, &next, sizeof(T));
    if (__atomic_compare_exchange_n(place, &old, bits, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      return value;
  }
}

// d = atom [a + imm], b, c. mods: kNoResult for red.
template <Space space, Atomic op, class T>
const Instr* atom(Warp& w, const Instr* in) {
  Access access;
  if (!resolve<space>(w, in, sizeof(T), true, access)) return nullptr;
  const T* b = w.row<T>(in->b);
  const T* c = w.row<T>(in->c);
  T old[kLanes];
  bool changed = false;
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int i = __builtin_ctz(lanes);
    old[i] = change<space, op, T>(access.at[i], b[i], c[i]);
    changed |= old[i] != combine<op, T>(old[i], b[i], c[i]);
  }
  // Who waits for others changes nothing: only that costs of the time slice.
  ++w.sync_accesses;
  if (!changed) w.fuel -= kPollCost;
  if ((in->mods & kNoResult) != 0) return in + 1;
  T* d = w.row<T>(in->d);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int i = __builtin_ctz(lanes);
    d[i] = old[i];
  }
  return in + 1;
}

VGPU_INLINE float flush(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  bits = (bits & 0x7f800000u) == 0 ? bits & 0x80000000u : bits;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

// atom.add.f32 flushes denormals in global memory and keeps them in shared memory (PTX ISA
// 9.7.13.5).
template <Space space>
const Instr* atom_add_f32(Warp& w, const Instr* in) {
  Access access;
  if (!resolve<space>(w, in, 4, true, access)) return nullptr;
  w.fuel -= kPollCost;
  ++w.sync_accesses;
  const float* b = w.row<float>(in->b);
  float* d = w.row<float>(in->d);
  const auto shared = reinterpret_cast<uint64_t>(w.block->shared);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int i = __builtin_ctz(lanes);
    const bool keeps = space == Space::kShared || access.at[i] - shared < w.run->shared_bytes;
    auto* place = reinterpret_cast<uint32_t*>(access.at[i]);
    uint32_t old = __atomic_load_n(place, __ATOMIC_RELAXED), bits;
    float value;
    do {
      __builtin_memcpy(&value, &old, 4);
      const float next = keeps ? value + b[i] : flush(flush(value) + flush(b[i]));
      __builtin_memcpy(&bits, &next, 4);
    } while (
        !__atomic_compare_exchange_n(place, &old, bits, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    if ((in->mods & kNoResult) == 0) d[i] = value;
  }
  return in + 1;
}

template <Atomic op, bool bf16>
VGPU_INLINE uint16_t combine_half(uint16_t old, uint16_t b) {
  constexpr uint16_t kInfinity = bf16 ? 0x7F80 : 0x7C00;
  if (op == Atomic::kMin) return math::select16<math::NanRule::kNumber, false>(old, b, kInfinity);
  if (op == Atomic::kMax) return math::select16<math::NanRule::kNumber, true>(old, b, kInfinity);
  return bf16 ? math::add_bf16(old, b) : math::add_f16(old, b);
}

// One half, or a pair in 32 bits.
template <Space space, Atomic op, bool bf16, class T>
const Instr* atom_half(Warp& w, const Instr* in) {
  Access access;
  if (!resolve<space>(w, in, sizeof(T), true, access)) return nullptr;
  w.fuel -= kPollCost;
  ++w.sync_accesses;
  const T* b = w.row<T>(in->b);
  T* d = w.row<T>(in->d);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int i = __builtin_ctz(lanes);
    auto* place = reinterpret_cast<T*>(access.at[i]);
    T old = __atomic_load_n(place, __ATOMIC_RELAXED), next;
    do {
      next = combine_half<op, bf16>(static_cast<uint16_t>(old), static_cast<uint16_t>(b[i]));
      if constexpr (sizeof(T) == 4) {
        next |= static_cast<uint32_t>(combine_half<op, bf16>(static_cast<uint16_t>(old >> 16),
                                                             static_cast<uint16_t>(b[i] >> 16)))
                << 16;
      }
    } while (
        !__atomic_compare_exchange_n(place, &old, next, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    if ((in->mods & kNoResult) == 0) d[i] = old;
  }
  return in + 1;
}

__extension__ using Wide = unsigned __int128;

// The x86 instruction for this is no part of the compiler's baseline, though all processors but the
// first with 64 bits have it.
#if defined(__x86_64__)
[[gnu::target("cx16")]]
#endif
[[gnu::noinline]] Wide compare_and_swap(uint64_t address, Wide old, Wide next) {
  return __sync_val_compare_and_swap(reinterpret_cast<Wide*>(address), old, next);
}

// 128 bits: exch and cas. Rows are two 64-bit rows each.
template <Space space, Atomic op>
const Instr* atom_128(Warp& w, const Instr* in) {
  Access access;
  if (!resolve<space>(w, in, 16, true, access)) return nullptr;
  w.fuel -= kPollCost;
  ++w.sync_accesses;
  const auto value = [&](uint32_t operand, int lane) {
    const uint64_t* halves = w.row<uint64_t>(operand);
    return static_cast<Wide>(halves[lane + kLanes]) << 64 | halves[lane];
  };
  uint64_t* d = w.row<uint64_t>(in->d);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int i = __builtin_ctz(lanes);
    Wide old = op == Atomic::kCas ? value(in->b, i) : 0;
    const Wide next = value(op == Atomic::kCas ? in->c : in->b, i);
    Wide found = compare_and_swap(access.at[i], old, next);
    while (op == Atomic::kExch && found != old) {
      old = found;
      found = compare_and_swap(access.at[i], old, next);
    }
    if ((in->mods & kNoResult) == 0) {
      d[i] = static_cast<uint64_t>(found);
      d[i + kLanes] = static_cast<uint64_t>(found >> 64);
    }
  }
  return in + 1;
}

template <Space space, class T>
Handler integer_op(Atomic op) {
  switch (op) {
    case Atomic::kAdd:
      return atom<space, Atomic::kAdd, T>;
    case Atomic::kMin:
      return atom<space, Atomic::kMin, T>;
    case Atomic::kMax:
      return atom<space, Atomic::kMax, T>;
    case Atomic::kInc:
      return atom<space, Atomic::kInc, T>;
    case Atomic::kDec:
      return atom<space, Atomic::kDec, T>;
    case Atomic::kExch:
      return atom<space, Atomic::kExch, T>;
    case Atomic::kCas:
      return atom<space, Atomic::kCas, T>;
    case Atomic::kAnd:
      return atom<space, Atomic::kAnd, T>;
    case Atomic::kOr:
      return atom<space, Atomic::kOr, T>;
    case Atomic::kXor:
      return atom<space, Atomic::kXor, T>;
  }
  return nullptr;
}
template <Space space, bool bf16, class T>
Handler half_op(Atomic op) {
  switch (op) {
    case Atomic::kAdd:
      return atom_half<space, Atomic::kAdd, bf16, T>;
    case Atomic::kMin:
      return atom_half<space, Atomic::kMin, bf16, T>;
    case Atomic::kMax:
      return atom_half<space, Atomic::kMax, bf16, T>;
    default:
      return nullptr;
  }
}

template <Space space>
Handler of_type(Atomic op, Type type) {
  switch (type) {
    case Type::kB16:
    case Type::kU16:
      return op == Atomic::kCas ? Handler{atom<space, Atomic::kCas, uint16_t>} : nullptr;
    case Type::kB32:
    case Type::kU32:
      return integer_op<space, uint32_t>(op);
    case Type::kS32:
      return integer_op<space, int32_t>(op);
    case Type::kB64:
    case Type::kU64:
      return integer_op<space, uint64_t>(op);
    case Type::kS64:
      return integer_op<space, int64_t>(op);
    case Type::kF32:
      return op == Atomic::kAdd ? Handler{atom_add_f32<space>} : nullptr;
    case Type::kF64:
      return op == Atomic::kAdd ? Handler{atom<space, Atomic::kAdd, double>} : nullptr;
    case Type::kF16:
      return half_op<space, false, uint16_t>(op);
    case Type::kBF16:
      return half_op<space, true, uint16_t>(op);
    case Type::kF16x2:
      return half_op<space, false, uint32_t>(op);
    case Type::kBF16x2:
      return half_op<space, true, uint32_t>(op);
    case Type::kB128:
      if (op == Atomic::kExch) return atom_128<space, Atomic::kExch>;
      return op == Atomic::kCas ? Handler{atom_128<space, Atomic::kCas>} : nullptr;
    default:
      return nullptr;
  }
}

}  // namespace

Handler atomic(Space space, Atomic op, Type type) {
  switch (space) {
    case Space::kShared:
      return of_type<Space::kShared>(op, type);
    case Space::kGlobal:
      return of_type<Space::kGlobal>(op, type);
    case Space::kGeneric:
      return of_type<Space::kGeneric>(op, type);
    default:
      return nullptr;
  }
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

// cp.async.bulk and cp.reduce.async.bulk (PTX ISA sections 9.7.9.27.1 and following). A copy is
// complete when it is issued, which every wait allows.
#include "softgpu/ptx/bulk.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "softgpu/math/convert.h"
#include "softgpu/ptx/access.h"
#include "softgpu/ptx/block.h"
#include "softgpu/ptx/cluster.h"
#include "softgpu/ptx/decode.h"
#include "softgpu/ptx/mbarrier.h"

namespace vgpu::softgpu::ptx {
namespace {

constexpr uint32_t kUnit = 16;  // alignment of both sides, and the size's

template <class T>
T combined(T old, T value, BulkOp op) {
  switch (op) {
    case BulkOp::kAdd:
      if constexpr (std::is_integral_v<T>) {  // wraps
        using Unsigned = std::make_unsigned_t<T>;
        return static_cast<T>(static_cast<Unsigned>(old) + static_cast<Unsigned>(value));
      } else {
        return old + value;
      }
    case BulkOp::kMin:
      return std::min(old, value);
    case BulkOp::kMax:
      return std::max(old, value);
    default:
      break;
  }
  if constexpr (std::is_unsigned_v<T>) {
    switch (op) {
      case BulkOp::kInc:
        return old >= value ? T{0} : static_cast<T>(old + 1);
      case BulkOp::kDec:
        return old == 0 || old > value ? value : static_cast<T>(old - 1);
      case BulkOp::kAnd:
        return old & value;
      case BulkOp::kOr:
        return old | value;
      default:
        return old ^ value;
    }
  }
  return value;
}

// Other blocks may reduce into the same place: each element is one atomic operation.
template <class T, class Bits>
void reduce_elements(std::byte* to, const std::byte* from, uint32_t bytes, BulkOp op) {
  for (uint32_t at = 0; at < bytes; at += sizeof(T)) {
    auto* place = reinterpret_cast<Bits*>(to + at);
    T value;
    std::memcpy(&value, from + at, sizeof(T));
    Bits old = __atomic_load_n(place, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(
        place, &old, std::bit_cast<Bits>(combined(std::bit_cast<T>(old), value, op)), false,
        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
  }
}

uint16_t half_combined(uint16_t old, uint16_t value, BulkOp op, bool bfloat) {
  using math::Rounding;
  const float a = bfloat ? math::bf16_to_f32(old) : math::f16_to_f32(old);
  const float b = bfloat ? math::bf16_to_f32(value) : math::f16_to_f32(value);
  if (op == BulkOp::kMin) return b < a ? value : old;
  if (op == BulkOp::kMax) return b > a ? value : old;
  return bfloat ? math::f32_to_bf16<Rounding::kNearest>(a + b)
                : math::f32_to_f16<Rounding::kNearest>(a + b);
}

void reduce_halves(std::byte* to, const std::byte* from, uint32_t bytes, BulkOp op, bool bfloat) {
  for (uint32_t at = 0; at < bytes; at += 2) {
    auto* place = reinterpret_cast<uint16_t*>(to + at);
    uint16_t value;
    std::memcpy(&value, from + at, 2);
    uint16_t old = __atomic_load_n(place, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(place, &old, half_combined(old, value, op, bfloat), false,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
  }
}

bool move_bytes(Warp& w, const Instr* in, const BulkInfo& info, int lane, uint64_t to,
                uint64_t from, uint32_t size) {
  for (uint32_t at = 0; at < size; at += kUnit) {
    const uint64_t source = checked_address(w, in, info.from.space, lane, from + at, kUnit, false);
    if (source == 0) return false;
    const uint64_t place = checked_address(w, in, info.to.space, lane, to + at, kUnit, true);
    if (place == 0) return false;
    auto* target = reinterpret_cast<std::byte*>(place);
    const auto* given = reinterpret_cast<const std::byte*>(source);
    if (info.reduces) {
      reduce_span(target, given, kUnit, info.type, info.op);
    } else {
      std::memcpy(target, given, kUnit);
    }
  }
  return true;
}

}  // namespace

uint64_t bulk_address(const Warp& w, const BulkInfo::Place& place, int lane) {
  const uint64_t base =
      place.narrow ? w.row<uint32_t>(place.row)[lane] : w.row<uint64_t>(place.row)[lane];
  const uint64_t address = base + static_cast<uint64_t>(place.offset);
  return place.narrow ? address & 0xffffffffu : address;
}

bool complete_transactions(Warp& w, const Instr* in, int lane, uint64_t barrier, uint32_t bytes) {
  const uint64_t place = checked_address(w, in, Space::kShared, lane, barrier, 8, true);
  if (place == 0) return false;
  auto& object = *reinterpret_cast<Barrier64*>(place);
  object.transactions -= static_cast<int32_t>(bytes);
  settle(object);
  return true;
}

void reduce_span(std::byte* to, const std::byte* from, uint32_t bytes, Type type, BulkOp op) {
  switch (type) {
    case Type::kS32:
      return reduce_elements<int32_t, uint32_t>(to, from, bytes, op);
    case Type::kS64:
      return reduce_elements<int64_t, uint64_t>(to, from, bytes, op);
    case Type::kF32:
      return reduce_elements<float, uint32_t>(to, from, bytes, op);
    case Type::kF64:
      return reduce_elements<double, uint64_t>(to, from, bytes, op);
    case Type::kF16:
    case Type::kBF16:
      return reduce_halves(to, from, bytes, op, type == Type::kBF16);
    case Type::kU64:
    case Type::kB64:
      return reduce_elements<uint64_t, uint64_t>(to, from, bytes, op);
    default:
      return reduce_elements<uint32_t, uint32_t>(to, from, bytes, op);
  }
}

namespace handlers {

const Instr* bulk_copy(Warp& w, const Instr* in) {
  const auto& info = *static_cast<const BulkInfo*>(in->data);
  const auto blocks = static_cast<uint32_t>(w.block->leader->cluster.size());
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const uint64_t to = bulk_address(w, info.to, lane), from = bulk_address(w, info.from, lane);
    const uint32_t size = w.row<uint32_t>(info.size)[lane];
    if (size % kUnit != 0) {
      return w.fault(in, FaultKind::kMisalignedAddress, lane,
                     "bulk copy of " + std::to_string(size) + " bytes, not a multiple of 16");
    }
    const uint64_t barrier = info.has_barrier ? bulk_address(w, info.barrier, lane) : 0;
    if (info.multicast == 0) {
      if (!move_bytes(w, in, info, lane, to, from, size)) return nullptr;
      if (info.has_barrier && !complete_transactions(w, in, lane, barrier, size)) return nullptr;
      continue;
    }
    // The same offsets in each block of the mask.
    const uint32_t mask = w.row<uint16_t>(info.multicast)[lane];
    for (uint32_t rank = 0; rank < 16; ++rank) {
      if ((mask >> rank & 1) == 0) continue;
      if (rank >= blocks) {
        return w.fault(in, FaultKind::kIllegalAddress, lane,
                       "multicast: the cluster has no block " + std::to_string(rank));
      }
      if (!move_bytes(w, in, info, lane, at_rank(to, rank), from, size)) return nullptr;
      if (!complete_transactions(w, in, lane, at_rank(barrier, rank), size)) return nullptr;
    }
  }
  return in + 1;
}

const Instr* complete_bytes(Warp& w, const Instr* in) {
  const auto& info = *static_cast<const BulkInfo*>(in->data);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const uint64_t barrier = bulk_address(w, info.barrier, lane);
    if (!complete_transactions(w, in, lane, barrier, static_cast<uint32_t>(in->imm)))
      return nullptr;
  }
  return in + 1;
}

}  // namespace handlers
}  // namespace vgpu::softgpu::ptx

// cp.async.bulk.tensor in tile mode (PTX ISA sections 5.5.3 and 9.7.9.27.3): boxes of a tensor in
// global memory, which a tensor map describes, to and from shared memory.
#include <algorithm>
#include <cstring>
#include <iterator>

#include "softgpu/ptx/access.h"
#include "softgpu/ptx/block.h"
#include "softgpu/ptx/bulk.h"
#include "softgpu/ptx/cluster.h"
#include "softgpu/ptx/decode.h"
#include "softgpu/tensor_map.h"

namespace vgpu::softgpu::ptx {
namespace {

// Reads the map; false after a fault.
bool read_map(Warp& w, const Instr* in, int lane, uint64_t address, TensorMap& map) {
  for (uint32_t at = 0; at < sizeof(TensorMap); at += 64) {
    const uint64_t place = checked_address(w, in, Space::kGeneric, lane, address + at, 64, false);
    if (place == 0) return false;
    std::memcpy(reinterpret_cast<std::byte*>(&map) + at, reinterpret_cast<const void*>(place), 64);
  }
  if (map.magic == kTensorMapMagic) return true;
  w.fault(in, FaultKind::kIllegalInstruction, lane, "the operand is no tensor map");
  return false;
}

// What a reduction takes the elements for.
Type type_of(const TensorMap& map) {
  constexpr Type kTypes[] = {Type::kU8,  Type::kU16, Type::kU32, Type::kS32, Type::kU64,
                             Type::kS64, Type::kF16, Type::kF32, Type::kF64, Type::kBF16};
  return map.type < std::size(kTypes) ? kTypes[map.type] : Type::kNone;
}

// All ones is a NaN in every floating type.
void fill(std::byte* to, const TensorMap& map) {
  std::memset(to, map.fills_nan ? 0xff : 0, map.element);
}

// Chunks of 16 bytes change places within 128, 64 or 32 bytes, by bits of the address above them.
uint64_t swizzled(uint64_t address, const TensorMap& map) {
  const uint64_t chunk_mask = (uint64_t{1} << map.swizzle_bits) - 1;
  return address ^ ((address >> 7 & chunk_mask) << 4);
}

class Box {
 public:
  Box(Warp& w, const Instr* in, const BulkInfo& info, int lane, const TensorMap& map,
      const int32_t* corner)
      : w_(w), in_(in), info_(info), lane_(lane), map_(map) {
    std::copy_n(corner, kMostTensorRank, corner_);
  }

  [[nodiscard]] uint32_t bytes() const {
    uint32_t elements = map_.element;
    for (uint32_t d = 0; d < map_.rank; ++d) elements *= map_.count(d);
    return elements;
  }

  // Copies every element between the tensor and shared memory at `shared`.
  bool copy(uint64_t shared) {
    uint32_t at[kMostTensorRank] = {};
    const uint32_t total = bytes() / map_.element;
    for (uint32_t i = 0; i < total; ++i) {
      if (!copy_element(at, shared + uint64_t{i} * map_.element)) return false;
      for (uint32_t d = 0; d < map_.rank && ++at[d] == map_.count(d); ++d) at[d] = 0;
    }
    return true;
  }

 private:
  bool copy_element(const uint32_t* at, uint64_t shared) {
    const uint64_t inner = checked_address(w_, in_, Space::kShared, lane_, swizzled(shared, map_),
                                           map_.element, info_.loads);
    if (inner == 0) return false;
    auto* here = reinterpret_cast<std::byte*>(inner);
    uint64_t place = 0;
    if (!tensor_place(at, place)) {
      if (info_.loads) fill(here, map_);
      return true;
    }
    const uint64_t outer =
        checked_address(w_, in_, Space::kGlobal, lane_, place, map_.element, !info_.loads);
    if (outer == 0) return false;
    auto* there = reinterpret_cast<std::byte*>(outer);
    if (info_.loads) {
      std::memcpy(here, there, map_.element);
    } else if (info_.reduces) {
      reduce_span(there, here, map_.element, type_of(map_), info_.op);
    } else {
      std::memcpy(there, here, map_.element);
    }
    return true;
  }

  // False outside of the tensor.
  bool tensor_place(const uint32_t* at, uint64_t& place) const {
    place = map_.address;
    for (uint32_t d = 0; d < map_.rank; ++d) {
      const int64_t index = int64_t{corner_[d]} + int64_t{at[d]} * map_.steps[d];
      if (index < 0 || static_cast<uint64_t>(index) >= map_.dimensions[d]) return false;
      place += static_cast<uint64_t>(index) * (d == 0 ? map_.element : map_.strides[d - 1]);
    }
    return true;
  }

  Warp& w_;
  const Instr* in_;
  const BulkInfo& info_;
  int lane_;
  const TensorMap& map_;
  int32_t corner_[kMostTensorRank];
};

}  // namespace

namespace handlers {

const Instr* tensor_copy(Warp& w, const Instr* in) {
  const auto& info = *static_cast<const BulkInfo*>(in->data);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    TensorMap map;
    if (!read_map(w, in, lane, bulk_address(w, info.map, lane), map)) return nullptr;
    if (info.reduces && map.element == 1) {
      return w.fault(in, FaultKind::kIllegalInstruction, lane, "a reduction of bytes");
    }
    if (map.rank != info.rank) {
      return w.fault(in, FaultKind::kIllegalInstruction, lane,
                     "a tensor map of rank " + std::to_string(map.rank));
    }
    int32_t corner[kMostTensorRank] = {};
    for (uint32_t d = 0; d < info.rank; ++d) {
      corner[d] = w.row<int32_t>(info.coordinates[d])[lane];
    }
    Box box(w, in, info, lane, map, corner);
    const uint64_t shared = bulk_address(w, info.to, lane);
    const uint64_t barrier = info.has_barrier ? bulk_address(w, info.barrier, lane) : 0;
    const uint32_t mask = info.multicast == 0 ? 0 : w.row<uint16_t>(info.multicast)[lane];
    const auto one = [&](uint64_t place, uint64_t done) {
      return box.copy(place) &&
             (!info.has_barrier || complete_transactions(w, in, lane, done, box.bytes()));
    };
    if (info.multicast == 0 && !one(shared, barrier)) return nullptr;
    for (uint32_t rank = 0; rank < 16; ++rank) {
      if ((mask >> rank & 1) == 0) continue;
      if (!one(at_rank(shared, rank), at_rank(barrier, rank))) return nullptr;
    }
  }
  return in + 1;
}

}  // namespace handlers
}  // namespace vgpu::softgpu::ptx

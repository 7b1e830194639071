// The decoded form of a bulk copy.
#pragma once

#include <cstddef>
#include <cstdint>

#include "softgpu/ptx/syntax.h"
#include "softgpu/ptx/types.h"

namespace vgpu::softgpu::ptx {

struct Warp;
struct Instr;

enum class BulkOp : uint8_t { kAdd, kMin, kMax, kInc, kDec, kAnd, kOr, kXor };

struct BulkInfo {
  struct Place {
    uint32_t row = 0;  // base register
    int64_t offset = 0;
    bool narrow = false;  // the register has 32 bits
    Space space = Space::kGlobal;
  };
  Place to, from, barrier;
  uint32_t size = 0;       // row
  uint32_t multicast = 0;  // row of a mask of ranks, or 0
  bool has_barrier = false;
  bool reduces = false;
  BulkOp op = BulkOp::kAdd;
  Type type = Type::kNone;
  // Of tensor copies: `to` is the place in shared memory, whichever way the copy goes.
  Place map;  // generic
  uint32_t coordinates[5] = {0, 0, 0, 0, 0};
  uint32_t rank = 0;
  bool loads = false;
};

uint64_t bulk_address(const Warp& w, const BulkInfo::Place& place, int lane);
// A copy of `bytes` to the mbarrier at `barrier` is complete. False after a fault.
bool complete_transactions(Warp& w, const Instr* in, int lane, uint64_t barrier, uint32_t bytes);
// to = to op from, element by element; each is one atomic operation.
void reduce_span(std::byte* to, const std::byte* from, uint32_t bytes, Type type, BulkOp op);

}  // namespace vgpu::softgpu::ptx

// Special registers (PTX ISA section 10).
#include <chrono>
#include <unordered_map>

#include "softgpu/ptx/block.h"
#include "softgpu/ptx/decode.h"

namespace vgpu::softgpu::ptx::handlers {
namespace {

enum class Special : uint32_t {
  kTidX,
  kTidY,
  kTidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kLaneId,
  kWarpId,
  kNwarpId,
  kSmId,
  kNsmId,
  kGridId,
  kMaskEq,
  kMaskLe,
  kMaskLt,
  kMaskGe,
  kMaskGt,
  kClock,
  kClockHi,
  kClock64,
  kGlobalTimer,
  kGlobalTimerLo,
  kGlobalTimerHi,
  kDynamicShared,
  kTotalShared,
  kAggregateShared,
  kZero,
  kOne,
  kClusterCtaRank,
  kClusterNctaRank,
  kClusterIdX,
  kClusterIdY,
  kClusterIdZ,
  kNclusterIdX,
  kNclusterIdY,
  kNclusterIdZ,
  kClusterCtaidX,
  kClusterCtaidY,
  kClusterCtaidZ,
  kClusterNctaidX,
  kClusterNctaidY,
  kClusterNctaidZ,
  kTrue,
  kReservedShared,
  kWorkspaceLow,
  kWorkspaceHigh,
};

struct Entry {
  Special id;
  uint32_t bytes;
};

const std::unordered_map<std::string_view, Entry>& table() {
  static const std::unordered_map<std::string_view, Entry> kTable = {
      {"%tid.x", {Special::kTidX, 4}},
      {"%tid.y", {Special::kTidY, 4}},
      {"%tid.z", {Special::kTidZ, 4}},
      {"%ntid.x", {Special::kNtidX, 4}},
      {"%ntid.y", {Special::kNtidY, 4}},
      {"%ntid.z", {Special::kNtidZ, 4}},
      {"%ctaid.x", {Special::kCtaidX, 4}},
      {"%ctaid.y", {Special::kCtaidY, 4}},
      {"%ctaid.z", {Special::kCtaidZ, 4}},
      {"%nctaid.x", {Special::kNctaidX, 4}},
      {"%nctaid.y", {Special::kNctaidY, 4}},
      {"%nctaid.z", {Special::kNctaidZ, 4}},
      {"%laneid", {Special::kLaneId, 4}},
      {"%warpid", {Special::kWarpId, 4}},
      {"%nwarpid", {Special::kNwarpId, 4}},
      {"%smid", {Special::kSmId, 4}},
      {"%nsmid", {Special::kNsmId, 4}},
      {"%gridid", {Special::kGridId, 8}},
      {"%lanemask_eq", {Special::kMaskEq, 4}},
      {"%lanemask_le", {Special::kMaskLe, 4}},
      {"%lanemask_lt", {Special::kMaskLt, 4}},
      {"%lanemask_ge", {Special::kMaskGe, 4}},
      {"%lanemask_gt", {Special::kMaskGt, 4}},
      {"%clock", {Special::kClock, 4}},
      {"%clock_hi", {Special::kClockHi, 4}},
      {"%clock64", {Special::kClock64, 8}},
      {"%globaltimer", {Special::kGlobalTimer, 8}},
      {"%globaltimer_lo", {Special::kGlobalTimerLo, 4}},
      {"%globaltimer_hi", {Special::kGlobalTimerHi, 4}},
      {"%dynamic_smem_size", {Special::kDynamicShared, 4}},
      {"%total_smem_size", {Special::kTotalShared, 4}},
      {"%aggr_smem_size", {Special::kAggregateShared, 4}},
      {"%clusterid.x", {Special::kClusterIdX, 4}},
      {"%clusterid.y", {Special::kClusterIdY, 4}},
      {"%clusterid.z", {Special::kClusterIdZ, 4}},
      {"%nclusterid.x", {Special::kNclusterIdX, 4}},
      {"%nclusterid.y", {Special::kNclusterIdY, 4}},
      {"%nclusterid.z", {Special::kNclusterIdZ, 4}},
      {"%cluster_ctaid.x", {Special::kClusterCtaidX, 4}},
      {"%cluster_ctaid.y", {Special::kClusterCtaidY, 4}},
      {"%cluster_ctaid.z", {Special::kClusterCtaidZ, 4}},
      {"%cluster_nctaid.x", {Special::kClusterNctaidX, 4}},
      {"%cluster_nctaid.y", {Special::kClusterNctaidY, 4}},
      {"%cluster_nctaid.z", {Special::kClusterNctaidZ, 4}},
      {"%cluster_ctarank", {Special::kClusterCtaRank, 4}},
      {"%cluster_nctarank", {Special::kClusterNctaRank, 4}},
      {"%reserved_smem_offset_begin", {Special::kZero, 4}},
      {"%reserved_smem_offset_end", {Special::kZero, 4}},
      {"%reserved_smem_offset_cap", {Special::kZero, 4}},
      {"%reserved_smem_offset_0", {Special::kZero, 4}},
      {"%reserved_smem_offset_1", {Special::kZero, 4}}};
  return kTable;
}

uint64_t nanoseconds() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count());
}
// Counts nanoseconds: as if the device ran at 1 GHz.
uint64_t clock() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

uint64_t uniform(const Warp& w, Special id) {
  const Launch& launch = *w.run->launch;
  const Dim3& cluster = w.run->cluster;
  switch (id) {
    case Special::kNtidX:
      return launch.block.x;
    case Special::kNtidY:
      return launch.block.y;
    case Special::kNtidZ:
      return launch.block.z;
    case Special::kCtaidX:
      return w.block->index[0];
    case Special::kCtaidY:
      return w.block->index[1];
    case Special::kCtaidZ:
      return w.block->index[2];
    case Special::kNctaidX:
      return launch.grid.x;
    case Special::kNctaidY:
      return launch.grid.y;
    case Special::kNctaidZ:
      return launch.grid.z;
    case Special::kWarpId:
      return w.index;
    case Special::kNwarpId:
      return 64;
    case Special::kSmId:
      return w.block->number % std::max(launch.sm_count, 1u);
    case Special::kNsmId:
      return launch.sm_count;
    case Special::kGridId:
      return w.run->grid_id;
    case Special::kClock:
      return clock() & 0xffffffffu;
    case Special::kClockHi:
      return clock() >> 32;
    case Special::kClock64:
      return clock();
    case Special::kGlobalTimer:
      return nanoseconds();
    case Special::kGlobalTimerLo:
      return nanoseconds() & 0xffffffffu;
    case Special::kGlobalTimerHi:
      return nanoseconds() >> 32;
    case Special::kDynamicShared:
      return launch.dynamic_shared_bytes;
    case Special::kTotalShared:
    case Special::kAggregateShared:
      return w.run->shared_bytes;
    case Special::kWorkspaceLow:
      return launch.cooperative ? reinterpret_cast<uint64_t>(w.run->workspace) & 0xffffffffu : 0;
    case Special::kWorkspaceHigh:
      return launch.cooperative ? reinterpret_cast<uint64_t>(w.run->workspace) >> 32 : 0;
    case Special::kClusterIdX:
      return w.block->index[0] / cluster.x;
    case Special::kNclusterIdX:
      return launch.grid.x / cluster.x;
    case Special::kClusterCtaidX:
      return w.block->index[0] % cluster.x;
    case Special::kClusterNctaidX:
      return cluster.x;
    case Special::kClusterIdY:
      return w.block->index[1] / cluster.y;
    case Special::kNclusterIdY:
      return launch.grid.y / cluster.y;
    case Special::kClusterCtaidY:
      return w.block->index[1] % cluster.y;
    case Special::kClusterNctaidY:
      return cluster.y;
    case Special::kClusterIdZ:
      return w.block->index[2] / cluster.z;
    case Special::kNclusterIdZ:
      return launch.grid.z / cluster.z;
    case Special::kClusterCtaidZ:
      return w.block->index[2] % cluster.z;
    case Special::kClusterNctaidZ:
      return cluster.z;
    case Special::kClusterCtaRank:
      return w.block->rank;
    case Special::kClusterNctaRank:
      return w.block->leader->cluster.size();
    case Special::kOne:
      return 1;
    default:
      return 0;
  }
}

uint32_t per_lane(Special id, uint32_t lane) {
  const uint32_t bit = 1u << lane;
  switch (id) {
    case Special::kLaneId:
      return lane;
    case Special::kMaskEq:
      return bit;
    case Special::kMaskLt:
      return bit - 1;
    case Special::kMaskLe:
      return bit | (bit - 1);
    case Special::kMaskGe:
      return ~(bit - 1);
    default:
      return ~(bit | (bit - 1));
  }
}

// d = value(lane) where lanes run.
template <class F>
void put_row(const Warp& w, uint32_t operand, F&& value) {
  uint32_t* d = w.row<uint32_t>(operand);
  if (w.full) {
    for (uint32_t i = 0; i < kLanes; ++i) d[i] = value(i);
  } else {
    for (uint32_t i = 0; i < kLanes; ++i) d[i] = w.lanes[i] != 0 ? value(i) : d[i];
  }
}

// Divides once, then counts.
void put_thread_index(const Warp& w, const Instr* in, Special id) {
  const Dim3& size = w.run->launch->block;
  const uint32_t first = w.index * kLanes;
  uint32_t x = first % size.x, y = first / size.x % size.y, z = first / size.x / size.y;
  uint32_t values[kLanes];
  for (uint32_t& value : values) {
    value = id == Special::kTidX ? x : id == Special::kTidY ? y : z;
    if (++x < size.x) continue;
    x = 0;
    if (++y < size.y) continue;
    y = 0;
    ++z;
  }
  put_row(w, in->d, [&](uint32_t lane) { return values[lane]; });
}

const Instr* read_lanes(Warp& w, const Instr* in) {
  const auto id = static_cast<Special>(in->imm);
  if (id == Special::kTidX && w.run->launch->block.y == 1 && w.run->launch->block.z == 1) {
    isa().count_from(w, in->d, w.index * kLanes);
  } else if (id <= Special::kTidZ) {
    put_thread_index(w, in, id);
  } else {
    put_row(w, in->d, [&](uint32_t lane) { return per_lane(id, lane); });
  }
  return in + 1;
}

const Instr* read_uniform(Warp& w, const Instr* in) {
  isa().spread(w, in->d, uniform(w, static_cast<Special>(in->imm)), 4);
  return in + 1;
}

const Instr* read_wide(Warp& w, const Instr* in) {
  isa().spread(w, in->d, uniform(w, static_cast<Special>(in->imm)), 8);
  return in + 1;
}

}  // namespace

Handler special(std::string_view name, uint32_t& id, uint32_t& bytes) {
  const auto found = table().find(name);
  if (found == table().end()) {
    if (!name.starts_with("%envreg")) return nullptr;
    const Special which = name == "%envreg1"   ? Special::kWorkspaceHigh
                          : name == "%envreg2" ? Special::kWorkspaceLow
                                               : Special::kZero;
    id = static_cast<uint32_t>(which);
    bytes = 4;
    return read_uniform;
  }
  const Special which = found->second.id;
  id = static_cast<uint32_t>(which);
  bytes = found->second.bytes;
  if (bytes == 8) return read_wide;
  const bool lanes = which <= Special::kTidZ || which == Special::kLaneId ||
                     (which >= Special::kMaskEq && which <= Special::kMaskGt);
  return lanes ? read_lanes : read_uniform;
}

}  // namespace vgpu::softgpu::ptx::handlers

// mapa, getctarank and barrier.cluster (PTX ISA sections 9.7.9.24, 9.7.9.25 and 9.7.13.4).
#include "softgpu/ptx/cluster.h"

#include "softgpu/ptx/block.h"
#include "softgpu/ptx/decode.h"

namespace vgpu::softgpu::ptx {

// Threads that have exited count as arrived.
void BlockState::check_cluster() {
  for (const BlockState* member : leader->cluster) {
    for (const auto& warp : member->warps) {
      if ((warp->live & ~warp->cluster_arrived) != 0) return;
    }
  }
  leader->cluster_phase = ~leader->cluster_phase;
  for (BlockState* member : leader->cluster) {
    for (const auto& warp : member->warps) warp->cluster_arrived = 0;
  }
}

namespace handlers {

const Instr* cluster_arrive(Warp& w, const Instr* in) {
  const uint32_t phase = w.block->leader->cluster_phase;
  w.block->leader->cluster_barrier_used = true;
  w.cluster_arrived |= w.mask;
  w.cluster_phase = (w.cluster_phase & ~w.mask) | (phase & w.mask);
  w.block->check_cluster();
  return in + 1;
}

// The lanes poll: their blocks take turns until the phase in which they arrived is over.
const Instr* cluster_wait(Warp& w, const Instr* in) {
  const uint32_t phase = w.block->leader->cluster_phase;
  if ((w.mask & ~(w.cluster_phase ^ phase)) == 0) return in + 1;
  w.sync_accesses += 64;
  w.account(in);
  w.pc = in;
  w.stop = Stop::kYield;
  return nullptr;
}

// d = a's place in block b. mods: bytes of an address; imm: 1 for generic addresses.
const Instr* map_address(Warp& w, const Instr* in) {
  const size_t size = w.block->leader->cluster.size();
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const uint32_t rank = w.row<uint32_t>(in->b)[lane];
    const uint64_t address =
        in->mods == 8 ? w.row<uint64_t>(in->a)[lane] : w.row<uint32_t>(in->a)[lane];
    if (rank >= size || (in->imm == 1 && (address & kWindowMask) != kSharedWindow)) {
      return w.fault(in, FaultKind::kIllegalAddress, lane,
                     rank >= size ? "mapa: the cluster has no block " + std::to_string(rank)
                                  : std::string("mapa of an address outside of shared memory"));
    }
    const uint64_t mapped = at_rank(address, rank);
    if (in->mods == 8) {
      w.row<uint64_t>(in->d)[lane] = mapped;
    } else {
      w.row<uint32_t>(in->d)[lane] = static_cast<uint32_t>(mapped);
    }
  }
  return in + 1;
}

const Instr* rank_of_address(Warp& w, const Instr* in) {
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const uint64_t address =
        in->mods == 8 ? w.row<uint64_t>(in->a)[lane] : w.row<uint32_t>(in->a)[lane];
    w.row<uint32_t>(in->d)[lane] = rank_of(address, w.block->rank);
  }
  return in + 1;
}

}  // namespace handlers
}  // namespace vgpu::softgpu::ptx

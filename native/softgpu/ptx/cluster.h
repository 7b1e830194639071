// Clusters: blocks that run together and reach each other's shared memory (PTX ISA sections 2.2.2
// and 5.1.7.1). A shared address names the own block's memory; with a rank in its upper bits it
// names that block's. Every block without a cluster is one of its own.
#pragma once

#include <cstdint>

namespace vgpu::softgpu::ptx {

inline constexpr uint32_t kRankShift = 24;  // beyond the shared memory of every block
inline constexpr uint64_t kRankMask = uint64_t{0xff} << kRankShift;

// The rank that a shared offset names, or `own`.
constexpr uint32_t rank_of(uint64_t offset, uint32_t own) {
  const auto tag = static_cast<uint32_t>((offset & kRankMask) >> kRankShift);
  return tag == 0 ? own : tag - 1;
}
constexpr uint64_t at_rank(uint64_t address, uint32_t rank) {
  return (address & ~kRankMask) | uint64_t{rank + 1} << kRankShift;
}

}  // namespace vgpu::softgpu::ptx

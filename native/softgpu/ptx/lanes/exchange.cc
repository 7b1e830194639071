// shfl, vote, match, elect and activemask (PTX ISA sections 9.7.9.6, 9.7.13.9 to 9.7.13.12).
//
// Each lane names the lanes it wants with its own member mask; a converged split may hold several
// groups with different masks, so everything is evaluated per lane.
#include "softgpu/ptx/lanes/lanes.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

// The member masks of running lanes, joined; b32 row at `operand`.
VGPU_INLINE uint32_t named_lanes(const Warp& w, uint32_t operand) {
  const uint32_t* members = w.row<uint32_t>(operand);
  uint32_t all = 0;
  VGPU_EACH_LANE all |= members[i] & w.lanes[i];
  return all;
}

// d|e = shfl a, b, c, member mask list[0].
template <Exchange kind, class T>
const Instr* shuffle(Warp& w, const Instr* in) {
  const uint32_t named = named_lanes(w, in->list[0]);
  if (!w.here(named)) return w.wait_lanes(in, named);
  T* d = w.row<T>(in->d);
  const T* a = w.row<T>(in->a);
  const uint32_t* b = w.row<uint32_t>(in->b);
  const uint32_t* c = w.row<uint32_t>(in->c);
  alignas(64) uint32_t from[kLanes], valid[kLanes];
  VGPU_EACH_LANE {
    const auto bits = static_cast<int32_t>(b[i] & 31);
    const uint32_t clamp = c[i] & 31, segment = c[i] >> 8 & 31;
    const uint32_t least = static_cast<uint32_t>(i) & segment;
    const auto most = static_cast<int32_t>(least | (clamp & ~segment));
    const int32_t j = kind == Exchange::kShflUp     ? i - bits
                      : kind == Exchange::kShflDown ? i + bits
                      : kind == Exchange::kShflBfly
                          ? i ^ bits
                          : static_cast<int32_t>(least) | (bits & static_cast<int32_t>(~segment));
    const bool in_range = kind == Exchange::kShflUp ? j >= most : j <= most;
    from[i] = static_cast<uint32_t>(in_range ? j : i) & 31;
    valid[i] = in_range ? ~0u : 0;
  }
  alignas(64) T result[kLanes];  // d may be a
  VGPU_EACH_LANE result[i] = a[from[i]];
  VGPU_EACH_LANE d[i] = w.lanes[i] != 0 ? result[i] : d[i];
  if (in->e != 0) w.set_predicate(in->e - 4, pack_mask(valid));
  return in + 1;
}

// d = vote of predicate a; member mask b.
template <Exchange kind>
const Instr* vote(Warp& w, const Instr* in) {
  const uint32_t named = named_lanes(w, in->b);
  if (!w.here(named)) return w.wait_lanes(in, named);
  const uint32_t* members = w.row<uint32_t>(in->b);
  const uint32_t yes = w.predicate(in->a) & w.mask;
  if (kind == Exchange::kVoteBallot) {
    uint32_t* d = w.row<uint32_t>(in->d);
    VGPU_EACH_LANE d[i] = w.lanes[i] != 0 ? (yes & members[i]) : d[i];
    return in + 1;
  }
  alignas(64) uint32_t result[kLanes];
  VGPU_EACH_LANE {
    const uint32_t group = members[i] & w.mask;
    const bool all = (~yes & group) == 0, any = (yes & group) != 0;
    const bool r = kind == Exchange::kVoteAll   ? all
                   : kind == Exchange::kVoteAny ? any
                                                : (all || !any);
    result[i] = r ? ~0u : 0;
  }
  w.set_predicate(in->d, pack_mask(result));
  return in + 1;
}

// d (|e) = match of a; member mask b.
template <Exchange kind, class T>
const Instr* match(Warp& w, const Instr* in) {
  const uint32_t named = named_lanes(w, in->b);
  if (!w.here(named)) return w.wait_lanes(in, named);
  uint32_t* d = w.row<uint32_t>(in->d);
  const T* a = w.row<T>(in->a);
  const uint32_t* members = w.row<uint32_t>(in->b);
  uint32_t result[kLanes], same_all = 0;
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t group = members[i] & w.mask;
    uint32_t equal = 0;
    for (uint32_t rest = group; rest != 0; rest &= rest - 1) {
      const int j = __builtin_ctz(rest);
      equal |= static_cast<uint32_t>(a[j] == a[i]) << j;
    }
    const bool all = equal == group;
    same_all |= static_cast<uint32_t>(all) << i;
    result[i] = kind == Exchange::kMatchAny ? equal : all ? group : 0;
  }
  for (int i = 0; i < kLanes; ++i) d[i] = w.lanes[i] != 0 ? result[i] : d[i];
  if (in->e != 0) w.set_predicate(in->e - 4, same_all);
  return in + 1;
}

// d|e = elect.sync a: the lowest lane of the member mask leads.
const Instr* elect(Warp& w, const Instr* in) {
  const uint32_t named = named_lanes(w, in->a);
  if (!w.here(named)) return w.wait_lanes(in, named);
  const uint32_t* members = w.row<uint32_t>(in->a);
  uint32_t* d = w.row<uint32_t>(in->d);
  uint32_t leaders = 0;
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t group = members[i] & w.mask;
    const uint32_t leader = group == 0 ? 0 : static_cast<uint32_t>(__builtin_ctz(group));
    leaders |= static_cast<uint32_t>(leader == static_cast<uint32_t>(i)) << i;
    d[i] = w.lanes[i] != 0 ? leader : d[i];
  }
  if (in->e != 0) w.set_predicate(in->e - 4, leaders);
  return in + 1;
}

const Instr* active_mask(Warp& w, const Instr* in) {
  uint32_t* d = w.row<uint32_t>(in->d);
  const uint32_t mask = w.mask;
  VGPU_EACH_LANE d[i] = w.lanes[i] != 0 ? mask : d[i];
  return in + 1;
}

}  // namespace

Handler exchange(Exchange kind, uint32_t bytes) {
  switch (kind) {
    case Exchange::kShflUp:
      return shuffle<Exchange::kShflUp, uint32_t>;
    case Exchange::kShflDown:
      return shuffle<Exchange::kShflDown, uint32_t>;
    case Exchange::kShflBfly:
      return shuffle<Exchange::kShflBfly, uint32_t>;
    case Exchange::kShflIdx:
      return shuffle<Exchange::kShflIdx, uint32_t>;
    case Exchange::kVoteAll:
      return vote<Exchange::kVoteAll>;
    case Exchange::kVoteAny:
      return vote<Exchange::kVoteAny>;
    case Exchange::kVoteUni:
      return vote<Exchange::kVoteUni>;
    case Exchange::kVoteBallot:
      return vote<Exchange::kVoteBallot>;
    case Exchange::kMatchAny:
      return bytes == 8 ? match<Exchange::kMatchAny, uint64_t>
                        : match<Exchange::kMatchAny, uint32_t>;
    case Exchange::kMatchAll:
      return bytes == 8 ? match<Exchange::kMatchAll, uint64_t>
                        : match<Exchange::kMatchAll, uint32_t>;
    case Exchange::kElect:
      return elect;
    case Exchange::kActiveMask:
      return active_mask;
  }
  return nullptr;
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES

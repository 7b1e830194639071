// Branches, divergence, exit and barriers: handlers that change which lanes run.
#include <algorithm>

#include "softgpu/ptx/block.h"
#include "softgpu/ptx/decode.h"

namespace vgpu::softgpu::ptx {

void Warp::account(const Instr* next) {
  const auto count = static_cast<uint64_t>(next - since);
  instructions += count;
  // Without the host's instruction a population count is a call.
  lane_operations +=
      count * (mask == ~0u ? kLanes : static_cast<uint64_t>(__builtin_popcount(mask)));
  since = next;
}

// Goes to target; a branch back costs fuel and may end the warp's time slice.
const Instr* Warp::jump(const Instr* from, const Instr* target) {
  account(from + 1);
  since = target;
  if (target > from || --fuel > 0) return target;
  pc = target;
  stop = Stop::kYield;
  return nullptr;
}

// Lanes in `taken` go to the target, the others to `next`. They meet at info.join.
const Instr* Warp::diverge(const Instr* in, const BranchInfo& info, uint32_t taken,
                           const Instr* next) {
  account(in + 1);
  if (info.join != nullptr &&
      (node == nullptr || node->pc != info.join || node->frame != frame || node->call)) {
    Node* meeting = new_node();
    meeting->pc = info.join;
    meeting->frame = frame;
    meeting->parent = node;
    meeting->expected = mask;
    node = meeting;
  }
  const Instr* target = info.targets[0];
  // Lanes that are at the meeting point already run last: the others come to them.
  const bool target_first = next == info.join;
  Split other{target_first ? next : target,
              target_first ? mask & ~taken : taken,
              node,
              frame,
              Wait::kNone,
              0,
              0};
  ready.push_back(other);
  set_mask(target_first ? taken : mask & ~taken);
  const Instr* here = target_first ? target : next;
  since = here;
  if (here > in || --fuel > 0) return here;
  pc = here;
  stop = Stop::kYield;
  return nullptr;
}

// The running lanes have come to their node.
const Instr* Warp::arrive(uint32_t lanes_here) {
  Node* here = node;
  here->arrived |= lanes_here;
  if (here->arrived != here->expected) {
    stop = Stop::kSwitch;
    return nullptr;
  }
  const Instr* next = here->pc;
  const uint32_t all = here->expected;
  node = here->parent;
  remove(here);
  set_mask(all);
  since = next;
  return next;
}

// Lanes in `exiting` are gone for good.
const Instr* Warp::leave(uint32_t exiting, const Instr* next) {
  account(next);
  live &= ~exiting;
  const uint32_t rest = mask & ~exiting;
  drop(exiting);
  if (rest == 0) {
    mask = 0;
    stop = Stop::kSwitch;
    return nullptr;
  }
  set_mask(rest);
  return next;
}

const Instr* Warp::wait_lanes(const Instr* in, uint32_t named) {
  account(in);
  waiting.push_back({in, mask, node, frame, Wait::kLanes, 0, named});
  stop = Stop::kSwitch;
  return nullptr;
}

const Instr* Warp::wait_barrier(const Instr* in, uint32_t id) {
  account(in + 1);
  waiting.push_back({in + 1, mask, node, frame, Wait::kBarrier, id, 0});
  block->barriers[id].waiting += static_cast<uint32_t>(__builtin_popcount(mask));
  if (block->check_barrier(id)) fuel = std::max(fuel, 1);
  stop = Stop::kSwitch;
  return nullptr;
}

namespace handlers {

const Instr* guard(Warp& w, const Instr* in) {
  const uint32_t saved = w.mask;
  const uint32_t wanted = saved & w.predicate(in->a);
  if (wanted == saved) return in + 1;
  const Instr* const end = in + 1 + in->imm;
  if (wanted == 0) return end;
  w.set_mask(wanted);
  for (const Instr* at = in + 1; at < end;) {
    at = at->run(w, at);
    if (at == nullptr) return nullptr;  // only a fault
  }
  // An instruction may have ended lanes (trap does not come back); exit is never guarded this way.
  w.set_mask(saved);
  return end;
}

const Instr* jump(Warp& w, const Instr* in) { return w.jump(in, in->target); }

const Instr* branch(Warp& w, const Instr* in) {
  const auto& info = *static_cast<const BranchInfo*>(in->data);
  const uint32_t taken = w.predicate(in->a) & w.mask;
  if (taken == w.mask) return w.jump(in, info.targets[0]);
  if (taken == 0) return in + 1;
  return w.diverge(in, info, taken, in + 1);
}

const Instr* branch_table(Warp& w, const Instr* in) {
  const auto& info = *static_cast<const BranchInfo*>(in->data);
  const uint32_t* index = w.row<uint32_t>(in->a);
  const uint32_t first = index[__builtin_ctz(w.mask)];
  if (first >= info.targets.size()) {
    return w.fault(in, FaultKind::kIllegalInstruction, __builtin_ctz(w.mask),
                   "brx.idx beyond its table");
  }
  uint32_t same = 0;
  for (int i = 0; i < kLanes; ++i) same |= static_cast<uint32_t>(index[i] == first) << i;
  same &= w.mask;
  if (same == w.mask) return w.jump(in, info.targets[first]);
  // One group goes its way; the others come back to this instruction.
  BranchInfo step;
  step.join = info.join;
  step.targets = {info.targets[first]};
  return w.diverge(in, step, same, in);
}

const Instr* join(Warp& w, const Instr* in) {
  if (w.node == nullptr || w.node->pc != in || w.node->frame != w.frame || w.node->call)
    return in + 1;
  w.account(in);
  return w.arrive(w.mask);
}

const Instr* exit(Warp& w, const Instr* in) {
  const uint32_t exiting = w.mask & w.predicate(in->a);
  return exiting == 0 ? in + 1 : w.leave(exiting, in + 1);
}

const Instr* ret(Warp& w, const Instr* in) { return w.return_from(in); }

const Instr* trap(Warp& w, const Instr* in) {
  const uint32_t trapped = w.mask & w.predicate(in->a);
  if (trapped == 0) return in + 1;
  return w.fault(in, FaultKind::kTrap, __builtin_ctz(trapped), "trap");
}

const Instr* nothing(Warp&, const Instr* in) { return in + 1; }

const Instr* fence(Warp& w, const Instr* in) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  w.fuel -= 4;
  return in + 1;
}

const Instr* nanosleep(Warp& w, const Instr* in) {
  w.sync_accesses += 64;
  w.account(in + 1);
  w.pc = in + 1;
  w.stop = Stop::kYield;
  return nullptr;
}

const Instr* barrier(Warp& w, const Instr* in) {
  const uint32_t id = w.row<uint32_t>(in->a)[__builtin_ctz(w.mask)];
  const uint32_t count = in->b == 0 ? 0 : w.row<uint32_t>(in->b)[__builtin_ctz(w.mask)];
  if (id >= BlockState::kBarriers) {
    return w.fault(in, FaultKind::kIllegalInstruction, __builtin_ctz(w.mask),
                   "barrier " + std::to_string(id) + " does not exist");
  }
  // PTX ISA 9.7.13.1: a warp arrives as a whole, once all its threads that live have come.
  if (in->imm == 1 && !w.here(w.live)) return w.wait_lanes(in, w.live);
  Barrier& here = w.block->barriers[id];
  here.used = true;
  here.count = count;
  if (in->imm == 1) {
    here.arrived += kLanes;
    w.block->check_barrier(id);
    return in + 1;
  }
  return w.wait_barrier(in, id);
}

const Instr* barrier_reduce(Warp& w, const Instr* in) {
  const uint32_t id = w.row<uint32_t>(in->a)[__builtin_ctz(w.mask)];
  const uint32_t count = in->b == 0 ? 0 : w.row<uint32_t>(in->b)[__builtin_ctz(w.mask)];
  if (id >= BlockState::kBarriers) {
    return w.fault(in, FaultKind::kIllegalInstruction, __builtin_ctz(w.mask),
                   "barrier " + std::to_string(id) + " does not exist");
  }
  Barrier& here = w.block->barriers[id];
  here.used = true;
  here.count = count;
  const uint32_t yes = w.predicate(in->c) & w.mask;
  here.reduced_count += static_cast<uint32_t>(__builtin_popcount(yes));
  here.reduced_and &= yes == w.mask;
  here.reduced_or |= yes != 0;
  return w.wait_barrier(in, id);
}

const Instr* warp_barrier(Warp& w, const Instr* in) {
  const uint32_t* members = w.row<uint32_t>(in->a);
  uint32_t named = 0;
  for (int i = 0; i < kLanes; ++i) named |= members[i] & w.lanes[i];
  if (!w.here(named)) return w.wait_lanes(in, named);
  return in + 1;
}

}  // namespace handlers
}  // namespace vgpu::softgpu::ptx

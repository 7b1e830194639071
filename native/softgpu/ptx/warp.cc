// Splits of a warp: which runs next, when lanes meet again, when they stop waiting for each other.
#include "softgpu/ptx/warp.h"

#include <algorithm>
#include <cstdlib>

#include "softgpu/ptx/block.h"
#include "softgpu/ptx/decode.h"
#include "softgpu/ptx/lanes/isa.h"

namespace vgpu::softgpu::ptx {
namespace {

// Branches back per time slice of a warp.
constexpr int32_t kSlice = 4096;
constexpr int32_t kBudgetSlice = 64;  // where every instruction counts

}  // namespace

void Warp::set_mask(uint32_t lanes_now) {
  mask = lanes_now;
  full = (mask | ~live) == ~0u;
  widen(mask, lanes);
}

void Warp::start(BlockState& owner, uint32_t warp_index, uint32_t lanes_present) {
  block = &owner;
  run = owner.run;
  index = warp_index;
  live = lanes_present;
  instructions = lane_operations = 0;
  cluster_arrived = cluster_phase = 0;
  ready.clear();
  waiting.clear();
  nodes.clear();
  while (frames.size() > 1) free_frame(frames.back().get());  // of functions that called exit
  if (!frames.empty()) frames.front()->stack.clear();
  if (frames.empty()) {
    widen = isa().widen;
    frames.push_back(new_frame(*run->code, nullptr, 0));
    local_stride = run->local_stride;
    if (local_stride != 0) {
      local_storage = {static_cast<std::byte*>(std::calloc(kLanes, local_stride)), std::free};
      local = local_storage.get();
    }
  }
  ready.push_back(
      {run->code->instrs.data(), lanes_present, nullptr, frames.front().get(), Wait::kNone, 0, 0});
  mask = 0;
}

std::unique_ptr<Frame> Warp::new_frame(const Code& code, Frame* caller, uint32_t local_base) {
  auto made = std::make_unique<Frame>();
  made->code = &code;
  made->pool = run->pools[code.index];
  const size_t params = size_t{code.param_bytes} * kLanes;
  made->bytes = code.register_bytes + params + 64;
  frame_bytes += made->bytes;
  made->storage = std::make_unique<std::byte[]>(made->bytes);
  const auto address = reinterpret_cast<uintptr_t>(made->storage.get());
  made->registers = made->storage.get() + ((64 - address % 64) % 64);
  made->params = made->registers + code.register_bytes;
  made->local_base = local_base;
  made->local_end = made->local_base + code.local_bytes;
  made->depth = caller == nullptr ? 0 : caller->depth + 1;
  return made;
}

void Warp::load(const Split& split) {
  node = split.node;
  frame = split.frame;
  base[0] = frame->registers;
  base[1] = const_cast<std::byte*>(frame->pool);
  pc = split.pc;
  since = pc;
  set_mask(split.mask);
}

Node* Warp::new_node() {
  nodes.push_back(std::make_unique<Node>());
  return nodes.back().get();
}

void Warp::remove(Node* gone) {
  for (size_t i = nodes.size(); i-- > 0;) {
    if (nodes[i].get() != gone) continue;
    nodes[i] = std::move(nodes.back());
    nodes.pop_back();
    return;
  }
}

void Warp::free_frame(Frame* gone) {
  // The first is the kernel's own and stays at the front.
  for (size_t i = frames.size(); i-- > 1;) {
    if (frames[i].get() != gone) continue;
    frame_bytes -= gone->bytes;
    frames[i] = std::move(frames.back());
    frames.pop_back();
    return;
  }
}

// All lanes that a node waits for are there, or gone.
void Warp::resume(Node* complete) {
  if (complete->expected != 0) {
    ready.push_back(
        {complete->pc, complete->expected, complete->parent, complete->frame, Wait::kNone, 0, 0});
  }
  if (complete->callee != nullptr) free_frame(complete->callee);
  remove(complete);
}

// Lanes exited: nobody waits for them any more.
void Warp::drop(uint32_t lanes_gone) {
  for (size_t i = nodes.size(); i-- > 0;) {
    if (i >= nodes.size()) continue;
    Node* one = nodes[i].get();
    one->expected &= ~lanes_gone;
    one->arrived &= ~lanes_gone;
    if (one->arrived == one->expected) resume(one);
  }
  if (live == 0) return;
  for (size_t i = waiting.size(); i-- > 0;) {
    if (i < waiting.size() && waiting[i].wait == Wait::kLanes) try_lanes(i);
  }
}

// Whether the instruction at which waiting[at] stands has all the lanes that it names; if so all
// splits there become one for that instruction.
bool Warp::try_lanes(size_t at) {
  const Split first = waiting[at];
  uint32_t members = first.mask, named = first.named;
  for (bool grew = true; grew;) {
    grew = false;
    for (const Split& other : waiting) {
      if (other.wait != Wait::kLanes || other.pc != first.pc || other.frame != first.frame)
        continue;
      if ((other.mask & ~members) == 0 || (other.mask & named) == 0) continue;
      members |= other.mask;
      named |= other.named;
      grew = true;
    }
  }
  if ((named & live & ~members) != 0) return false;
  // Run it here for all of them, then let each go on as it was.
  const Split running{pc, mask, node, frame, Wait::kNone, 0, 0};
  const Instr* const running_since = since;
  const Stop reason = stop;
  Split joint = first;
  joint.mask = members;
  load(joint);
  resumed = true;
  const Instr* next = first.pc->run(*this, first.pc);
  resumed = false;
  if (next == nullptr) return true;  // a fault
  account(next);
  std::vector<Split> rest;
  for (Split& split : waiting) {
    if (split.wait == Wait::kLanes && split.pc == first.pc && split.frame == first.frame &&
        (split.mask & members) != 0) {
      split.wait = Wait::kNone;
      split.pc = next;
      // Splits that wait for the same meeting go on together.
      const auto same = std::find_if(ready.begin(), ready.end(), [&](const Split& r) {
        return r.pc == split.pc && r.node == split.node && r.frame == split.frame;
      });
      if (same != ready.end()) {
        same->mask |= split.mask;
      } else {
        ready.push_back(split);
      }
    } else {
      rest.push_back(split);
    }
  }
  waiting = std::move(rest);
  stop = reason;
  if (running.mask == 0) {
    mask = 0;
    return true;
  }
  load(running);
  since = running_since;
  return true;
}

// Nothing can run: lanes at meeting points go on without the others; lanes of a .sync instruction
// whose partners cannot come run it alone, as hardware would with undefined results.
bool Warp::give_up_waiting() {
  for (const auto& one : nodes) {
    if (one->arrived == 0 || one->call) continue;
    ready.push_back({one->pc, one->arrived, one->parent, one->frame, Wait::kNone, 0, 0});
    one->expected &= ~one->arrived;
    one->arrived = 0;
    return true;
  }
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (waiting[i].wait != Wait::kLanes) continue;
    waiting[i].named = waiting[i].mask;
    return try_lanes(i);
  }
  return false;
}

bool Warp::pick() {
  for (size_t i = waiting.size(); i-- > 0;) {
    if (i < waiting.size() && waiting[i].wait == Wait::kLanes && try_lanes(i)) break;
    if (stop == Stop::kFault) return false;
  }
  while (ready.empty()) {
    bool any = false;
    for (const Split& split : waiting) any |= split.wait == Wait::kLanes;
    for (const auto& one : nodes) any |= one->arrived != 0 && !one->call;
    if (!any || !give_up_waiting()) return false;
    if (stop == Stop::kFault) return false;
  }
  const Split next = ready.back();
  ready.pop_back();
  load(next);
  return true;
}

Warp::State Warp::step() {
  const uint64_t budget = run->launch->budget;
  fuel = budget == 0 ? kSlice : kBudgetSlice;
  sync_accesses = 0;
  stop = Stop::kNone;
  while (true) {
    if (run->stopped.load(std::memory_order_relaxed)) return State::kFaulted;
    if (budget != 0 && instructions > budget) {
      run->fail({FaultKind::kTrap, "the launch's budget of instructions is used up"});
      return State::kFaulted;
    }
    if (!pick()) {
      mask = 0;
      if (stop == Stop::kFault) return State::kFaulted;
      return live == 0 ? State::kDone : State::kBlocked;
    }
    stop = Stop::kNone;
    const Instr* at = pc;
    do {
      at = at->run(*this, at);
    } while (at != nullptr);
    if (stop == Stop::kFault) return State::kFaulted;
    if (stop == Stop::kYield) {
      // Fairness: this split goes to the far end; who polls does not hold up those it waits for.
      ready.insert(ready.begin(), {pc, mask, node, frame, Wait::kNone, 0, 0});
      mask = 0;
      if (sync_accesses != 0) {
        for (size_t i = nodes.size(); i-- > 0;) {
          Node* one = nodes[i].get();
          if (one->arrived == 0 || one->call) continue;
          ready.push_back({one->pc, one->arrived, one->parent, one->frame, Wait::kNone, 0, 0});
          one->expected &= ~one->arrived;
          one->arrived = 0;
        }
      }
      return State::kYielded;
    }
    mask = 0;
  }
}

uint32_t Warp::lanes_at_barrier(uint32_t id) const {
  uint32_t there = 0;
  for (const Split& split : waiting) {
    if (split.wait == Wait::kBarrier && split.id == id) there |= split.mask;
  }
  return there;
}

void Warp::release_barrier(uint32_t id) {
  const Barrier& barrier = block->barriers[id];
  size_t kept = 0;
  for (Split& split : waiting) {
    if (split.wait != Wait::kBarrier || split.id != id) {
      waiting[kept++] = split;
      continue;
    }
    const Instr* in = split.pc - 1;
    if (in->run == handlers::barrier_reduce) {
      const bool truth = in->imm == 3 ? barrier.reduced_and : barrier.reduced_or;
      auto* row = reinterpret_cast<uint32_t*>(split.frame->registers + (in->d & ~3u));
      if (in->imm == 2) {
        for (int i = 0; i < kLanes; ++i) {
          if ((split.mask >> i & 1) != 0) row[i] = barrier.reduced_count;
        }
      } else {
        *row = (*row & ~split.mask) | (truth ? split.mask : 0);
      }
    }
    split.wait = Wait::kNone;
    ready.push_back(split);
  }
  waiting.resize(kept);
}

}  // namespace vgpu::softgpu::ptx

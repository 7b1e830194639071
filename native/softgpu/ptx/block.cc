#include "softgpu/ptx/block.h"

#include <algorithm>

#include "softgpu/ptx/module.h"

namespace vgpu::softgpu::ptx {

void Run::fail(Fault why) {
  const std::lock_guard lock(mutex);
  if (fault.kind == FaultKind::kNone) fault = std::move(why);
  stopped.store(true, std::memory_order_relaxed);
}

BlockState::BlockState(Run& owner, BlockState* leading)
    : run(&owner), leader(leading == nullptr ? this : leading) {
  shared_storage = std::make_unique<std::byte[]>(run->shared_bytes + 1024);
  const auto address = reinterpret_cast<uintptr_t>(shared_storage.get());
  shared = shared_storage.get() + ((1024 - address % 1024) % 1024);
  for (uint32_t i = 0; i < run->warps; ++i) warps.push_back(std::make_unique<Warp>());
  if (run->watch != nullptr) watch = std::make_unique<SharedWatch>(run->shared_bytes);
  if (leading != nullptr) return;
  cluster.push_back(this);
  const Dim3& size = run->cluster;
  for (uint32_t i = 1; i < size.x * size.y * size.z; ++i) {
    followers.push_back(std::make_unique<BlockState>(owner, this));
    followers.back()->rank = i;
    cluster.push_back(followers.back().get());
  }
}

void BlockState::start(uint64_t block_number) {
  const Dim3 &grid = run->launch->grid, &size = run->cluster;
  const uint32_t columns = grid.x / size.x, rows = grid.y / size.y;
  const auto x = static_cast<uint32_t>(block_number % columns) * size.x;
  const auto y = static_cast<uint32_t>(block_number / columns % rows) * size.y;
  const auto z = static_cast<uint32_t>(block_number / columns / rows) * size.z;
  cluster_phase = 0;
  cluster_barrier_used = false;
  for (BlockState* member : cluster) {
    const uint32_t r = member->rank;
    member->start_at(x + r % size.x, y + r / size.x % size.y, z + r / size.x / size.y);
  }
}

void BlockState::start_at(uint32_t x, uint32_t y, uint32_t z) {
  const Dim3& grid = run->launch->grid;
  number = x + uint64_t{grid.x} * (y + uint64_t{grid.y} * z);
  index[0] = x;
  index[1] = y;
  index[2] = z;
  finished = false;
  for (Barrier& barrier : barriers) barrier = Barrier{};
  if (watch != nullptr) watch->restart();
  for (uint32_t i = 0; i < run->warps; ++i) {
    const uint32_t lanes = std::min(run->threads - i * kLanes, uint32_t{kLanes});
    warps[i]->start(*this, i, lanes == kLanes ? ~0u : (1u << lanes) - 1);
  }
}

// A warp counts once all its living threads wait, and then as 32: those that exited or never
// existed count with it.
bool BlockState::check_barrier(uint32_t id) {
  Barrier& barrier = barriers[id];
  if (!barrier.used || (barrier.count == 0 && barrier.waiting < living())) return false;
  uint32_t threads = barrier.arrived;
  bool everyone = true;
  for (const auto& warp : warps) {
    const uint32_t there = warp->lanes_at_barrier(id);
    const bool whole = (warp->live & ~there) == 0;
    everyone &= whole;
    if (there != 0 && whole) threads += kLanes;
  }
  const bool complete = barrier.count == 0 ? everyone : threads >= barrier.count;
  if (!complete) return false;
  for (const auto& warp : warps) warp->release_barrier(id);
  if (watch != nullptr) ++watch->epoch;
  barrier = Barrier{};
  return true;
}

uint32_t BlockState::living() const {
  uint32_t threads = 0;
  for (const auto& warp : warps) {
    threads += warp->live == ~0u ? kLanes : static_cast<uint32_t>(__builtin_popcount(warp->live));
  }
  return threads;
}

void BlockState::check_barriers() {
  for (uint32_t id = 0; id < kBarriers; ++id) {
    if (barriers[id].used) check_barrier(id);
  }
}

BlockState::State BlockState::step(ThreadState& thread) {
  if (followers.empty()) return step_alone(thread);
  bool yielded = false;
  for (BlockState* member : cluster) {
    if (member->finished) continue;
    const State state = member->step_alone(thread);
    if (state == State::kFaulted) return state;
    member->finished = state == State::kDone;
    yielded |= state == State::kYielded;
  }
  return yielded ? State::kYielded : State::kDone;
}

// Every warp in turn until all are done, or a round has brought none to its end.
BlockState::State BlockState::step_alone(ThreadState& thread) {
  while (true) {
    bool yielded = false, done = true, moved = false;
    for (const auto& warp : warps) {
      if (warp->live == 0) continue;
      done = false;
      if (warp->ready.empty() && !warp->waiting.empty() &&
          std::all_of(warp->waiting.begin(), warp->waiting.end(),
                      [](const Split& s) { return s.wait == Wait::kBarrier; }) &&
          std::none_of(warp->nodes.begin(), warp->nodes.end(),
                       [](const auto& node) { return node->arrived != 0 && !node->call; })) {
        continue;  // it waits for others
      }
      warp->thread = &thread;
      const uint32_t before = warp->live;
      const Warp::State state = warp->step();
      if (state == Warp::State::kFaulted) return State::kFaulted;
      yielded |= state == Warp::State::kYielded;
      moved = true;
      if (warp->live != before) {
        check_barriers();
        if (leader->cluster_barrier_used) check_cluster();
      }
    }
    if (done) return State::kDone;
    if (yielded) return State::kYielded;
    if (moved) continue;
    run->fail({FaultKind::kTrap, std::string(run->code->function->signature.name) +
                                     ": a barrier in block " + std::to_string(number) +
                                     " can never be complete"});
    return State::kFaulted;
  }
}

}  // namespace vgpu::softgpu::ptx

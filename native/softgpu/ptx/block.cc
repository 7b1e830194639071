#include "softgpu/ptx/block.h"

#include <algorithm>

#include "softgpu/ptx/module.h"

namespace vgpu::softgpu::ptx {

void Run::fail(Fault why) {
  const std::lock_guard lock(mutex);
  if (fault.kind == FaultKind::kNone) fault = std::move(why);
  stopped.store(true, std::memory_order_relaxed);
}

BlockState::BlockState(Run& owner) : run(&owner) {
  shared_storage = std::make_unique<std::byte[]>(run->shared_bytes + 1024);
  const auto address = reinterpret_cast<uintptr_t>(shared_storage.get());
  shared = shared_storage.get() + ((1024 - address % 1024) % 1024);
  for (uint32_t i = 0; i < run->warps; ++i) warps.push_back(std::make_unique<Warp>());
  if (run->watch != nullptr) watch = std::make_unique<SharedWatch>(run->shared_bytes);
}

void BlockState::start(uint64_t block_number) {
  number = block_number;
  const Dim3& grid = run->launch->grid;
  index[0] = static_cast<uint32_t>(number % grid.x);
  index[1] = static_cast<uint32_t>(number / grid.x % grid.y);
  index[2] = static_cast<uint32_t>(number / grid.x / grid.y);
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
  if (!barrier.used) return false;
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

void BlockState::check_barriers() {
  for (uint32_t id = 0; id < kBarriers; ++id) {
    if (barriers[id].used) check_barrier(id);
  }
}

// Every warp in turn until all are done, or a round has brought none to its end.
BlockState::State BlockState::step(ThreadState& thread) {
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
      if (warp->live != before) check_barriers();
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

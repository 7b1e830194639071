// A block (CTA) at run time, and the run of a grid that it belongs to.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "softgpu/ptx/warp.h"
#include "softgpu/ptx/watch.h"

namespace vgpu::softgpu::ptx {

class ModuleText;

// One grid in execution.
struct Run {
  const Launch* launch = nullptr;
  ModuleText* module = nullptr;
  const Code* code = nullptr;
  std::vector<const std::byte*> pools;  // per Code::index, patched for this launch
  std::deque<ConstantPool> patched;
  std::vector<std::byte> parameters;
  uint32_t static_shared = 0, dynamic_shared_base = 0, shared_bytes = 0;
  uint32_t quick_shared_bytes = 0;  // what is checked quickly: all, or nothing when watched
  std::unique_ptr<Watch> watch;     // null: no optional checks
  uint32_t threads = 0, warps = 0;
  uint32_t local_stride = 0;
  uint64_t blocks = 0;  // or clusters, when they have several blocks
  Dim3 cluster;
  uint64_t grid_id = 0;
  // What %envreg1 and %envreg2 point to in a cooperative launch: the grid barrier of CUDA's
  // cooperative groups.
  alignas(64) uint64_t workspace[8] = {};

  std::atomic<uint64_t> next_block{0};
  std::atomic<bool> stopped{false};
  std::mutex mutex;  // guards what follows
  Fault fault;
  std::deque<std::unique_ptr<BlockState>> parked;
  uint64_t resident = 0, done = 0;
  RunStatistics statistics;

  void fail(Fault why);
};

struct Barrier {
  bool used = false;
  uint32_t count = 0;  // threads, 0: all
  uint32_t waiting = 0;
  uint32_t arrived = 0;  // bar.arrive: threads that did not wait
  uint32_t reduced_count = 0;
  bool reduced_and = true, reduced_or = false;
};

struct BlockState {
  static constexpr uint32_t kBarriers = 16;
  Run* run = nullptr;
  uint64_t number = 0;
  uint32_t index[3] = {0, 0, 0};
  std::unique_ptr<std::byte[]> shared_storage;
  std::byte* shared = nullptr;
  std::vector<std::unique_ptr<Warp>> warps;
  Barrier barriers[kBarriers];
  std::unique_ptr<SharedWatch> watch;

  // The blocks of its cluster, by rank. The first one leads: it owns the others, and stands for the
  // cluster wherever blocks are counted, parked and stepped.
  std::vector<BlockState*> cluster;
  std::vector<std::unique_ptr<BlockState>> followers;
  BlockState* leader = this;
  uint32_t rank = 0;
  bool finished = false;
  // Of the leader: ~0 or 0, turned over by each barrier.cluster that is complete.
  uint32_t cluster_phase = 0;
  bool cluster_barrier_used = false;

  enum class State : uint8_t { kDone, kYielded, kFaulted };
  explicit BlockState(Run& owner, BlockState* leading = nullptr);
  // Begins a block of the grid, or a cluster; the state of one that ended is used again.
  void start(uint64_t block_number);
  State step(ThreadState& thread);
  // Completes the cluster's barrier when all have come.
  void check_cluster();
  // Releases the barrier when all have come. True when it did.
  bool check_barrier(uint32_t id);
  void check_barriers();
  [[nodiscard]] uint32_t living() const;  // threads that have not exited

 private:
  void start_at(uint32_t x, uint32_t y, uint32_t z);
  State step_alone(ThreadState& thread);
};

}  // namespace vgpu::softgpu::ptx

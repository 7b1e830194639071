// Grids on a pool of host threads.
#include "softgpu/ptx/engine.h"

#include <algorithm>
#include <cfenv>
#include <condition_variable>
#include <cstring>
#include <thread>

#include "softgpu/ptx/block.h"
#include "softgpu/ptx/lanes/isa.h"
#include "softgpu/ptx/module.h"

namespace vgpu::softgpu::ptx {
namespace {

// Local memory of a thread whose calls may recurse or go through pointers.
constexpr uint32_t kDeepStack = 64 << 10;

// Bytes of local memory that one thread may need: the deepest chain of calls, when it has an end.
uint64_t local_need(const Code& code, std::vector<const Code*>& path, bool& unbounded,
                    int& budget) {
  if (--budget < 0 || std::find(path.begin(), path.end(), &code) != path.end()) {
    unbounded = true;
    return code.local_bytes;
  }
  if (code.calls_indirectly || code.grows_stack) unbounded = true;
  path.push_back(&code);
  uint64_t deepest = 0;
  for (const Function* callee : code.callees) {
    if (callee->code != nullptr) {
      deepest = std::max(deepest, local_need(*callee->code, path, unbounded, budget));
    }
  }
  path.pop_back();
  return code.local_bytes + deepest;
}

// What a kernel may reach: its callees, and every function when it calls through pointers.
std::vector<const Code*> reachable(const Code& kernel, const std::vector<const Code*>& all) {
  std::vector<const Code*> found{&kernel};
  bool indirect = false;
  for (size_t i = 0; i < found.size(); ++i) {
    indirect |= found[i]->calls_indirectly;
    for (const Function* callee : found[i]->callees) {
      const Code* code = callee->code.get();
      if (code != nullptr && std::find(found.begin(), found.end(), code) == found.end()) {
        found.push_back(code);
      }
    }
  }
  return indirect ? all : found;
}

// What is the same for all threads.
void compute_constants(Run& run, const Code& code, ConstantPool& pool) {
  if (code.once.empty()) return;
  // Nothing is kept in registers here, but handlers may load operands that their form does not use.
  const size_t bytes = code.register_bytes + 64;
  const auto registers = std::make_unique<std::byte[]>(bytes);
  void* aligned = registers.get();
  size_t room = bytes;
  Warp warp;
  warp.run = &run;
  warp.base[0] = static_cast<std::byte*>(std::align(64, bytes - 64, aligned, room));
  warp.base[1] = pool.data();
  warp.live = ~0u;
  warp.widen = isa().widen;
  warp.set_mask(~0u);
  for (const Instr& in : code.once) in.run(warp, &in);
}

// The constants of the functions with this launch's values in them.
void bind_pools(Run& run) {
  const std::vector<const Code*> codes = run.module->decoded();
  run.pools.resize(codes.size());
  for (const Code* code : reachable(*run.code, codes)) {
    run.pools[code->index] = code->pool.data();
    if (code->patches.empty() && code->once.empty()) continue;
    ConstantPool& pool = run.patched.emplace_back(code->pool);
    for (const PoolPatch& patch : code->patches) {
      uint64_t value = static_cast<uint64_t>(patch.addend);
      value += patch.kind == PoolPatch::Kind::kDynamicShared
                   ? run.dynamic_shared_base
                   : run.launch->instance->addresses[patch.index];
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        std::memcpy(pool.data() + patch.offset + lane * patch.width, &value, patch.width);
      }
    }
    compute_constants(run, *code, pool);
    run.pools[code->index] = pool.data();
  }
}

bool set_up(Run& run, const Launch& launch, Fault& fault) {
  run.launch = &launch;
  run.module = dynamic_cast<ModuleText*>(launch.instance->module.get());
  if (run.module == nullptr || launch.kernel >= run.module->kernels().size()) {
    fault = {FaultKind::kIllegalInstruction, "no such kernel"};
    return false;
  }
  std::string log;
  run.code = run.module->decode(run.module->kernel_function(launch.kernel), log);
  if (run.code == nullptr) {
    fault = {FaultKind::kIllegalInstruction, log};
    return false;
  }
  const Kernel& kernel = run.module->kernels()[launch.kernel];
  run.parameters.assign(launch.parameters.begin(), launch.parameters.end());
  run.parameters.resize((std::max<size_t>(kernel.parameter_bytes, run.parameters.size()) + 15) /
                        16 * 16);
  run.static_shared = kernel.static_shared_bytes;
  const uint32_t align = run.module->dynamic_shared_align();
  run.dynamic_shared_base = (run.static_shared + align - 1) / align * align;
  run.shared_bytes = run.dynamic_shared_base + launch.dynamic_shared_bytes;
  if (launch.check_uninitialised || launch.check_races) run.watch = std::make_unique<Watch>(launch);
  run.quick_shared_bytes = run.watch == nullptr ? run.shared_bytes : 0;
  run.threads = launch.block.x * launch.block.y * launch.block.z;
  run.warps = (run.threads + kLanes - 1) / kLanes;
  run.cluster = launch.cluster;
  run.blocks = uint64_t{launch.grid.x / run.cluster.x} * (launch.grid.y / run.cluster.y) *
               (launch.grid.z / run.cluster.z);
  bool unbounded = false;
  std::vector<const Code*> path;
  int budget = 10000;
  const uint64_t local = local_need(*run.code, path, unbounded, budget);
  run.local_stride = static_cast<uint32_t>((local + 15) / 16 * 16 + (unbounded ? kDeepStack : 0));
  bind_pools(run);
  static std::atomic<uint64_t> grids{0};
  run.grid_id = ++grids;
  return run.threads != 0;
}

}  // namespace

struct Engine::Pool {
  struct Job {
    Run* run;
    uint64_t limit;        // blocks that may be resident
    unsigned helpers = 0;  // threads at work on it
  };
  bool deterministic = false;
  std::mutex mutex;  // guards jobs, stop
  std::condition_variable wake, finished;
  std::vector<Job*> jobs;
  bool stop = false;
  std::vector<std::thread> threads;

  // A block to run: one that waits in line, or a new one. Null when there is none now. `spare` is
  // a block that this thread has ended, whose state serves again; the last one when `ended`.
  static std::unique_ptr<BlockState> next_block(Job& job, std::unique_ptr<BlockState>& spare,
                                                bool ended) {
    Run& run = *job.run;
    uint64_t number = 0;
    {
      const std::lock_guard lock(run.mutex);
      if (ended) retire(run, *spare);
      if (run.stopped.load(std::memory_order_relaxed)) return nullptr;
      const bool room = run.resident < job.limit && run.next_block < run.blocks;
      if (!room) {
        if (run.parked.empty()) return nullptr;
        auto block = std::move(run.parked.front());
        run.parked.pop_front();
        return block;
      }
      ++run.resident;
      number = run.next_block++;
    }
    auto block = spare != nullptr ? std::move(spare) : std::make_unique<BlockState>(run);
    block->start(number);
    return block;
  }

  // Requires run.mutex.
  static void retire(Run& run, const BlockState& block) {
    --run.resident;
    ++run.done;
    for (const BlockState* member : block.cluster) {
      for (const auto& warp : member->warps) {
        run.statistics.instructions += warp->instructions;
        run.statistics.lane_operations += warp->lane_operations;
      }
    }
  }

  // The caller's rounding mode, or its flushing of denormals, which threads inherit from the
  // program, must not reach its kernels.
  class DefaultFloatingPoint {
   public:
    DefaultFloatingPoint() {
      std::fegetenv(&callers_);
      std::fesetenv(FE_DFL_ENV);
    }
    ~DefaultFloatingPoint() { std::fesetenv(&callers_); }
    DefaultFloatingPoint(const DefaultFloatingPoint&) = delete;
    DefaultFloatingPoint& operator=(const DefaultFloatingPoint&) = delete;

   private:
    std::fenv_t callers_;
  };

  // Works on a grid until it has nothing for this thread.
  static void work(Job& job, ThreadState& state) {
    const DefaultFloatingPoint floating_point;
    Run& run = *job.run;
    state.refresh(*run.launch->memory);
    state.ranges.fill({});
    state.image = nullptr;
    std::unique_ptr<BlockState> spare;
    bool ended = false;
    while (auto block = next_block(job, spare, ended)) {
      const BlockState::State result = block->step(state);
      ended = result != BlockState::State::kYielded;
      if (ended) {
        spare = std::move(block);
      } else {
        const std::lock_guard lock(run.mutex);
        run.parked.push_back(std::move(block));
      }
    }
  }

  static bool has_work(const Job& job) {
    Run& run = *job.run;
    const std::lock_guard lock(run.mutex);
    if (run.stopped) return false;
    return !run.parked.empty() || (run.resident < job.limit && run.next_block < run.blocks);
  }

  void loop() {
    ThreadState state;
    std::unique_lock lock(mutex);
    while (!stop) {
      Job* job = nullptr;
      for (Job* one : jobs) {
        if (has_work(*one) && (job == nullptr || one->helpers < job->helpers)) job = one;
      }
      if (job == nullptr) {
        wake.wait(lock);
        continue;
      }
      ++job->helpers;
      lock.unlock();
      work(*job, state);
      state.snapshot.reset();
      lock.lock();
      --job->helpers;
      finished.notify_all();
    }
  }
};

Engine::Engine(unsigned threads, bool deterministic) : pool_(std::make_unique<Pool>()) {
  pool_->deterministic = deterministic;
  // The thread that calls run() works too.
  const unsigned helpers = deterministic || threads <= 1 ? 0 : threads - 1;
  for (unsigned i = 0; i < helpers; ++i) pool_->threads.emplace_back([this] { pool_->loop(); });
}

Engine::~Engine() {
  {
    const std::lock_guard lock(pool_->mutex);
    pool_->stop = true;
  }
  pool_->wake.notify_all();
  for (std::thread& thread : pool_->threads) thread.join();
}

Fault Engine::run(const Launch& launch, RunStatistics* statistics) {
  Run run;
  Fault fault;
  if (!set_up(run, launch, fault)) return fault;
  if (run.blocks == 0) return fault;
  const uint32_t blocks = run.cluster.x * run.cluster.y * run.cluster.z;
  Pool::Job job{&run, launch.blocks_at_once == 0 || launch.cooperative
                          ? run.blocks
                          : std::max<uint64_t>(launch.blocks_at_once / blocks, 1)};
  const bool share = run.blocks > 1 && !pool_->threads.empty();
  if (share) {
    const std::lock_guard lock(pool_->mutex);
    pool_->jobs.push_back(&job);
    pool_->wake.notify_all();
  }
  ThreadState state;
  Pool::work(job, state);
  if (share) {
    std::unique_lock lock(pool_->mutex);
    while (true) {
      // A helper's block may be parked again while this thread waits: then it has work to do.
      lock.unlock();
      Pool::work(job, state);
      lock.lock();
      if (job.helpers == 0 && !Pool::has_work(job)) break;
      pool_->finished.wait_for(lock, std::chrono::milliseconds(1));
    }
    std::erase(pool_->jobs, &job);
  }
  if (statistics != nullptr) *statistics = run.statistics;
  return run.fault;
}

}  // namespace vgpu::softgpu::ptx

// What a graph needs of the client while it runs: host functions, and host memory that its copies
// read and write. The client keeps one call waiting here; a job answers it, and the client's next
// such call says that the job is done.
//
// The bytes of a copy go through a staging buffer that belongs to its node: it is filled before the
// copy runs and sent after it (host_plan.h says when).
#pragma once

#include <cuda.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "executor/inbox.h"
#include "executor/staging.h"
#include "transport/server_link.h"
#include "wire/calls.h"
#include "wire/writer.h"

namespace vgpu::executor {

class HostCalls;
struct HostPlan;
class PlanRun;

// One thing of the client's that nodes of a graph name, by the client's number.
struct HostEntry {
  enum class Kind : uint8_t { kFunction, kSource, kDestination, kMemory, kObject };
  Kind kind = Kind::kFunction;
  uint64_t id = 0;
  HostCalls* calls = nullptr;
  StagingPool::Buffer staging;  // of copies, packed
  uint64_t begin = 0, end = 0;  // the client's addresses that a copy touches
  uint64_t address = 0;         // of memory that the graph allocates
  uint64_t context = 0;         // in which it did
  uint64_t object = 0;          // the client's id of a user object
};

class HostCalls {
 public:
  using Actions = std::vector<std::pair<wire::HostAction, uint64_t>>;

  explicit HostCalls(Inbox& inbox);
  // Never freed: a driver that lives on after the session may still say that a graph is gone.
  static HostCalls& make_for_ever(Inbox& inbox);
  ~HostCalls();
  // While a function runs, the device waits for the client: `hold` tells whoever must not wait for
  // the device then. Set once.
  std::function<void(bool)> hold;

  // --- any thread
  // Null when the number is 0 or taken.
  std::shared_ptr<HostEntry> add(HostEntry entry);
  // No node of the driver names it.
  void discard(uint64_t id);
  [[nodiscard]] std::shared_ptr<HostEntry> find(uint64_t id) const;
  [[nodiscard]] bool empty() const { return entries_count_.load() == 0; }
  // The copy node that reads or writes this staging memory; null when it is none of ours.
  [[nodiscard]] std::shared_ptr<HostEntry> find_staging(const void* memory) const;
  // Nothing names it any more; called from the driver's callbacks.
  void drop(uint64_t id, wire::HostAction farewell);
  // Has the client do it, and waits. Returns at once when the session ends.
  void ask_and_wait(Actions actions);
  void close();
  // What a host node of a running graph does.
  static void CUDA_CB run_function(void* entry);
  // Around a launch; what is left to do after it.
  void begin_run(std::shared_ptr<const HostPlan> plan);
  Actions end_run();
  // Main loop; set once. What the client is told instead of `farewell`.
  std::function<wire::HostAction(const HostEntry&, wire::HostAction farewell)> on_drop;

  // --- main loop
  void ask(Actions actions, std::function<void()> done);
  // The client's waiting call: what it has done, and the next job if there is one. True when the
  // call was parked: it is answered through `answer`.
  bool wait(uint64_t done, const transport::Command& command, wire::Writer& out);
  std::function<void(const transport::Command&, const wire::Writer&)> answer;  // set once

 private:
  struct Job {
    uint64_t serial = 0;
    Actions actions;
    std::function<void()> done;
  };
  void push(Actions actions, std::function<void()> done, uint64_t* serial);  // Requires mutex_.
  bool take(wire::Writer& out);                                              // Requires mutex_.
  void deliver();

  std::shared_ptr<HostEntry> remove(uint64_t id);  // Requires mutex_.

  Inbox& inbox_;
  std::atomic<size_t> entries_count_{0};
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable finished_changed_;
  std::unordered_map<uint64_t, std::shared_ptr<HostEntry>> entries_;
  std::unordered_map<const void*, uint64_t> staging_;
  std::deque<Job> jobs_;
  std::unordered_map<uint64_t, std::function<void()>> running_;
  std::unordered_set<uint64_t> awaited_;  // by threads of the driver
  Actions farewells_;                     // told with the next job
  std::unique_ptr<PlanRun> run_;
  uint64_t serial_ = 0;
  bool waiting_ = false;  // set on the main loop only
  transport::Command waiter_;
  bool closed_ = false;
};

}  // namespace vgpu::executor

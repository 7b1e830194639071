// What a handler sees of the session that it serves.
//
// A handler decodes one record and makes one driver call: its result and what it puts into `out`
// are the reply, if one was asked for. Handlers of calls that the specification marks `blocking`
// run on helper threads and use nothing but the members in the first block; all others run on the
// main loop. For implementors of manual handlers:
//   * read everything before you act, and test in.ok(): nothing on the wire is to be trusted;
//   * after resolving ids, test failed();
//   * test the driver's function for null: an older driver may lack it (DriverTable);
//   * memory of the client's allocations is counted in the ledger, exactly;
//   * what the driver reads or writes later must stay alive until then: hold() or after().
#pragma once

#include <cuda.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "executor/allocations.h"
#include "executor/completions.h"
#include "executor/contexts.h"
#include "executor/driver.h"
#include "executor/handle_table.h"
#include "executor/host_calls.h"
#include "executor/host_plan.h"
#include "executor/image_objects.h"
#include "executor/inbox.h"
#include "executor/ledger.h"
#include "executor/link_states.h"
#include "executor/mapped_memory.h"
#include "executor/output.h"
#include "executor/scheduler.h"
#include "executor/staging.h"
#include "executor/waiters.h"
#include "transport/server_link.h"
#include "wire/calls.h"
#include "wire/reader.h"
#include "wire/writer.h"

namespace vgpu::executor {

using Command = transport::Command;

// A handler's result when the reply follows later, through Session::reply().
inline constexpr CUresult kDeferred = static_cast<CUresult>(-1);

struct Statistics {
  std::atomic<uint64_t> records{0};
  std::atomic<uint64_t> launches{0};
  std::atomic<uint64_t> late_errors{0};
  std::atomic<uint64_t> bytes_in{0};
  std::atomic<uint64_t> bytes_out{0};
};

struct SessionOptions {
  const Driver* driver = nullptr;
  std::vector<int> devices;        // driver ordinals, in the order that the client sees
  std::shared_ptr<Ledger> ledger;  // may be null: no quota
  CaughtOutput* output = nullptr;  // null: the driver prints to the client's own streams
};

class Session {
 public:
  explicit Session(const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // --- any thread ------------------------------------------------------------------------------
  [[nodiscard]] const DriverTable& driver() const { return driver_.table(); }
  [[nodiscard]] const Driver& library() const { return driver_; }
  // The driver's handle of an id. When there is none: null, and failed() of this thread is true.
  template <typename T>
  T resolve(uint64_t id) {
    return reinterpret_cast<T>(resolve_kind(KindOf<T>::value, id));
  }
  // The handles of an array of ids.
  template <typename T>
  std::vector<T> resolve_all(std::span<const std::byte> ids) {
    std::vector<T> handles(ids.size() / sizeof(uint64_t));
    wire::Reader in(ids);
    for (T& handle : handles) handle = resolve<T>(in.get<uint64_t>());
    return handles;
  }
  // 0 is the legacy stream.
  CUstream stream(uint64_t id) {
    return id == 0 ? nullptr
                   : reinterpret_cast<CUstream>(resolve_kind(wire::HandleKind::kStream, id));
  }
  // The driver's device of a worker ordinal.
  CUdevice device(uint32_t ordinal);
  CUmemGenericAllocationHandle allocation(uint64_t id) {
    return resolve_kind(wire::HandleKind::kMemAllocation, id);
  }
  // Reads and clears this thread's mark of a failed look-up.
  static bool failed();

  template <typename T>
  bool bind(uint64_t id, T handle) {
    return bind_kind(KindOf<T>::value, id, reinterpret_cast<uint64_t>(handle));
  }
  bool bind_allocation(uint64_t id, CUmemGenericAllocationHandle handle) {
    return bind_kind(wire::HandleKind::kMemAllocation, id, handle);
  }
  bool forget(uint64_t id) { return handles_.forget(id); }
  HandleTable& handles() { return handles_; }
  Contexts& contexts() { return contexts_; }
  Allocations& allocations() { return allocations_; }
  // The context that this thread's handler runs in; null if the record named none.
  ContextState* context() { return contexts_.current(); }
  Statistics& statistics() { return statistics_; }

  // The bytes of a host-to-device transfer that has arrived; null (and failed) if there is none.
  StagingPool::Buffer take_bulk(uint64_t transfer);
  // For `child`, an id that dies with `owner`: a module's functions, a graph's nodes.
  void own(uint64_t owner, uint64_t child) { handles_.own(owner, child); }
  ImageObjects& textures() { return textures_; }
  ImageObjects& surfaces() { return surfaces_; }
  MappedMemory& mapped() { return mapped_; }
  HostCalls& host_calls() { return host_calls_; }
  // What the launches of an executable graph need of the client and of events; null: nothing.
  [[nodiscard]] std::shared_ptr<const HostPlan> host_plan(uint64_t exec) const;
  void set_host_plan(uint64_t exec, std::shared_ptr<const HostPlan> plan);
  // Ties the entry's life to the graph's: its clones and instances keep it, too.
  void give_to_graph(CUgraph graph, HostEntry& entry);
  LinkStates& links() { return links_; }

  // --- main loop only --------------------------------------------------------------------------
  StagingPool& staging() { return *staging_; }
  // Keeps memory alive until what the record's stream has been given so far is complete.
  void hold(const Command& command, std::shared_ptr<const void> owner);
  // Calls `done` on the main loop once what the record's stream has been given so far is complete.
  void after(const Command& command, Completions::Done done);
  // Calls `done` of everything that is complete by now.
  void reap() { completions_.reap(); }
  [[nodiscard]] bool capturing(const Command& command);
  void send_bulk(uint64_t transfer, std::shared_ptr<const void> owner, const std::byte* data,
                 uint64_t size);
  // Runs `wait` on a thread of its own, with the record's context current, and answers the record
  // with its result. The handler returns what this does.
  CUresult elsewhere(const Command& command, std::function<CUresult()> wait);
  // Answers a record whose handler returned kDeferred. Nothing happens if no reply was asked for.
  void reply(const Command& command, CUresult result, std::span<const std::byte> payload = {});
  // An asynchronous call failed: told with the next reply.
  void late_error(uint16_t opcode, CUresult result);
  // Lets the record that is being handled count as unfinished: what its order puts behind it waits
  // until let_go(). Returns the ticket for that.
  uint64_t hold_back();
  void let_go(uint64_t ticket);
  // Handles the record once more after everything that its context was given before. False if that
  // has happened already. For calls that failed for want of memory while frees are under way.
  bool retry_in_order(const Command& command);
  // Waits for a context's work and drops all that is known of it. The driver's context is not
  // touched.
  std::unique_ptr<ContextState> drop_context(uint64_t id);
  // Host functions: tickets of the client to tickets of the scheduler.
  std::unordered_map<uint64_t, uint64_t>& host_functions() { return host_functions_; }
  Scheduler* scheduler() { return scheduler_; }
  Completions& completions() { return completions_; }
  Waiters& waiters() { return waiters_; }
  Inbox& inbox() { return inbox_; }

  // Ends the client's work on the device: for embedded sessions, whose process lives on.
  void close();

 private:
  friend class Server;
  uint64_t resolve_kind(wire::HandleKind kind, uint64_t id);
  bool bind_kind(wire::HandleKind kind, uint64_t id, uint64_t handle);
  uint64_t default_pool(uint64_t id);
  // What the device printed so far goes to the client.
  void send_output();
  wire::HostAction end_graph_memory(const HostEntry& entry);

  const Driver& driver_;
  CaughtOutput* const output_;
  Contexts contexts_;
  HandleTable handles_;
  Allocations allocations_;
  Statistics statistics_;
  Inbox inbox_;
  Waiters waiters_;
  Completions completions_;
  std::shared_ptr<StagingPool> staging_;
  HostCalls& host_calls_ = HostCalls::make_for_ever(inbox_);
  mutable std::mutex plans_mutex_;  // guards plans_
  std::unordered_map<uint64_t, std::shared_ptr<const HostPlan>> plans_;
  MappedMemory mapped_{allocations_};
  LinkStates links_;
  ImageObjects textures_, surfaces_;
  std::mutex bulk_mutex_;                                   // guards bulk_
  std::unordered_map<uint64_t, StagingPool::Buffer> bulk_;  // being received, or waiting
  std::unordered_map<uint64_t, uint64_t> host_functions_;
  uint64_t bulk_sent_ = 0;
  uint32_t late_error_ = 0;
  uint64_t late_call_ = 0;
  // Set by the server while it handles a record.
  Scheduler* scheduler_ = nullptr;
  transport::ServerLink* link_ = nullptr;
  uint64_t current_ticket_ = 0;
  bool held_back_ = false;
};

// A private flag of RecordHeader::flags: this record is being handled again (retry_in_order).
inline constexpr uint16_t kRetried = 1u << 15;

}  // namespace vgpu::executor

// The one session of this process: what the worker said, the link to the executor, all tables.
#pragma once

#include <cuda.h>

#include <atomic>
#include <bitset>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "generated/opcode.h"
#include "stub/allocation.h"
#include "stub/image_objects.h"
#include "stub/settings.h"
#include "stub/state.h"
#include "transport/client_link.h"

namespace vgpu::stub {

// Which device code the executor's driver takes (`images` of the worker's answer).
using Images = image::Preference;

struct Worker {
  std::string name;
  std::string session;  // 16 bytes
  int driver_version = 0;
  bool software = false;
  Images images = Images::kDevice;
  bool gpu_opt_disabled = false;
  // By row of kCalls: the calls that the worker's executors serve. A worker of another minor
  // version may lack some.
  std::bitset<kCallCount> served;
};

// Ids of graph nodes: handed to the executor in ranges, so they are a plain counter.
class NodeIds {
 public:
  uint64_t reserve(uint64_t count) { return next_.fetch_add(count); }
  void add(uint64_t id);
  void remove(uint64_t id);
  [[nodiscard]] bool contains(uint64_t id) const;

 private:
  std::atomic<uint64_t> next_{wire::make_handle(wire::HandleKind::kGraphNode, 0x1000)};
  mutable std::mutex mutex_;  // guards ids_
  std::unordered_set<uint64_t> ids_;
};

struct Process {
  Settings settings;
  Worker worker;
  std::vector<std::unique_ptr<Device>> devices;  // visible ones
  // Every async call waits for its result: CUDA_LAUNCH_BLOCKING, or disable-features=gpu-opt.
  bool every_call_waits = false;

  HandleTable<Context> contexts{wire::HandleKind::kContext};
  HandleTable<Stream> streams{wire::HandleKind::kStream};
  HandleTable<Event> events{wire::HandleKind::kEvent};
  HandleTable<Module> modules{wire::HandleKind::kModule};
  HandleTable<Module> libraries{wire::HandleKind::kLibrary};
  HandleTable<Function> functions{wire::HandleKind::kFunction};
  HandleTable<Function> kernels{wire::HandleKind::kKernel};
  HandleTable<Graph> graphs{wire::HandleKind::kGraph};
  HandleTable<GraphExec> graph_execs{wire::HandleKind::kGraphExec};
  HandleTable<Pool> pools{wire::HandleKind::kMemPool};
  HandleTable<PhysicalMemory> physical{wire::HandleKind::kMemAllocation};
  HandleTable<Array> arrays{wire::HandleKind::kArray};
  HandleTable<MipmappedArray> mipmapped_arrays{wire::HandleKind::kMipmappedArray};
  HandleTable<Link> links{wire::HandleKind::kLink};
  HandleTable<UserObject> user_objects{wire::HandleKind::kUserObject};
  NodeIds nodes;
  AllocationMap allocations;
  HostMap host;
  ImageObjects textures, surfaces;

  std::atomic<uint64_t> record_number{0};
  std::atomic<uint64_t> context_number{0};
  std::mutex context_mutex;  // guards retain, release, reset, create, destroy and announce
  std::mutex capture_mutex;  // guards captures and Capture::members
  std::vector<std::unique_ptr<Capture>> captures;
  std::atomic<int> active_captures{0};

  // Connects to the executor if that has not been done. Prints why when it fails.
  CUresult bind();
  // Null until bound. Never reset: after a loss it answers that it is lost.
  transport::ClientLink* link() const { return link_.load(std::memory_order_acquire); }
  // What every wire call returns once the session is lost; says so once.
  CUresult lost();
  void close(int deadline_ms);
  [[nodiscard]] std::string path() const;  // "zmq tcp://...", "in-process", "" while unbound

  Context* context(CUcontext handle) const;
  Device* device(CUdevice ordinal) const {
    return ordinal >= 0 && static_cast<size_t>(ordinal) < devices.size() ? devices[ordinal].get()
                                                                         : nullptr;
  }
  // A function or a kernel: cudart passes either.
  Function* function(CUfunction handle) const;
  uint64_t next_record() { return record_number.fetch_add(1, std::memory_order_relaxed) + 1; }

 private:
  CUresult bind_embedded(std::string& error);
  CUresult bind_worker(std::string& error);
  std::string ask_why();

  std::mutex bind_mutex_;  // guards the members below
  std::unique_ptr<transport::ClientLink> link_owner_;
  void* embedded_session_ = nullptr;
  bool bind_failed_ = false;
  std::string path_;
  std::atomic<transport::ClientLink*> link_{nullptr};
  std::once_flag loss_reported_;
  std::atomic<bool> closing_{false};
};

// Null before a successful cuInit, and in a forked child.
Process* process();
// CUDA_SUCCESS, or what a call returns while there is no usable process.
CUresult ready();

// cuInit: attaches once; in the child of an initialised parent it fails, as CUDA's does.
CUresult initialize();
// The worker's driver version; attaches for it. Without a worker, the version of our entry points,
// so that a program goes on to cuInit and gets its error.
int driver_version();
// attach.cc: asks the worker (or the embedded executor) what there is. Null with a message printed.
std::unique_ptr<Process> attach(Settings settings, CUresult& result);

// Forgets all that belongs to a context: it was destroyed or reset.
void forget_objects_of(Context* context);

}  // namespace vgpu::stub

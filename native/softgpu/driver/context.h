// Contexts and the calling thread's stack of them.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "softgpu/driver/output.h"

namespace vgpu::softgpu {

struct Device;
class Stream;

constexpr uint64_t kHeapGuard = uint64_t{64} << 10;

struct Context {
  Context(Device& device, bool primary) : device(device), primary(primary) {}

  uint64_t id = 0;  // the handle
  Device& device;
  const bool primary;
  std::atomic<unsigned> flags{0};
  std::atomic<bool> active{false};  // created contexts: until destroyed; primary: while retained
  std::atomic<CUresult> fault{CUDA_SUCCESS};  // the sticky error
  std::map<CUlimit, size_t> limits;           // guarded by mutex
  CUfunc_cache cache = CU_FUNC_CACHE_PREFER_NONE;
  // Has had no effect since compute capability 5, and reads as four-byte banks.
  CUsharedconfig shared_config = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
  std::map<uint64_t, Device*> peers;  // contexts it enabled access to; guarded by mutex

  std::recursive_mutex mutex;  // runtimes call back while their context dies
  unsigned retained = 0;       // primary: retain count; guarded by mutex

  // Held while work is submitted, so that the order among streams is the order of the calls.
  std::mutex submission;
  std::shared_ptr<Stream> legacy;
  std::vector<std::weak_ptr<Stream>> blocking;                    // guarded by submission
  std::map<std::thread::id, std::shared_ptr<Stream>> per_thread;  // guarded by submission

  DeviceOutput output;

  // Device malloc: a heap that the kernels of this context share.
  uint64_t heap_begin = 0, heap_size = 0;  // with kHeapGuard bytes before and behind
  std::atomic<bool> heap_used{false};      // its size is settled

  void activate();
  // Waits for the work, frees everything, runs the runtimes' destructors.
  void deactivate();
  void drop_heap();
  void fail(CUresult error, const std::string& message);
  // The sticky error, for a caller; what the failed kernel has printed comes out with it.
  CUresult state();
  [[nodiscard]] CUcontext handle() const { return reinterpret_cast<CUcontext>(id); }
};

// The prologue of every call that works in the current context.
class Current {
 public:
  Current();
  explicit operator bool() const { return error_ == CUDA_SUCCESS; }
  [[nodiscard]] CUresult error() const { return error_; }
  Context* operator->() const { return context_.get(); }
  Context& operator*() const { return *context_; }
  [[nodiscard]] const std::shared_ptr<Context>& shared() const { return context_; }

 private:
  CUresult error_;
  std::shared_ptr<Context> context_;
};

CUcontext current_context();  // null: none
void forget_contexts();       // of this thread; for a forked child
// Null stands for the current context, as newer calls allow.
std::shared_ptr<Context> find_context(CUcontext handle);
std::shared_ptr<Context> make_context(Device& device, bool primary);
CUresult synchronize(Context& context);

}  // namespace vgpu::softgpu

#include "stub/process.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstring>

#include "executor/embedded.h"
#include "stub/control.h"
#include "stub/log.h"
#include "stub/output.h"
#include "stub/statistics.h"
#include "transport/endpoints.h"

namespace vgpu::stub {
namespace {

enum State : int { kNew, kReady, kForked };
constinit std::atomic<int> state{kNew};
constinit std::atomic<Process*> the_process{nullptr};
constexpr int kOwnVersion = 13000;
constinit std::mutex init_mutex;  // guards the way from kNew to kReady

struct Embedded {
  decltype(&vgpu_embedded_start) start = nullptr;
  decltype(&vgpu_embedded_stop) stop = nullptr;
  decltype(&vgpu_embedded_free) free = nullptr;
};

Embedded embedded_functions() {
  Embedded functions;
  void* library = embedded_library(nullptr);
  if (library == nullptr) return functions;
  functions.start =
      reinterpret_cast<decltype(functions.start)>(::dlsym(library, "vgpu_embedded_start"));
  functions.stop =
      reinterpret_cast<decltype(functions.stop)>(::dlsym(library, "vgpu_embedded_stop"));
  functions.free =
      reinterpret_cast<decltype(functions.free)>(::dlsym(library, "vgpu_embedded_free"));
  return functions;
}

transport::ClientLinkOptions link_options() {
  transport::ClientLinkOptions options;
  options.on_lost = [](const std::string& reason) {
    log(LogLevel::kInfo, "connection lost: %s", reason.c_str());
  };
  options.on_output = keep_output;
  return options;
}

}  // namespace

Process* process() {
  return state.load(std::memory_order_acquire) == kReady
             ? the_process.load(std::memory_order_acquire)
             : nullptr;
}

CUresult ready() {
  return state.load(std::memory_order_acquire) == kReady ? CUDA_SUCCESS
                                                         : CUDA_ERROR_NOT_INITIALIZED;
}

// In a forked child nothing of the parent's session may be used: CUDA answers so too.
static void after_fork_in_child() {
  if (state.load() == kReady) state.store(kForked);
}

// Set when attaching failed: programs ask again and again, the answer (and its message) comes once.
static constinit CUresult attach_failure = CUDA_SUCCESS;  // guarded by init_mutex

int driver_version() {
  static_cast<void>(initialize());
  const Process* found = process();
  return found == nullptr ? kOwnVersion : found->worker.driver_version;
}

CUresult initialize() {
  if (state.load(std::memory_order_acquire) == kReady) return CUDA_SUCCESS;
  const std::lock_guard lock(init_mutex);
  if (state.load() == kReady) return CUDA_SUCCESS;
  if (state.load() == kForked) return CUDA_ERROR_NOT_INITIALIZED;
  if (attach_failure != CUDA_SUCCESS) return attach_failure;
  read_log_level();
  CUresult result = CUDA_ERROR_UNKNOWN;
  std::unique_ptr<Process> attached = attach(read_settings(), result);
  if (attached == nullptr) return attach_failure = result;
  ::pthread_atfork(nullptr, nullptr, after_fork_in_child);
  the_process.store(attached.release(), std::memory_order_release);
  state.store(kReady, std::memory_order_release);
  return CUDA_SUCCESS;
}

void NodeIds::add(uint64_t id) {
  const std::lock_guard lock(mutex_);
  ids_.insert(id);
}
void NodeIds::remove(uint64_t id) {
  const std::lock_guard lock(mutex_);
  ids_.erase(id);
}
bool NodeIds::contains(uint64_t id) const {
  const std::lock_guard lock(mutex_);
  return ids_.contains(id);
}

Context* Process::context(CUcontext handle) const {
  const auto id = reinterpret_cast<uint64_t>(handle);
  for (const auto& device : devices) {
    if (device->primary.id.load(std::memory_order_relaxed) == id) return &device->primary;
  }
  return contexts.find(id);
}

Function* Process::function(CUfunction handle) const {
  const auto id = reinterpret_cast<uint64_t>(handle);
  return wire::handle_kind(id) == wire::HandleKind::kKernel ? kernels.find(id) : functions.find(id);
}

CUresult Process::bind() {
  const std::lock_guard lock(bind_mutex_);
  if (link() != nullptr) return CUDA_SUCCESS;
  // A program that tries again and again must not wait for the deadline each time.
  if (bind_failed_) return CUDA_ERROR_DEVICE_UNAVAILABLE;
  std::string error;
  const bool embedded = settings.worker.starts_with("inproc://");
  const CUresult result = embedded ? bind_embedded(error) : bind_worker(error);
  if (result != CUDA_SUCCESS) {
    bind_failed_ = true;
    message("no executor: %s", error.c_str());
    return result;
  }
  log(LogLevel::kInfo, "connected: %s", path_.c_str());
  link_.store(link_owner_.get(), std::memory_order_release);
  return CUDA_SUCCESS;
}

CUresult Process::bind_embedded(std::string& error) {
  const Embedded functions = embedded_functions();
  if (functions.start == nullptr) {
    error = "libvgpu-embedded.so is not complete";
    return CUDA_ERROR_SYSTEM_NOT_READY;
  }
  transport::ClientLinkOptions options = link_options();
  if (::getrandom(options.token.data(), options.token.size(), 0) != 16) return CUDA_ERROR_UNKNOWN;
  auto [near, far] = transport::make_inproc_pair();
  const std::string driver = settings.worker.substr(std::strlen("inproc://"));
  VgpuEmbeddedOptions start{};
  start.size = sizeof start;
  start.driver_path = driver.c_str();
  start.token = reinterpret_cast<const uint8_t*>(options.token.data());
  start.channel = far.release();
  char* failure = nullptr;
  VgpuEmbeddedSession* session = nullptr;
  if (functions.start(&start, &session, &failure) != 0) {
    error = failure == nullptr ? "the embedded executor does not start" : failure;
    functions.free(failure);
    return CUDA_ERROR_DEVICE_UNAVAILABLE;
  }
  embedded_session_ = session;
  link_owner_ = transport::ClientLink::open(std::move(near), options, error);
  path_ = "in-process";
  return link_owner_ == nullptr ? CUDA_ERROR_DEVICE_UNAVAILABLE : CUDA_SUCCESS;
}

CUresult Process::bind_worker(std::string& error) {
  Bound bound;
  if (!request_bind(settings, worker.session, bound, error)) return CUDA_ERROR_DEVICE_UNAVAILABLE;
  auto channel = transport::connect_zmq(bound.endpoints, error);
  if (channel == nullptr) return CUDA_ERROR_DEVICE_UNAVAILABLE;
  transport::ClientLinkOptions options = link_options();
  std::memcpy(options.token.data(), bound.token.data(), options.token.size());
  link_owner_ = transport::ClientLink::open(std::move(channel), options, error);
  path_ = "zmq " + bound.endpoints.command;
  return link_owner_ == nullptr ? CUDA_ERROR_DEVICE_UNAVAILABLE : CUDA_SUCCESS;
}

// The worker knows why an executor ended; a cut cable only shows silence.
std::string Process::ask_why() {
  if (settings.worker.starts_with("inproc://")) return {};
  return request_end_reason(settings, worker.session);
}

CUresult Process::lost() {
  if (closing_.load()) return CUDA_ERROR_DEINITIALIZED;
  std::call_once(loss_reported_, [this] {
    const std::string why = ask_why();
    const std::string reason = why.empty() ? link()->lost_reason() : "the executor ended: " + why;
    message("the GPU session is lost: %s. Every further CUDA call fails; start the program again.",
            reason.c_str());
  });
  return CUDA_ERROR_DEVICE_UNAVAILABLE;
}

void Process::close(int deadline_ms) {
  if (link() == nullptr) return;
  if (link()->lost()) static_cast<void>(lost());
  closing_.store(true);
  link()->close(deadline_ms);
  if (embedded_session_ != nullptr) {
    embedded_functions().stop(static_cast<VgpuEmbeddedSession*>(embedded_session_), deadline_ms);
    embedded_session_ = nullptr;
  }
}

std::string Process::path() const { return link() == nullptr ? "unbound" : path_; }

}  // namespace vgpu::stub

// Host functions in streams. The record parks its stream in the executor; a thread of the stub
// waits for the work in front of it, runs the function here, and lets the stream go on.
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <atomic>
#include <memory>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/graph_host.h"
#include "stub/pending.h"
#include "stub/process.h"

namespace vgpu::stub {
namespace {

struct HostFunction {
  uint64_t ticket = 0;
  Context* context = nullptr;
  CUevent reached = nullptr;  // recorded in front of the function
  CUhostFn function = nullptr;
  CUstreamCallback callback = nullptr;
  CUstream stream = nullptr;
  void* user = nullptr;
};

// The executor may hear of the return before it has issued the record that parks the stream: it
// refuses then, and is told again.
void let_stream_go(const HostFunction& job) {
  constexpr timespec kPause{0, 200'000};
  for (int attempt = 0; attempt < 50'000; ++attempt) {
    Call call(Opcode::cuStreamAddCallback, job.context);
    call.adds_no_work();
    call.put(job.ticket);
    if (call.wait() != CUDA_ERROR_INVALID_VALUE) return;
    ::nanosleep(&kPause, nullptr);
  }
}

void* wait_and_run(void* argument) {
  const std::unique_ptr<HostFunction> job(static_cast<HostFunction*>(argument));
  this_thread().contexts.assign(1, job->context);
  const CUresult status = api::cuEventSynchronize(job->reached);
  if (job->callback != nullptr) {
    job->callback(job->stream, status, job->user);
  } else if (status == CUDA_SUCCESS) {
    job->function(job->user);  // CUDA runs no host function in a failed context
  }
  static_cast<void>(api::cuEventDestroy_v2(job->reached));
  let_stream_go(*job);
  host_function_done();
  return nullptr;
}

// One thread per function in flight: those of different streams must not wait for each other.
bool start_thread(HostFunction* job) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const bool started = ::pthread_create(&thread, &attributes, wait_and_run, job) == 0;
  ::pthread_attr_destroy(&attributes);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

CUresult enqueue(std::unique_ptr<HostFunction> job, CUstream stream) {
  static constinit std::atomic<uint64_t> tickets{0};
  Call call(Opcode::cuLaunchHostFunc);
  call.stream(stream);
  if (!call.ok()) return call.result();
  if (call.ordered_by()->capture.load() != nullptr) {
    if (job->callback != nullptr) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    call.put(add_host_entry({.function = job->function, .user = job->user}));
    return call.send();
  }
  job->context = call.context();
  job->stream = stream;
  job->ticket = tickets.fetch_add(1) + 1;
  CUresult result = api::cuEventCreate(&job->reached, CU_EVENT_DISABLE_TIMING);
  if (result != CUDA_SUCCESS) return result;
  const uint64_t ordered = call.header().stream;
  result = api::cuEventRecord(job->reached,
                              ordered == 0 ? CU_STREAM_LEGACY : as_handle<CUstream>(ordered));
  if (result != CUDA_SUCCESS) return result;
  call.put(job->ticket);
  // Not finish(): nobody waits for this one, even when every other call waits.
  result = call.append();
  if (result != CUDA_SUCCESS) return result;
  host_function_queued();
  return start_thread(job.release()) ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

}  // namespace
}  // namespace vgpu::stub

namespace vgpu::stub::api {

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void* userData) {
  if (fn == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto job = std::make_unique<HostFunction>();
  job->function = fn;
  job->user = userData;
  return enqueue(std::move(job), hStream);
}

CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void* userData,
                             unsigned int flags) {
  if (callback == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  auto job = std::make_unique<HostFunction>();
  job->callback = callback;
  job->user = userData;
  return enqueue(std::move(job), hStream);
}

}  // namespace vgpu::stub::api

#include "softgpu/driver/event.h"

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/operation.h"

namespace vgpu::softgpu {

void Completion::complete() {
  const std::lock_guard lock(mutex_);
  done_ = true;
  time_ = std::chrono::steady_clock::now();
  changed_.notify_all();
}
void Completion::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_; });
}
bool Completion::done() {
  const std::lock_guard lock(mutex_);
  return done_;
}
std::chrono::steady_clock::time_point Completion::time() {
  const std::lock_guard lock(mutex_);
  return time_;
}

namespace api {
namespace {

constexpr unsigned kEventFlags =
    CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;

struct Pair {
  std::shared_ptr<Event> event;
  std::shared_ptr<Stream> stream;
};
CUresult lookup(CUevent event, CUstream stream, Pair& out) {
  const Current current;
  if (!current) return current.error();
  out.event = driver().events.find(event);
  out.stream = find_stream(current.shared(), stream);
  return out.event && out.stream ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

bool capturing(const Stream& stream) {
  if (!any_capture()) return false;
  const std::lock_guard lock(capture_mutex());
  return stream.capture != nullptr;
}

CUresult record(CUevent handle, CUstream stream_handle, unsigned flags) {
  if ((flags & ~unsigned{CU_EVENT_RECORD_EXTERNAL}) != 0) return CUDA_ERROR_INVALID_VALUE;
  Pair pair;
  if (const CUresult result = lookup(handle, stream_handle, pair)) return result;
  if (pair.event->context != pair.stream->context) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult result = check_legacy(*pair.stream)) return result;
  if (capturing(*pair.stream)) {
    if (flags == CU_EVENT_RECORD_EXTERNAL)
      return issue(pair.stream, RecordOperation{pair.event, {}});
    return capture_record(*pair.stream, *pair.event);
  }
  auto completion = std::make_shared<Completion>();
  {
    const std::lock_guard lock(pair.event->mutex);
    pair.event->completion = completion;
    pair.event->capture = nullptr;
    pair.event->captured_tail.clear();
  }
  submit_record(pair.stream, std::move(completion));
  return CUDA_SUCCESS;
}

// The completion that a query or a wait is about.
CUresult observed(CUevent handle, std::shared_ptr<Event>& event,
                  std::shared_ptr<Completion>& completion) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  event = driver().events.find(handle);
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  const std::lock_guard lock(event->mutex);
  if (event->capture) return CUDA_ERROR_CAPTURED_EVENT;
  completion = event->completion;
  return CUDA_SUCCESS;
}

CUresult elapsed(float* milliseconds, CUevent start, CUevent end) {
  if (milliseconds == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Event> events[2];
  std::shared_ptr<Completion> completions[2];
  if (const CUresult result = observed(start, events[0], completions[0])) return result;
  if (const CUresult result = observed(end, events[1], completions[1])) return result;
  for (const auto& event : events) {
    if (!event->timed() || event->context != events[0]->context) return CUDA_ERROR_INVALID_HANDLE;
  }
  for (const auto& completion : completions) {
    if (!completion) return CUDA_ERROR_INVALID_HANDLE;  // never recorded
  }
  for (const auto& completion : completions) {
    if (!completion->done()) return CUDA_ERROR_NOT_READY;
  }
  const std::chrono::duration<float, std::milli> passed =
      completions[1]->time() - completions[0]->time();
  *milliseconds = passed.count();
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuEventCreate(CUevent* out, unsigned flags) {
  const Current current;
  if (!current) return current.error();
  if (out == nullptr || (flags & ~kEventFlags) != 0) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & CU_EVENT_INTERPROCESS) != 0 && (flags & CU_EVENT_DISABLE_TIMING) == 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const auto event = std::make_shared<Event>(current.shared(), flags);
  *out = as_handle<CUevent>(driver().events.add(event));
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  return driver().events.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventRecord(CUevent event, CUstream stream) { return record(event, stream, 0); }
CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) {
  return record(event, stream, flags);
}

CUresult cuEventQuery(CUevent handle) {
  std::shared_ptr<Event> event;
  std::shared_ptr<Completion> completion;
  if (const CUresult result = observed(handle, event, completion)) return result;
  if (const CUresult result = check_unsafe_call()) return result;
  if (completion && !completion->done()) return CUDA_ERROR_NOT_READY;
  return event->context->state();
}

CUresult cuEventSynchronize(CUevent handle) {
  std::shared_ptr<Event> event;
  std::shared_ptr<Completion> completion;
  if (const CUresult result = observed(handle, event, completion)) return result;
  if (const CUresult result = check_unsafe_call()) return result;
  if (completion) completion->wait();
  release_surplus(event->context->device);
  event->context->output.flush();
  return event->context->fault;
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  return elapsed(milliseconds, start, end);
}

CUresult cuStreamWaitEvent(CUstream stream_handle, CUevent handle, unsigned flags) {
  if ((flags & ~unsigned{CU_EVENT_WAIT_EXTERNAL}) != 0) return CUDA_ERROR_INVALID_VALUE;
  Pair pair;
  if (const CUresult result = lookup(handle, stream_handle, pair)) return result;
  if (const CUresult result = check_legacy(*pair.stream)) return result;
  std::shared_ptr<Completion> completion;
  bool captured = false;
  {
    const std::lock_guard lock(pair.event->mutex);
    captured = pair.event->capture != nullptr;
    completion = pair.event->completion;
  }
  if (captured) return capture_wait(pair.stream, *pair.event);
  if (capturing(*pair.stream)) {
    if (flags == CU_EVENT_WAIT_EXTERNAL) return issue(pair.stream, WaitOperation{pair.event, {}});
    if (!completion) return CUDA_SUCCESS;  // never recorded: nothing to wait for
    const std::lock_guard lock(capture_mutex());
    if (pair.stream->capture) pair.stream->capture->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  if (!completion || completion->done()) return CUDA_SUCCESS;
  submit(pair.stream, [completion] { completion->wait(); }, Place::kStream, true);
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu

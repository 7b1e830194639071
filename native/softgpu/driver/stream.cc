#include "softgpu/driver/stream.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/operation.h"
#include "softgpu/driver/per_thread.h"

namespace vgpu::softgpu {
namespace {

constexpr int kGreatestPriority = -5;

// Closes the calling thread's own default streams when it ends.
struct ThreadEnd {
  ~ThreadEnd() {
    if (!initialised()) return;
    for (const auto& context : driver().contexts.all()) {
      std::shared_ptr<Stream> stream;
      const std::lock_guard lock(context->submission);
      const auto found = context->per_thread.find(std::this_thread::get_id());
      if (found == context->per_thread.end()) continue;
      found->second->close();
      context->per_thread.erase(found);
    }
  }
};

void register_blocking(Context& context, const std::shared_ptr<Stream>& stream) {
  std::erase_if(context.blocking, [](const auto& one) { return one.expired(); });
  context.blocking.push_back(stream);
}

std::shared_ptr<Stream> own_stream(const std::shared_ptr<Context>& context) {
  static thread_local ThreadEnd end;
  (void)end;
  const std::lock_guard lock(context->submission);
  auto& stream = context->per_thread[std::this_thread::get_id()];
  if (!stream) {
    stream = std::make_shared<Stream>(context, 0, 0);
    stream->number = driver().serial++;
    register_blocking(*context, stream);
  }
  return stream;
}

}  // namespace

bool Fence::reached() const { return stream == nullptr || stream->reached(sequence); }
void Fence::wait() const {
  if (stream != nullptr) stream->wait(sequence);
}

uint64_t Stream::push(Task task) {
  const std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  if (!started_) {
    started_ = true;
    // Detached: at exit the process simply ends under it. It keeps its stream alive.
    std::thread([self = shared_from_this()] { self->work(); }).detach();
  }
  submitted_changed_.notify_one();
  return ++submitted_;
}

Fence Stream::fence() {
  const std::lock_guard lock(mutex_);
  return {shared_from_this(), submitted_};
}

bool Stream::idle() {
  const std::lock_guard lock(mutex_);
  return completed_ == submitted_;
}

void Stream::wait(uint64_t sequence) {
  std::unique_lock lock(mutex_);
  completed_changed_.wait(lock, [&] { return completed_ >= sequence; });
}

bool Stream::reached(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  return completed_ >= sequence;
}

void Stream::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  submitted_changed_.notify_one();
}

void Stream::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    submitted_changed_.wait(lock, [&] { return !tasks_.empty() || closed_; });
    if (tasks_.empty()) return;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    for (const Fence& fence : task.after) fence.wait();
    if (task.run && (task.always || context->fault == CUDA_SUCCESS)) task.run();
    task.run = nullptr;  // may end a graph and call the program: not under the lock
    task.after.clear();
    lock.lock();
    ++completed_;
    if (task.completion) task.completion->complete();
    completed_changed_.notify_all();
  }
}

std::shared_ptr<Stream> find_stream(const std::shared_ptr<Context>& current, CUstream handle) {
  if (handle == nullptr) handle = per_thread_default() ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
  if (handle == CU_STREAM_LEGACY) return current->legacy;
  if (handle == CU_STREAM_PER_THREAD) return own_stream(current);
  return driver().streams.find(handle);
}

std::shared_ptr<Stream> make_stream(const std::shared_ptr<Context>& context, unsigned flags,
                                    int priority) {
  auto stream = std::make_shared<Stream>(context, flags, priority);
  stream->number = driver().serial++;
  driver().streams.add(stream);
  if (stream->blocking()) {
    const std::lock_guard lock(context->submission);
    register_blocking(*context, stream);
  }
  return stream;
}

namespace {

// Fills in what the default-stream rules put before the task. Requires Context::submission.
void order(const std::shared_ptr<Stream>& stream, Task& task) {
  const Context& context = *stream->context;
  const auto after = [&](const std::shared_ptr<Stream>& other) {
    if (other && other != stream && !other->idle()) task.after.push_back(other->fence());
  };
  if (stream == context.legacy) {
    for (const auto& one : context.blocking) after(one.lock());
  } else if (stream->blocking()) {
    after(context.legacy);
  }
}

}  // namespace

Fence submit(const std::shared_ptr<Stream>& stream, std::function<void()> run, Place place,
             bool always) {
  Context& context = *stream->context;
  Task task{std::move(run), {}, always, nullptr};
  {
    const std::lock_guard lock(context.submission);
    order(stream, task);
    if (place == Place::kStream || !task.after.empty() || !stream->idle()) {
      return {stream, stream->push(std::move(task))};
    }
  }
  if (always || context.fault == CUDA_SUCCESS) task.run();
  return {};
}

void submit_wait(const std::shared_ptr<Stream>& stream, const Fence& before) {
  if (before.stream == nullptr || before.stream == stream || before.reached()) return;
  submit(stream, [before] { before.wait(); }, Place::kStream, true);
}

void submit_record(const std::shared_ptr<Stream>& stream, std::shared_ptr<Completion> completion) {
  const std::lock_guard lock(stream->context->submission);
  Task task;
  task.completion = std::move(completion);
  order(stream, task);
  if (task.after.empty() && stream->idle()) {
    task.completion->complete();
  } else {
    stream->push(std::move(task));
  }
}

CUresult check_value_step(const CUstreamBatchMemOpParams& step) {
  switch (step.operation) {
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
    case CU_STREAM_MEM_OP_WAIT_VALUE_64:
    case CU_STREAM_MEM_OP_WRITE_VALUE_64:
      break;
    case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES:
    case CU_STREAM_MEM_OP_BARRIER:
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  const bool wide = step.operation == CU_STREAM_MEM_OP_WAIT_VALUE_64 ||
                    step.operation == CU_STREAM_MEM_OP_WRITE_VALUE_64;
  const uint64_t address = step.waitValue.address;  // the same place in writeValue
  const uint64_t size = wide ? 8 : 4;
  return address % size == 0 && driver().allocations.covers(address, size)
             ? CUDA_SUCCESS
             : CUDA_ERROR_INVALID_VALUE;
}

CUresult finish(const Fence& fence, Context& context) {
  fence.wait();
  context.output.flush();
  return context.fault;
}

namespace api {
namespace {

CUresult create(CUstream* out, unsigned flags, int priority) {
  const Current current;
  if (!current) return current.error();
  if (out == nullptr || (flags & ~unsigned{CU_STREAM_NON_BLOCKING}) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  priority = std::clamp(priority, kGreatestPriority, 0);
  *out = as_handle<CUstream>(make_stream(current.shared(), flags, priority)->id);
  return CUDA_SUCCESS;
}

// The stream of a query, for which the context need not be current unless the handle is a default.
CUresult lookup(CUstream handle, std::shared_ptr<Stream>& stream) {
  const Current current;
  if (!current) return current.error();
  stream = find_stream(current.shared(), handle);
  return stream ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

bool capturing(const Stream& stream) {
  if (!any_capture()) return false;
  const std::lock_guard lock(capture_mutex());
  return stream.capture != nullptr;
}

// Answers a question about a stream.
template <class Value, class Of>
CUresult tell(CUstream handle, Value* out, Of of) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = of(*stream);
  return CUDA_SUCCESS;
}

CUresult context_of(CUstream handle, CUcontext* out) {
  return tell(handle, out, [](const Stream& stream) { return stream.context->handle(); });
}

struct Callback {
  CUstreamCallback function;
  CUstream stream;
  void* user;
};

}  // namespace

CUresult cuStreamCreate(CUstream* out, unsigned flags) { return create(out, flags, 0); }
CUresult cuStreamCreateWithPriority(CUstream* out, unsigned flags, int priority) {
  return create(out, flags, priority);
}

CUresult cuStreamDestroy_v2(CUstream handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto stream = driver().streams.find(handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (capturing(*stream)) {
    const std::lock_guard lock(capture_mutex());
    if (stream->capture != nullptr) stream->capture->invalidated = true;
  }
  driver().streams.remove(handle);
  stream->close();
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream handle) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (capturing(*stream)) {
    const std::lock_guard lock(capture_mutex());
    if (stream->capture) stream->capture->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  if (stream == stream->context->legacy) {
    if (const CUresult result = check_legacy(*stream)) return result;
    // The legacy stream stands for all blocking streams.
    submit(stream, [] {}, Place::kCallerIfIdle).wait();
  } else {
    stream->fence().wait();
  }
  release_surplus(stream->context->device);
  stream->context->output.flush();
  return stream->context->fault;
}

CUresult cuStreamQuery(CUstream handle) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (capturing(*stream)) {
    const std::lock_guard lock(capture_mutex());
    if (stream->capture) stream->capture->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  if (stream == stream->context->legacy) {
    if (const CUresult result = check_legacy(*stream)) return result;
    const std::lock_guard lock(stream->context->submission);
    for (const auto& one : stream->context->blocking) {
      const auto other = one.lock();
      if (other && !other->idle()) return CUDA_ERROR_NOT_READY;
    }
  }
  if (!stream->idle()) return CUDA_ERROR_NOT_READY;
  return stream->context->state();
}

CUresult cuStreamGetFlags(CUstream handle, unsigned* flags) {
  return tell(handle, flags, [](const Stream& stream) { return stream.flags; });
}
CUresult cuStreamGetPriority(CUstream handle, int* priority) {
  return tell(handle, priority, [](const Stream& stream) { return stream.priority; });
}
CUresult cuStreamGetId(CUstream handle, unsigned long long* id) {
  return tell(handle, id, [](const Stream& stream) { return stream.number; });
}
CUresult cuStreamGetDevice(CUstream handle, CUdevice* device) {
  return tell(handle, device, [](const Stream& stream) { return stream.context->device.ordinal; });
}
CUresult cuStreamGetCtx(CUstream handle, CUcontext* out) { return context_of(handle, out); }
CUresult cuStreamGetCtx_v2(CUstream handle, CUcontext* out, CUgreenCtx* green) {
  if (green != nullptr) *green = nullptr;
  return context_of(handle, out);
}
CUresult cuStreamGetGreenCtx(CUstream handle, CUgreenCtx* green) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (green == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *green = nullptr;  // we have none
  return CUDA_SUCCESS;
}

CUresult cuStreamGetAttribute(CUstream handle, CUstreamAttrID attribute, CUstreamAttrValue* value) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *value = {};
  if (attribute == CU_LAUNCH_ATTRIBUTE_PRIORITY) value->priority = stream->priority;
  if (attribute == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY)
    value->syncPolicy = CU_SYNC_POLICY_AUTO;
  return CUDA_SUCCESS;
}
// Stream attributes are hints about caches, waiting and domains: accepted, without effect here.
CUresult cuStreamSetAttribute(CUstream handle, CUstreamAttrID, const CUstreamAttrValue* value) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  return value == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
CUresult cuStreamCopyAttributes(CUstream to, CUstream from) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(to, stream)) return result;
  return lookup(from, stream);
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* user) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return issue(stream, HostOperation{function, user});
}

CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback function, void* user,
                             unsigned flags) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (function == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (capturing(*stream)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  // Called with the error if the context failed before.
  submit(
      stream,
      [=, context = stream->context] {
        context->output.flush();
        function(handle, context->fault, user);
      },
      Place::kStream, true);
  return CUDA_SUCCESS;
}

CUresult cuStreamAttachMemAsync(CUstream handle, CUdeviceptr, size_t, unsigned) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  return CUDA_ERROR_NOT_SUPPORTED;  // managed memory
}

namespace {

CUresult value_operation(CUstream handle, CUstreamBatchMemOpParams step) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (const CUresult result = check_value_step(step)) return result;
  return issue(stream, ValueOperation{{step}});
}

CUresult wait_value(CUstream stream, CUstreamBatchMemOpType type, CUdeviceptr address,
                    cuuint64_t value, unsigned flags) {
  CUstreamBatchMemOpParams step{};
  step.waitValue.operation = type;
  step.waitValue.address = address;
  step.waitValue.value64 = value;
  step.waitValue.flags = flags;
  return value_operation(stream, step);
}
CUresult write_value(CUstream stream, CUstreamBatchMemOpType type, CUdeviceptr address,
                     cuuint64_t value, unsigned flags) {
  CUstreamBatchMemOpParams step{};
  step.writeValue.operation = type;
  step.writeValue.address = address;
  step.writeValue.value64 = value;
  step.writeValue.flags = flags;
  return value_operation(stream, step);
}

}  // namespace

CUresult cuStreamWaitValue32_v2(CUstream s, CUdeviceptr a, cuuint32_t v, unsigned f) {
  return wait_value(s, CU_STREAM_MEM_OP_WAIT_VALUE_32, a, v, f);
}
CUresult cuStreamWaitValue64_v2(CUstream s, CUdeviceptr a, cuuint64_t v, unsigned f) {
  return wait_value(s, CU_STREAM_MEM_OP_WAIT_VALUE_64, a, v, f);
}
CUresult cuStreamWriteValue32_v2(CUstream s, CUdeviceptr a, cuuint32_t v, unsigned f) {
  return write_value(s, CU_STREAM_MEM_OP_WRITE_VALUE_32, a, v, f);
}
CUresult cuStreamWriteValue64_v2(CUstream s, CUdeviceptr a, cuuint64_t v, unsigned f) {
  return write_value(s, CU_STREAM_MEM_OP_WRITE_VALUE_64, a, v, f);
}
CUresult cuStreamBatchMemOp_v2(CUstream handle, unsigned count, CUstreamBatchMemOpParams* steps,
                               unsigned flags) {
  if (count > 256 || (count != 0 && steps == nullptr) || flags != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  for (unsigned i = 0; i < count; ++i) {
    if (const CUresult result = check_value_step(steps[i])) return result;
  }
  return issue(stream, ValueOperation{{steps, steps + count}});
}

}  // namespace api
}  // namespace vgpu::softgpu

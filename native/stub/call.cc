#include "stub/call.h"

#include <set>

#include "contract/sticky_errors.h"
#include "stub/capture.h"
#include "stub/log.h"
#include "stub/output.h"
#include "stub/statistics.h"
#include "wire/calls.h"

namespace vgpu::stub {
namespace {

wire::Writer& take_writer(ThreadState& thread) {
  if (thread.writers_used == thread.writers.size()) {
    thread.writers.push_back(std::make_unique<wire::Writer>());
  }
  wire::Writer& writer = *thread.writers[thread.writers_used++];
  writer.clear();
  return writer;
}

void raise(std::atomic<uint64_t>& value, uint64_t number) {
  uint64_t seen = value.load(std::memory_order_relaxed);
  while (seen < number && !value.compare_exchange_weak(seen, number, std::memory_order_release)) {
  }
}

}  // namespace

CUresult context_state(const Context& context) {
  return static_cast<CUresult>(context.sticky.load(std::memory_order_relaxed));
}

CUresult current_context(Context** context) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *context = this_thread().current();
  if (*context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (!(*context)->alive.load(std::memory_order_acquire)) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  return context_state(**context);
}

CUresult unsupported(const char* name) noexcept {
  static std::mutex mutex;
  static std::set<std::string>* seen = nullptr;
  counters().unsupported_calls.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex);
  if (seen == nullptr) seen = new std::set<std::string>;
  if (seen->insert(name).second) {
    log(LogLevel::kWarning, "%s is not supported (CUDA_ERROR_NOT_SUPPORTED)", name);
  }
  return CUDA_ERROR_NOT_SUPPORTED;
}

Call::Call(Opcode opcode) : thread_(this_thread()), writer_(take_writer(thread_)) {
  context_ = thread_.current();
  begin(opcode);
  if (ok()) check_context();
}

Call::Call(Opcode opcode, Context* context)
    : thread_(this_thread()), writer_(take_writer(thread_)), context_(context) {
  begin(opcode);
  if (ok()) result_ = announce();
}

Call::~Call() {
  if (created_ != 0 && result_ != CUDA_SUCCESS) forget(created_kind_, created_);
  --thread_.writers_used;
}

void Call::begin(Opcode opcode) {
  info_ = call_info(opcode);
  header_.opcode = static_cast<uint16_t>(opcode);
  header_.thread = thread_.number;
  result_ = ready();
  process_ = process();
  if (!ok()) return;
  if (!process_->worker.served[static_cast<size_t>(info_ - kCalls)]) [[unlikely]] {
    result_ = unsupported(info_->name);
  } else if (process_->link() == nullptr) [[unlikely]] {
    result_ = process_->bind();
  } else if (process_->link()->lost()) [[unlikely]] {
    result_ = process_->lost();
  }
}

void Call::check_context() {
  if (context_ == nullptr) {
    if (info_->needs_context) result_ = CUDA_ERROR_INVALID_CONTEXT;
    return;
  }
  if (!context_->alive.load(std::memory_order_acquire)) {
    if (info_->needs_context) result_ = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    return;
  }
  result_ = context_state(*context_);
  if (ok()) result_ = announce();
}

// The executor makes a context when the first call needs it.
CUresult Call::announce() {
  if (context_ == nullptr) return CUDA_SUCCESS;
  header_.context = context_->id.load(std::memory_order_relaxed);
  if (context_->announced.load(std::memory_order_acquire)) [[likely]] {
    return CUDA_SUCCESS;
  }
  if (!context_->primary || !context_->alive.load()) return CUDA_SUCCESS;
  const std::lock_guard lock(process_->context_mutex);
  if (context_->announced.load()) return CUDA_SUCCESS;
  wire::RecordHeader header{};
  header.thread = thread_.number;
  header.context = header_.context;
  wire::Writer payload;
  const auto device = static_cast<uint32_t>(context_->device->worker_ordinal);
  if (const uint32_t flags = context_->flags.load(); flags != 0) {
    header.opcode = static_cast<uint16_t>(Opcode::cuDevicePrimaryCtxSetFlags_v2);
    payload.put(device);
    payload.put(flags);
    const std::span<const std::byte> part = payload.bytes();
    process_->link()->append(header, {&part, 1});
    payload.clear();
  }
  header.opcode = static_cast<uint16_t>(Opcode::cuDevicePrimaryCtxRetain);
  payload.put(device);
  payload.put(header_.context);
  const std::span<const std::byte> part = payload.bytes();
  // Waits: a context that cannot be made (no memory left) must fail the call that needs it.
  const CUresult result = deliver(process_->link()->call(header, {&part, 1}));
  if (result == CUDA_SUCCESS) context_->announced.store(true, std::memory_order_release);
  return result;
}

void Call::stream(CUstream handle) {
  if (!ok()) return;
  Stream* found = resolve_stream(handle);
  if (found == nullptr) {
    fail(ready() == CUDA_SUCCESS && process_->link()->lost() ? process_->lost()
                                                             : CUDA_ERROR_INVALID_HANDLE);
    return;
  }
  stream(found);
}

void Call::stream(Stream* found) {
  if (!ok()) return;
  fail(check_capture_implicit(*found));
  if (const Capture* capture = found->capture.load(); capture != nullptr && adds_work_) {
    if (capture->invalidated) fail(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  }
  stream_ = found;
  header_.stream = found->id.load(std::memory_order_relaxed);
  if (found->context != context_) {
    context_ = found->context;
    if (!context_->alive.load()) return fail(CUDA_ERROR_CONTEXT_IS_DESTROYED);
    fail(context_state(*context_));
    if (ok()) fail(announce());
  }
}

uint32_t Call::device(CUdevice ordinal) {
  if (!ok()) return 0;
  const Device* found = process_->device(ordinal);
  if (found == nullptr) {
    fail(CUDA_ERROR_INVALID_DEVICE);
    return 0;
  }
  return static_cast<uint32_t>(found->worker_ordinal);
}

uint64_t newest_work(const Stream& stream) {
  const bool legacy = &stream == &stream.context->legacy;
  return (legacy ? stream.context->blocking_last : stream.last).load(std::memory_order_acquire);
}

bool all_work_known_complete(const Stream& stream) {
  const Context& context = *stream.context;
  const uint64_t newest = newest_work(stream);
  if (newest <= context.synced.load(std::memory_order_acquire)) return true;
  if (newest <= stream.synced.load(std::memory_order_acquire)) return true;
  return stream.blocking() && newest <= context.blocking_synced.load(std::memory_order_acquire);
}

void set_complete(Stream& stream, uint64_t through) {
  raise(stream.synced, through);
  // Work of the legacy stream runs after all earlier work of the blocking streams.
  if (&stream == &stream.context->legacy) raise(stream.context->blocking_synced, through);
}

void set_complete(Context& context, uint64_t through) {
  raise(context.synced, through);
  raise(context.blocking_synced, through);
}

// Progress is counted before the record is appended: a synchronize of another thread may then wait
// once too often, never once too seldom.
void Call::mark() {
  if (!adds_work_) return;
  number_ = process_->next_record();
  if (context_ == nullptr) return;
  raise(context_->last, number_);
  if (stream_ == nullptr) return;
  raise(stream_->last, number_);
  if (stream_->blocking()) raise(context_->blocking_last, number_);
}

CUresult Call::finish() { return info_->call_class == CallClass::kAsync ? send() : wait(); }

CUresult Call::send() {
  if (!ok()) return result_;
  if (process_->every_call_waits) [[unlikely]] {
    return blocking_wait();
  }
  return result_ = transmit();
}

CUresult Call::transmit() {
  mark();
  const std::span<const std::byte> parts[] = {writer_.bytes(), tail_};
  if (process_->link()->append(header_, parts)) [[likely]] {
    return CUDA_SUCCESS;
  }
  return not_sent();
}

// The session is lost; or, if it is not, the record was longer than one may be.
CUresult Call::not_sent() {
  if (process_->link()->lost()) return process_->lost();
  log(LogLevel::kWarning, "%s: the arguments take more than %u bytes", info_->name,
      wire::kMaxRecord);
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult Call::wait() {
  if (!ok()) return result_;
  mark();
  const std::span<const std::byte> parts[] = {writer_.bytes(), tail_};
  counters().waits[static_cast<size_t>(info_ - kCalls)].fetch_add(1, std::memory_order_relaxed);
  answer_ = process_->link()->call(header_, parts);
  reply_ = answer_.reader();
  return result_ = deliver(answer_);
}

// CUDA_LAUNCH_BLOCKING and gpu-opt: the result of the call itself, then of the work it queued.
CUresult Call::blocking_wait() {
  const CUresult result = wait();
  if (result != CUDA_SUCCESS || stream_ == nullptr || !adds_work_) return result;
  if (stream_->capture.load() != nullptr) return result;
  Call synchronize(Opcode::cuStreamSynchronize, context_);
  synchronize.adds_no_work();
  synchronize.stream(stream_);
  return result_ = synchronize.wait();
}

CUresult Call::deliver(const transport::Reply& reply) {
  print_output();
  if (!reply.delivered) return not_sent();
  auto result = static_cast<CUresult>(reply.header.result);
  const auto late = static_cast<CUresult>(reply.header.late_error);
  if (late != CUDA_SUCCESS) {
    const char* name = call_name(static_cast<Opcode>(reply.header.late_call));
    if (contract::is_sticky(late)) {
      log(LogLevel::kInfo, "%s: error %d reported by the device", name, static_cast<int>(late));
    } else {
      counters().late_errors.fetch_add(1, std::memory_order_relaxed);
      log(LogLevel::kError, "%s failed with error %d after it had returned success", name,
          static_cast<int>(late));
    }
    if (result == CUDA_SUCCESS) result = late;
  }
  const CUresult latch = contract::is_sticky(late) ? late : result;
  if (contract::is_sticky(latch) && context_ != nullptr) {
    int none = 0;
    context_->sticky.compare_exchange_strong(none, static_cast<int>(latch));
  }
  return result;
}

size_t Call::take_array(void* destination, size_t count, size_t element) {
  const auto bytes = reply_.array(element);
  const size_t came = bytes.size() / element;
  if (destination != nullptr && !bytes.empty()) {
    std::memcpy(destination, bytes.data(), std::min(came, count) * element);
  }
  return came;
}

bool Call::is_valid(HandleKind kind, uint64_t id) {
  Process* process = stub::process();
  if (process == nullptr) return false;
  switch (kind) {
    case HandleKind::kContext:
      return process->context(as_handle<CUcontext>(id)) != nullptr;
    case HandleKind::kStream:
      return process->streams.find(id) != nullptr;
    case HandleKind::kEvent:
      return process->events.find(id) != nullptr;
    case HandleKind::kModule:
      return process->modules.find(id) != nullptr;
    case HandleKind::kLibrary:
      return process->libraries.find(id) != nullptr;
    case HandleKind::kFunction:
      return process->function(as_handle<CUfunction>(id)) != nullptr;
    case HandleKind::kKernel:
      return process->kernels.find(id) != nullptr;
    case HandleKind::kGraph:
      return process->graphs.find(id) != nullptr;
    case HandleKind::kGraphNode:
      return process->nodes.contains(id);
    case HandleKind::kGraphExec:
      return process->graph_execs.find(id) != nullptr;
    case HandleKind::kMemPool: {
      for (const auto& device : process->devices) {
        if (id == wire::default_mem_pool(device->worker_ordinal)) return true;
      }
      return process->pools.find(id) != nullptr;
    }
    case HandleKind::kMemAllocation:
      return process->physical.find(id) != nullptr;
    case HandleKind::kArray:
      return process->arrays.find(id) != nullptr;
    case HandleKind::kMipmappedArray:
      return process->mipmapped_arrays.find(id) != nullptr;
    case HandleKind::kLink:
      return process->links.find(id) != nullptr;
    case HandleKind::kUserObject:
      return process->user_objects.find(id) != nullptr;
    default:
      return false;
  }
}

bool Call::forget(HandleKind kind, uint64_t id) {
  Process* process = stub::process();
  switch (kind) {
    case HandleKind::kStream:
      return process->streams.destroy(id);
    case HandleKind::kEvent:
      return process->events.destroy(id);
    case HandleKind::kModule:
      return process->modules.destroy(id);
    case HandleKind::kLibrary:
      return process->libraries.destroy(id);
    case HandleKind::kGraph:
      return process->graphs.destroy(id);
    case HandleKind::kGraphExec:
      return process->graph_execs.destroy(id);
    case HandleKind::kMemPool:
      return process->pools.destroy(id);
    case HandleKind::kArray:
      return process->arrays.destroy(id);
    case HandleKind::kMipmappedArray:
      return process->mipmapped_arrays.destroy(id);
    case HandleKind::kLink:
      return process->links.destroy(id);
    case HandleKind::kUserObject:
      return process->user_objects.destroy(id);
    case HandleKind::kGraphNode:
      process->nodes.remove(id);
      return true;
    default:
      return false;
  }
}

uint64_t Call::create(HandleKind kind) {
  if (!ok()) return 0;
  Object* object = nullptr;
  switch (kind) {
    case HandleKind::kGraph: {
      object = process_->graphs.create([&](Graph& graph) {
        graph.context = context_;
        graph.embedded = graph.conditional = false;
      });
      break;
    }
    case HandleKind::kGraphExec: {
      object = process_->graph_execs.create([&](GraphExec& exec) {
        exec.context = context_;
        exec.kinds = 0;
      });
      break;
    }
    case HandleKind::kMemPool:
      object = process_->pools.create();
      break;
    case HandleKind::kLink:
      object = process_->links.create();
      break;
    case HandleKind::kUserObject:
      object = process_->user_objects.create();
      break;
    case HandleKind::kArray: {
      object = process_->arrays.create([&](Array& array) { array.context = context_; });
      break;
    }
    case HandleKind::kMipmappedArray: {
      object = process_->mipmapped_arrays.create([&](MipmappedArray& array) {
        array.context = context_;
        array.levels.clear();
      });
      break;
    }
    default:
      break;
  }
  if (object == nullptr) {
    fail(CUDA_ERROR_OUT_OF_MEMORY);
    return 0;
  }
  created_kind_ = kind;
  created_ = object->id.load();
  return created_;
}

}  // namespace vgpu::stub

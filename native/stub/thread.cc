#include "stub/thread.h"

#include <atomic>

#include "stub/call.h"
#include "stub/process.h"

namespace vgpu::stub {
namespace {

constinit std::atomic<uint32_t> thread_count{0};
// A plain pointer: usable even while, and after, the thread's destructors run.
constinit thread_local ThreadState* state = nullptr;

void destroy_default_streams(ThreadState& thread) {
  Process* process = stub::process();
  if (process == nullptr || process->link() == nullptr || process->link()->lost()) return;
  for (const auto& [context, generation, id] : thread.default_streams) {
    if (!context->alive.load() || context->generation.load() != generation) continue;
    Call call(Opcode::cuStreamDestroy_v2, context);
    call.header().stream = id;
    call.put(id);
    static_cast<void>(call.send());
    process->streams.destroy(id);
  }
}

// Its destructor runs when the thread ends; the main thread's at exit, when the link is closed
// anyway.
struct Ending {
  ~Ending() {
    ThreadState* ended = state;
    if (ended == nullptr) return;
    destroy_default_streams(*ended);
    state = nullptr;
    delete ended;
  }
};

}  // namespace

ThreadState& this_thread() {
  if (state == nullptr) [[unlikely]] {
    state = new ThreadState;
    state->number = thread_count.fetch_add(1, std::memory_order_relaxed) + 1;
    thread_local const Ending ending;
    static_cast<void>(&ending);
  }
  return *state;
}

Stream* per_thread_stream(Context* context) {
  ThreadState& thread = this_thread();
  const unsigned generation = context->generation.load();
  for (const auto& known : thread.default_streams) {
    if (known.context == context && known.generation == generation) {
      return process()->streams.find(known.stream);
    }
  }
  Stream* stream = process()->streams.create([&](Stream& fresh) {
    fresh.context = context;
    fresh.flags = CU_STREAM_DEFAULT;
    fresh.priority = 0;
    fresh.last = fresh.synced = 0;
    fresh.capture = nullptr;
  });
  if (stream == nullptr) return nullptr;
  Call call(Opcode::cuStreamCreateWithPriority, context);
  call.put(stream->id.load());
  call.put(uint32_t{CU_STREAM_DEFAULT});
  call.put(int32_t{0});
  if (call.send() != CUDA_SUCCESS) {
    process()->streams.destroy(stream->id);
    return nullptr;
  }
  thread.default_streams.push_back({context, generation, stream->id.load()});
  return stream;
}

Stream* resolve_stream(CUstream handle) {
  Context* context = this_thread().current();
  const bool per_thread = this_thread().per_thread_default > 0;
  const auto value = reinterpret_cast<uint64_t>(handle);
  if (value > 2) return process()->streams.find(value);
  if (context == nullptr) return nullptr;
  if (value == 2 || (value == 0 && per_thread)) return per_thread_stream(context);
  return &context->legacy;
}

}  // namespace vgpu::stub

// What belongs to one thread of the program: its context stack, its default streams, its capture
// mode.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "stub/state.h"
#include "wire/writer.h"

namespace vgpu::stub {

struct ThreadState {
  uint32_t number = 0;  // dense, from 1
  std::vector<Context*> contexts;
  // The stream behind CU_STREAM_PER_THREAD, by context (and its generation).
  struct DefaultStream {
    Context* context;
    unsigned generation;
    uint64_t stream;
  };
  std::vector<DefaultStream> default_streams;
  CUstreamCaptureMode capture_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  int per_thread_default = 0;  // > 0 inside a _ptsz or _ptds entry point
  // Buffers of nested calls, reused.
  std::vector<std::unique_ptr<wire::Writer>> writers;
  size_t writers_used = 0;

  [[nodiscard]] Context* current() const { return contexts.empty() ? nullptr : contexts.back(); }
};

// Never null; made at the first use. Destroyed, with its default streams, when the thread ends.
ThreadState& this_thread();

// Lives through a _ptsz or _ptds entry point: stream 0 means the per-thread default stream.
class ScopedPerThreadDefault {
 public:
  ScopedPerThreadDefault() : thread_(this_thread()) { ++thread_.per_thread_default; }
  ~ScopedPerThreadDefault() { --thread_.per_thread_default; }
  ScopedPerThreadDefault(const ScopedPerThreadDefault&) = delete;
  ScopedPerThreadDefault& operator=(const ScopedPerThreadDefault&) = delete;

 private:
  ThreadState& thread_;
};

// The stream object behind a handle, in the current context for the default ones; null if invalid.
Stream* resolve_stream(CUstream handle);
// Makes (once per thread and context) the stream behind CU_STREAM_PER_THREAD.
Stream* per_thread_stream(Context* context);

}  // namespace vgpu::stub

// Streams: queues that run their work in order on a thread of their own, started with the first
// asynchronous operation.
#pragma once

#include <cuda.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace vgpu::softgpu {

struct Context;
struct Capture;
struct Node;

class Stream;
class Completion;
// A point in a stream's work.
struct Fence {
  std::shared_ptr<Stream> stream;
  uint64_t sequence = 0;
  [[nodiscard]] bool reached() const;
  void wait() const;
};

struct Task {
  std::function<void()> run;
  std::vector<Fence> after;
  bool always = false;  // runs even when the context has failed (completions must come)
  // Completed in one step with the stream's own progress, so that no query sees one without the
  // other.
  std::shared_ptr<Completion> completion;
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::shared_ptr<Context> context, unsigned flags, int priority)
      : context(std::move(context)), flags(flags), priority(priority) {}

  uint64_t id = 0;      // handle; 0 for the default streams
  uint64_t number = 0;  // cuStreamGetId
  const std::shared_ptr<Context> context;
  const unsigned flags;
  const int priority;
  std::shared_ptr<Capture> capture;         // guarded by capture_mutex()
  std::vector<std::shared_ptr<Node>> tail;  // what the next captured node depends on

  [[nodiscard]] bool blocking() const { return (flags & CU_STREAM_NON_BLOCKING) == 0; }
  // The calls below are ordered by Context::submission.
  uint64_t push(Task task);
  [[nodiscard]] Fence fence();  // all that was submitted so far
  [[nodiscard]] bool idle();
  void wait(uint64_t sequence);
  [[nodiscard]] bool reached(uint64_t sequence);
  void close();  // its thread ends after the last task

 private:
  void work();

  std::mutex mutex_;  // guards all below
  std::condition_variable submitted_changed_, completed_changed_;
  std::deque<Task> tasks_;
  uint64_t submitted_ = 0, completed_ = 0;
  bool started_ = false, closed_ = false;
};

// The stream that a handle means for the calling thread; null when it means none.
std::shared_ptr<Stream> find_stream(const std::shared_ptr<Context>& current, CUstream handle);

enum class Place {
  kStream,        // on the stream's thread
  kCallerIfIdle,  // at once on the calling thread when nothing is before it: short operations
};
// Orders `run` after what the default-stream rules say. Returns where it will be done.
Fence submit(const std::shared_ptr<Stream>& stream, std::function<void()> run,
             Place place = Place::kStream, bool always = false);
// Lets what the stream is given next wait for what another was given before.
void submit_wait(const std::shared_ptr<Stream>& stream, const Fence& before);
// Completes `completion` when all that was submitted before is done.
void submit_record(const std::shared_ptr<Stream>& stream, std::shared_ptr<Completion> completion);
// Whether one step of cuStreamBatchMemOp can be done: its address, in the first place.
CUresult check_value_step(const CUstreamBatchMemOpParams& step);
// Waits, then reports the context's sticky error.
CUresult finish(const Fence& fence, Context& context);
std::shared_ptr<Stream> make_stream(const std::shared_ptr<Context>& context, unsigned flags,
                                    int priority);

}  // namespace vgpu::softgpu

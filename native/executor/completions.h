// Who waits for what has been issued to a stream: marks (timing-free events of our own) in the
// order of issue, and what happens when the device passes them. Main loop only.
//
// A mark is never recorded on a capturing stream, nor on the legacy stream: behind the work of that
// one it is recorded on a blocking stream of our own, which the legacy stream's work precedes by
// definition (docs of the default stream), and which no capture can see.
#pragma once

#include <cuda.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "executor/inbox.h"
#include "executor/scheduler.h"
#include "executor/waiters.h"
#include "generated/driver_table.h"

namespace vgpu::executor {

// What the executor knows of a context; see contexts.h.
struct ContextState;

class Completions {
 public:
  using Done = std::function<void(CUresult)>;

  Completions(const DriverTable& driver, Waiters& waiters, Inbox& inbox)
      : driver_(driver), waiters_(waiters), inbox_(inbox) {}

  void attach(Scheduler* scheduler) { scheduler_ = scheduler; }

  // One more operation was issued to the stream. Parks the stream in the scheduler when too many
  // are outstanding: a driver blocks the launching thread near 1000.
  void issued(ContextState& context, uint64_t stream, CUstream handle);
  // Keeps `owner` alive until what has been issued so far is complete.
  void hold(ContextState& context, uint64_t stream, CUstream handle,
            std::shared_ptr<const void> owner);
  // Calls `done` once what has been issued so far is complete, after those of earlier marks.
  void after(ContextState& context, uint64_t stream, CUstream handle, Done done);
  // Calls `done` of every mark that the device has passed by now. Before any reply that tells the
  // client of completed work, so that the data of earlier copies leaves first.
  void reap();
  // True while the main loop should look again soon instead of sleeping: most work is short, and a
  // thread that waits for it costs two wake-ups. After kPoll threads take over.
  bool poll();
  // The stream is about to be destroyed; its marks stay until the device has passed them.
  void forget_stream(ContextState& context, uint64_t stream, CUstream handle);
  // Everything of the context, with `result`; its events are destroyed.
  void abandon(ContextState& context, CUresult result);

  static constexpr uint64_t kMostOutstanding = 512;
  static constexpr uint64_t kResumeAt = 256;
  static constexpr uint64_t kMarkEvery = 128;
  static constexpr std::chrono::microseconds kPoll{30};

 private:
  struct Mark {
    CUevent event = nullptr;
    uint64_t issued = 0;
    Done done;
    std::vector<std::shared_ptr<const void>> held;
  };
  struct Track {
    ContextState* context = nullptr;
    uint64_t stream = 0;
    std::deque<Mark> marks;
    std::vector<std::shared_ptr<const void>> held;  // for the next mark
    uint64_t issued = 0;
    uint64_t marked = 0;
    uint64_t completed = 0;
    uint64_t wanted = 0;  // marks with `done`
    bool full = false;
    bool waiting = false;  // a thread waits for the first mark
    bool gone = false;     // the stream does not exist any more
  };
  using TrackKey = std::pair<uint64_t, uint64_t>;  // context, stream

  Track& track(ContextState& context, uint64_t stream);
  CUresult mark(Track& track, CUstream handle, Done done);
  CUresult take_event(ContextState& context, CUevent* event);
  bool reap(Track& track);
  void pass(Track& track, CUresult result);
  void wait(const TrackKey& key, Track& track);
  void wait_elsewhere(const TrackKey& key, Track& track);
  void waited(const TrackKey& key);

  const DriverTable& driver_;
  Waiters& waiters_;
  Inbox& inbox_;
  Scheduler* scheduler_ = nullptr;
  std::map<TrackKey, Track> tracks_;
  size_t wanted_ = 0;  // marks with `done`, of all streams
  struct Polled {
    TrackKey key;
    std::chrono::steady_clock::time_point until;
  };
  std::vector<Polled> polled_;  // waiting, and no thread yet
};

}  // namespace vgpu::executor

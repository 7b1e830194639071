#include "executor/completions.h"

#include <chrono>
#include <thread>
#include <utility>

#include "executor/contexts.h"
#include "executor/log.h"

namespace vgpu::executor {

Completions::Track& Completions::track(ContextState& context, uint64_t stream) {
  Track& track = tracks_[{context.id, stream}];
  track.context = &context;
  track.stream = stream;
  return track;
}

void Completions::issued(ContextState& context, uint64_t stream, CUstream handle) {
  Track& one = track(context, stream);
  ++one.issued;
  if (one.issued - one.marked < kMarkEvery) return;
  mark(one, handle, nullptr);
  reap(one);
  if (one.marks.empty() || one.issued - one.completed < kMostOutstanding || one.full) return;
  one.full = true;
  scheduler_->set_full(context.id, stream, true);
  wait({context.id, stream}, one);
}

void Completions::hold(ContextState& context, uint64_t stream, CUstream handle,
                       std::shared_ptr<const void> owner) {
  Track& one = track(context, stream);
  one.held.push_back(std::move(owner));
  if (one.held.size() < 32) return;
  mark(one, handle, nullptr);
  reap(one);
}

void Completions::after(ContextState& context, uint64_t stream, CUstream handle, Done done) {
  Track& one = track(context, stream);
  mark(one, handle, std::move(done));
  wait({context.id, stream}, one);
}

CUresult Completions::take_event(ContextState& context, CUevent* event) {
  if (context.free_events.empty()) return driver_.cuEventCreate(event, CU_EVENT_DISABLE_TIMING);
  *event = context.free_events.back();
  context.free_events.pop_back();
  return CUDA_SUCCESS;
}

// Without an event (capture, failed device) the mark counts as passed as soon as those before it
// are.
CUresult Completions::mark(Track& track, CUstream handle, Done done) {
  ContextState& context = *track.context;
  CUstream on = handle;
  CUresult result = CUDA_SUCCESS;
  bool capturing = false;
  if (track.stream == 0) {
    if (context.mark_stream == nullptr) {
      result = driver_.cuStreamCreate(&context.mark_stream, CU_STREAM_DEFAULT);
    }
    on = context.mark_stream;
  } else if (context.capturing != 0) {
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    driver_.cuStreamIsCapturing(on, &status);
    capturing = status != CU_STREAM_CAPTURE_STATUS_NONE;
  }
  CUevent event = nullptr;
  if (!capturing && result == CUDA_SUCCESS) {
    // Fails with the fault of a kernel, too, if that came first.
    result = take_event(context, &event);
    if (result == CUDA_SUCCESS) result = driver_.cuEventRecord(event, on);
    if (result != CUDA_SUCCESS && event != nullptr) {
      context.free_events.push_back(event);
      event = nullptr;
    }
  }
  if (done) {
    ++track.wanted;
    ++wanted_;
    if (result != CUDA_SUCCESS) {
      done = [done = std::move(done), result](CUresult) { done(result); };
    }
  }
  track.marked = track.issued;
  track.marks.push_back({event, track.issued, std::move(done), std::exchange(track.held, {})});
  return result;
}

// Passes the marks that the device has passed. True if there were any.
bool Completions::reap(Track& track) {
  bool any = false;
  while (!track.marks.empty()) {
    CUresult result = CUDA_SUCCESS;
    if (track.marks.front().event != nullptr) {
      result = driver_.cuEventQuery(track.marks.front().event);
      if (result == CUDA_ERROR_NOT_READY) break;
    }
    pass(track, result);
    any = true;
  }
  return any;
}

void Completions::pass(Track& track, CUresult result) {
  Mark mark = std::move(track.marks.front());
  track.marks.pop_front();
  track.completed = mark.issued;
  if (mark.event != nullptr) track.context->free_events.push_back(mark.event);
  const bool resume = track.full && track.issued - track.completed < kResumeAt;
  if (resume) track.full = false;
  const uint64_t context = track.context->id;
  const uint64_t stream = track.stream;
  if (mark.done) {
    // A driver prints what device code printed when somebody waits, not when somebody asks.
    if (mark.event != nullptr) driver_.cuEventSynchronize(mark.event);
    --track.wanted;
    --wanted_;
    mark.done(result);
  }
  // Not from here: what the stream issues then may end tracks that callers hold.
  if (resume) {
    inbox_.post([this, context, stream] { scheduler_->set_full(context, stream, false); });
  }
}

void Completions::reap() {
  if (wanted_ == 0) return;
  // What a mark calls may add streams but removes none: forget_stream() and abandon() are not
  // called from there.
  for (auto& [key, track] : tracks_) {
    if (track.wanted != 0) reap(track);
  }
}

// Sees to it that the first mark is noticed when it is passed: by polling, then by a thread.
void Completions::wait(const TrackKey& key, Track& track) {
  if (track.waiting || track.marks.empty()) return;
  track.waiting = true;
  polled_.push_back({key, std::chrono::steady_clock::now() + kPoll});
}

bool Completions::poll() {
  if (polled_.empty()) return false;
  const auto now = std::chrono::steady_clock::now();
  const std::vector<Polled> polled = std::exchange(polled_, {});
  for (const Polled& one : polled) {
    const auto it = tracks_.find(one.key);
    if (it == tracks_.end() || !it->second.waiting) continue;
    Track& track = it->second;
    if (reap(track) || track.marks.empty()) {  // others reap, too
      waited(one.key);  // the next mark, if it is wanted, gets a moment of its own
    } else if (now >= one.until) {
      wait_elsewhere(one.key, track);
    } else {
      polled_.push_back(one);
    }
  }
  return !polled_.empty();
}

// Has a thread wait for the first mark; it comes back to the main loop.
void Completions::wait_elsewhere(const TrackKey& key, Track& track) {
  const CUevent event = track.marks.front().event;
  if (event == nullptr) {
    inbox_.post([this, key] { waited(key); });
    return;
  }
  auto waits = track.context->waits;
  waits->fetch_add(1);
  waiters_.run([this, key, event, waits, context = track.context->handle] {
    driver_.cuCtxSetCurrent(context);
    Contexts::forget_current();
    driver_.cuEventSynchronize(event);
    waits->fetch_sub(1);
    inbox_.post([this, key] { waited(key); });
  });
}

void Completions::waited(const TrackKey& key) {
  const auto it = tracks_.find(key);
  if (it == tracks_.end()) return;
  Track& track = it->second;
  track.waiting = false;
  reap(track);
  if (track.gone && track.marks.empty()) {
    tracks_.erase(it);
  } else if (track.wanted != 0 || track.full || track.gone) {
    wait(key, track);
  }
}

void Completions::forget_stream(ContextState& context, uint64_t stream, CUstream handle) {
  const TrackKey key{context.id, stream};
  const auto it = tracks_.find(key);
  if (it == tracks_.end()) return;
  Track& track = it->second;
  if (!track.held.empty()) mark(track, handle, nullptr);
  track.gone = true;
  if (!track.waiting && track.marks.empty()) {
    tracks_.erase(it);
  } else {
    wait(key, track);
  }
}

void Completions::abandon(ContextState& context, CUresult result) {
  // The device is idle or broken: threads that wait for a mark are about to return.
  while (context.waits->load() != 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  auto it = tracks_.lower_bound({context.id, 0});
  while (it != tracks_.end() && it->first.first == context.id) {
    while (!it->second.marks.empty()) pass(it->second, result);
    it = tracks_.erase(it);
  }
  for (const CUevent event : context.free_events) driver_.cuEventDestroy_v2(event);
  context.free_events.clear();
  if (context.mark_stream != nullptr) driver_.cuStreamDestroy_v2(context.mark_stream);
  context.mark_stream = nullptr;
}

}  // namespace vgpu::executor

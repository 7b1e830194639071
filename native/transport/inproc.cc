// Two channel ends in one process: each end is an inbox that the other fills.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "transport/endpoints.h"
#include "transport/spin.h"

namespace vgpu::transport {
namespace {

using Clock = std::chrono::steady_clock;

// What one end has to look at. The other end's thread adds, the owner takes.
struct Inbox {
  std::mutex mutex;  // guards lanes, open, and the waiting below
  std::condition_variable arrived;
  std::deque<Frame> lanes[2];
  bool open = true;                    // false once the other end has closed
  bool parked = false;                 // the owner sleeps in `arrived`
  std::atomic<bool> signalled{false};  // something to look at: frame, wake() or close

  // SYNC: inproc signal. Set by whoever has news, cleared by the owner before it looks.
  void signal() {
    signalled.store(true, std::memory_order_release);
    std::lock_guard lock(mutex);
    if (parked) arrived.notify_one();
  }
};

class InprocChannel final : public Channel {
 public:
  InprocChannel(std::shared_ptr<Inbox> mine, std::shared_ptr<Inbox> theirs)
      : mine_(std::move(mine)), theirs_(std::move(theirs)) {}
  ~InprocChannel() override { close(0); }

  void send(Lane lane, Frame frame) override {
    bool wake = false;
    {
      std::lock_guard lock(theirs_->mutex);
      theirs_->lanes[static_cast<size_t>(lane)].push_back(std::move(frame));
      theirs_->signalled.store(true, std::memory_order_release);
      wake = theirs_->parked;
    }
    if (wake) theirs_->arrived.notify_one();
  }

  std::optional<Frame> receive(Lane lane) override {
    std::lock_guard lock(mine_->mutex);
    auto& queue = mine_->lanes[static_cast<size_t>(lane)];
    if (queue.empty()) return std::nullopt;
    Frame frame = std::move(queue.front());
    queue.pop_front();
    return frame;
  }

  void wait(int timeout_ms) override {
    if (spinner_.until([this] { return take_signal(); }) || timeout_ms == 0) return;
    std::unique_lock lock(mine_->mutex);
    mine_->parked = true;
    auto news = [this] { return take_signal(); };
    if (timeout_ms < 0) {
      mine_->arrived.wait(lock, news);
    } else {
      mine_->arrived.wait_until(lock, Clock::now() + std::chrono::milliseconds(timeout_ms), news);
    }
    mine_->parked = false;
  }

  void wake() override { mine_->signal(); }

  ChannelState state() const override {
    std::lock_guard lock(mine_->mutex);
    const bool drained = mine_->lanes[0].empty() && mine_->lanes[1].empty();
    return mine_->open || !drained ? ChannelState::kUp : ChannelState::kDown;
  }
  std::string reason() const override { return "the other end in this process has closed"; }

  void close(int) override {
    if (closed_) return;
    closed_ = true;
    {
      std::lock_guard lock(theirs_->mutex);
      theirs_->open = false;
    }
    theirs_->signal();
  }

 private:
  bool take_signal() {
    return mine_->signalled.load(std::memory_order_relaxed) &&
           mine_->signalled.exchange(false, std::memory_order_acq_rel);
  }

  std::shared_ptr<Inbox> mine_;
  std::shared_ptr<Inbox> theirs_;
  bool closed_ = false;
  Spinner spinner_;
};

}  // namespace

std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> make_inproc_pair() {
  auto left = std::make_shared<Inbox>();
  auto right = std::make_shared<Inbox>();
  return {std::make_unique<InprocChannel>(left, right),
          std::make_unique<InprocChannel>(right, left)};
}

}  // namespace vgpu::transport

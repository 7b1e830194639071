#include "transport/zmq_lanes.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace vgpu::transport {
namespace {

// Attempts to receive between looks at a socket that seems to be empty.
constexpr int kLookEvery = 8;

}  // namespace

ZmqLanes::ZmqLanes(std::array<ZmqSocket, 2> sockets, std::array<ZmqMonitor, 2> monitors)
    : sockets_(std::move(sockets)),
      monitors_(std::move(monitors)),
      event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  descriptors_ = {sockets_[0].fd(), sockets_[1].fd(), monitors_[0].fd(), monitors_[1].fd(), event_};
}

ZmqLanes::~ZmqLanes() {
  close(0);
  ::close(event_);
}

void ZmqLanes::close(int linger_ms) {
  for (auto& monitor : monitors_) monitor.close();
  for (auto& socket : sockets_) socket.close(linger_ms);
  go_down("closed");
}

// What has arrived is still to be had after the end. Asked only then: asking takes in what a
// socket's descriptor has announced, and a wait() after it would not see the announcement.
ChannelState ZmqLanes::state() const {
  if (state_ != ChannelState::kDown || !is_open()) return state_;
  return sockets_[0].readable() || sockets_[1].readable() ? ChannelState::kUp : state_;
}

void ZmqLanes::go_down(const std::string& reason) {
  if (state_ == ChannelState::kDown) return;
  state_ = ChannelState::kDown;
  reason_ = reason;
}

std::optional<Frame> ZmqLanes::first_part(Lane lane, bool& more) {
  const size_t i = static_cast<size_t>(lane);
  if (!maybe_[i] && ++skipped_[i] < kLookEvery) return std::nullopt;
  skipped_[i] = 0;
  auto frame = sockets_[i].receive(more);
  maybe_[i] = frame.has_value();
  return frame;
}

int ZmqLanes::send_part(Lane lane, Frame frame, bool more) {
  maybe_[static_cast<size_t>(lane)] = true;
  return sockets_[static_cast<size_t>(lane)].send(std::move(frame), more);
}

// Takes in monitor events; true when the state changed.
bool ZmqLanes::watch() {
  const ChannelState before = state_;
  for (Lane lane : {Lane::kCommand, Lane::kBulk}) {
    const size_t i = static_cast<size_t>(lane);
    while (maybe_[2 + i] && state_ != ChannelState::kDown) {
      const auto event = monitors_[i].next();
      maybe_[2 + i] = event.has_value();
      if (event) on_event(lane, *event);
    }
  }
  return state_ != before;
}

// Polls once; true when there is something to see to.
bool ZmqLanes::look(int timeout_ms) {
  std::array<pollfd, 5> polled{};
  for (size_t i = 0; i < polled.size(); ++i) polled[i] = {descriptors_[i], POLLIN, 0};
  if (poll(polled.data(), polled.size(), timeout_ms) <= 0) return false;
  for (size_t i = 0; i < maybe_.size(); ++i) maybe_[i] = maybe_[i] || polled[i].revents != 0;
  if (polled[4].revents != 0) {
    uint64_t count = 0;
    static_cast<void>(!read(event_, &count, sizeof count));
  }
  return true;
}

void ZmqLanes::wait(int timeout_ms) {
  if (state_ == ChannelState::kDown || watch()) return;
  const int limit = check_time();
  if (state_ == ChannelState::kDown) return;
  if (limit >= 0 && (timeout_ms < 0 || limit < timeout_ms)) timeout_ms = limit;
  if (maybe_[0] || maybe_[1]) timeout_ms = 0;  // the owner has not emptied them
  const auto news = [this] { return woken_.exchange(false, std::memory_order_seq_cst) || look(0); };
  if (timeout_ms == 0) {
    news();
  } else if (!spinner_.until(news)) {
    park(timeout_ms);
  }
  watch();
}

void ZmqLanes::park(int timeout_ms) {
  parked_.store(true, std::memory_order_seq_cst);
  if (!woken_.load(std::memory_order_seq_cst)) look(timeout_ms);
  parked_.store(false, std::memory_order_relaxed);
  woken_.store(false, std::memory_order_relaxed);
}

void ZmqLanes::wake() {
  woken_.store(true, std::memory_order_seq_cst);
  if (!parked_.load(std::memory_order_seq_cst)) return;
  const uint64_t one = 1;
  static_cast<void>(!write(event_, &one, sizeof one));
}

}  // namespace vgpu::transport

#include "transport/zmq_lanes.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace vgpu::transport {

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

ChannelState ZmqLanes::state() const {
  const bool more = is_open() && (sockets_[0].readable() || sockets_[1].readable());
  return state_ == ChannelState::kDown && more ? ChannelState::kUp : state_;
}

void ZmqLanes::go_down(const std::string& reason) {
  if (state_ == ChannelState::kDown) return;
  state_ = ChannelState::kDown;
  reason_ = reason;
}

// Takes in monitor events; true when the state changed.
bool ZmqLanes::watch() {
  const ChannelState before = state_;
  for (Lane lane : {Lane::kCommand, Lane::kBulk}) {
    while (state_ != ChannelState::kDown) {
      const auto event = monitors_[static_cast<size_t>(lane)].next();
      if (!event) break;
      on_event(lane, *event);
    }
  }
  return state_ != before;
}

// libzmq's descriptors are edge triggered: sending may have taken in what they announced.
bool ZmqLanes::news() {
  return woken_.exchange(false, std::memory_order_seq_cst) || sockets_[0].readable() ||
         sockets_[1].readable();
}

void ZmqLanes::wait(int timeout_ms) {
  if (state_ == ChannelState::kDown || watch()) return;
  const int limit = check_time();
  if (state_ == ChannelState::kDown) return;
  if (limit >= 0 && (timeout_ms < 0 || limit < timeout_ms)) timeout_ms = limit;
  if (news() || timeout_ms == 0) return;
  parked_.store(true, std::memory_order_seq_cst);
  if (!woken_.load(std::memory_order_seq_cst)) park(timeout_ms);
  parked_.store(false, std::memory_order_relaxed);
  woken_.store(false, std::memory_order_relaxed);
  watch();
}

void ZmqLanes::park(int timeout_ms) {
  std::array<pollfd, 5> polled{};
  for (size_t i = 0; i < polled.size(); ++i) polled[i] = {descriptors_[i], POLLIN, 0};
  const auto look = [&polled](int timeout) {
    return poll(polled.data(), polled.size(), timeout) != 0;
  };
  if (!spinner_.until([&look] { return look(0); })) look(timeout_ms);
  if ((polled[4].revents & POLLIN) != 0) {
    uint64_t count = 0;
    static_cast<void>(!read(event_, &count, sizeof count));
  }
}

void ZmqLanes::wake() {
  woken_.store(true, std::memory_order_seq_cst);
  if (!parked_.load(std::memory_order_seq_cst)) return;
  const uint64_t one = 1;
  static_cast<void>(!write(event_, &one, sizeof one));
}

}  // namespace vgpu::transport

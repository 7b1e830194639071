// What connecting and listening channels share: two sockets, their monitors, and waiting for all of
// them and for wake().
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "transport/channel.h"
#include "transport/spin.h"
#include "transport/zmq_socket.h"

namespace vgpu::transport {

class ZmqLanes : public Channel {
 public:
  ~ZmqLanes() override;
  void wait(int timeout_ms) override;
  void wake() override;
  // What the peer sent before it went away is delivered first.
  [[nodiscard]] ChannelState state() const override;
  [[nodiscard]] std::string reason() const override { return reason_; }
  void close(int linger_ms) override;

 protected:
  ZmqLanes(std::array<ZmqSocket, 2> sockets, std::array<ZmqMonitor, 2> monitors);
  // One event of a lane's monitor.
  virtual void on_event(Lane lane, const ZmqMonitor::Event& event) = 0;
  // Called at every wait; the longest that the wait may take (-1: no limit).
  virtual int check_time() { return -1; }

  // The first part of the next message, if there is one.
  std::optional<Frame> first_part(Lane lane, bool& more);
  // A further part of the message whose first part was just taken.
  std::optional<Frame> next_part(Lane lane, bool& more, int* source) {
    return sockets_[static_cast<size_t>(lane)].receive(more, source);
  }
  // 0 or an errno.
  int send_part(Lane lane, Frame frame, bool more = false);
  [[nodiscard]] bool is_open() const { return sockets_[0].is_open(); }
  void go_up() {
    if (state_ == ChannelState::kConnecting) state_ = ChannelState::kUp;
  }
  void go_down(const std::string& reason);

 private:
  bool watch();
  bool look(int timeout_ms);
  void park(int timeout_ms);

  std::array<ZmqSocket, 2> sockets_;
  std::array<ZmqMonitor, 2> monitors_;
  std::array<int, 5> descriptors_{};  // sockets, monitors, event
  int event_;
  Spinner spinner_;
  // A look at an empty libzmq socket costs two system calls. Its descriptor tells when to look, but
  // for what our own sending has taken in on the side: so look after that, and now and then anyway.
  std::array<bool, 4> maybe_{true, true, true, true};  // sockets, monitors
  std::array<int, 2> skipped_{};
  ChannelState state_ = ChannelState::kConnecting;
  std::string reason_;
  // SYNC: zmq wake. wake() sets woken_ and then reads parked_; the owner sets parked_ and then
  // reads woken_: one of them sees the other.
  std::atomic<bool> woken_{false};
  std::atomic<bool> parked_{false};
};

}  // namespace vgpu::transport

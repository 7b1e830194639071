// The connecting side: one DEALER socket per lane.
#include <chrono>
#include <utility>

#include "transport/frame.h"
#include "transport/zmq_lanes.h"
#include "transport/zmq_probe.h"

namespace vgpu::transport {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kPeer = "a vgpu executor";
// A silent peer is explained after this, so that the reason is there within 5 s.
constexpr std::chrono::milliseconds kHandshakeLimit{3000};
constexpr int kExplainMs = 1000;
// An executor that was just bound may not accept yet: one refusal is not the last word.
constexpr int kRefusals = 3;
constexpr int kConnectingTick = 50;
constexpr std::chrono::milliseconds kOtherLane{200};

class ZmqChannel final : public ZmqLanes {
 public:
  ZmqChannel(std::array<ZmqSocket, 2> sockets, std::array<ZmqMonitor, 2> monitors,
             ZmqEndpoints endpoints)
      : ZmqLanes(std::move(sockets), std::move(monitors)), endpoints_(std::move(endpoints)) {}

  void send(Lane lane, Frame frame) override {
    if (is_open()) send_part(lane, std::move(frame));
  }
  std::optional<Frame> receive(Lane lane) override {
    if (!is_open()) return std::nullopt;
    bool more = false;
    return first_part(lane, more);
  }

 protected:
  void on_event(Lane lane, const ZmqMonitor::Event& event) override {
    switch (event.kind) {
      case zmq::kEventHandshakeSucceeded:
        shaken_[static_cast<size_t>(lane)] = true;
        if (shaken_[0] && shaken_[1]) go_up();
        break;
      case zmq::kEventConnectRetried:
        if (!shaken_[static_cast<size_t>(lane)] && ++refusals_ >= kRefusals) explain(lane);
        break;
      case zmq::kEventHandshakeFailedAuth:
        go_down(explain_curve(url(lane), kPeer));
        break;
      case zmq::kEventHandshakeFailed:
      case zmq::kEventHandshakeFailedProtocol:
        explain(lane);
        break;
      case zmq::kEventDisconnected:
        if (shaken_[static_cast<size_t>(lane)]) disconnected(lane);
        break;
      default:
        break;
    }
  }

  int check_time() override {
    if (closed_[0] || closed_[1]) {
      if (Clock::now() >= deadline_) hung_up();
      return kConnectingTick;
    }
    if (shaken_[0] && shaken_[1]) return -1;
    if (Clock::now() < deadline_) return kConnectingTick;
    explain(shaken_[0] ? Lane::kBulk : Lane::kCommand);
    return 0;
  }

 private:
  const std::string& url(Lane lane) const {
    return lane == Lane::kCommand ? endpoints_.command : endpoints_.bulk;
  }
  // What the peer said last may still be on its way on the other lane.
  void disconnected(Lane lane) {
    closed_[static_cast<size_t>(lane)] = true;
    deadline_ = Clock::now() + kOtherLane;
    if (closed_[0] && closed_[1]) hung_up();
  }
  void hung_up() {
    go_down("the connection to " + endpoints_.command +
            " was closed by the other side: the executor has ended; see the worker's log");
  }
  void explain(Lane lane) {
    go_down(explain_failure(url(lane), kPeer, endpoints_.curve.has_value(), kExplainMs));
  }

  ZmqEndpoints endpoints_;
  bool shaken_[2] = {false, false};
  bool closed_[2] = {false, false};
  int refusals_ = 0;
  Clock::time_point deadline_ = Clock::now() + kHandshakeLimit;
};

}  // namespace

std::unique_ptr<Channel> connect_zmq(const ZmqEndpoints& endpoints, std::string& error) {
  auto context = ZmqContext::make(2, error);
  if (!context) return nullptr;
  std::array<ZmqSocket, 2> sockets;
  std::array<ZmqMonitor, 2> monitors;
  for (size_t i = 0; i < 2; ++i) {
    const std::string& text = i == 0 ? endpoints.command : endpoints.bulk;
    Url url;
    if (!parse_url(text, url, error)) return nullptr;
    sockets[i] = ZmqSocket(context, zmq::kDealer);
    if (!sockets[i].is_open()) {
      error = "libzmq cannot make a socket: too many open files? (ulimit -n)";
      return nullptr;
    }
    sockets[i].set_defaults(url, static_cast<int64_t>(kMaxReplies + kMaxChunk));
    sockets[i].set(zmq::kAffinity, int64_t{1} << i);  // launches never queue behind a copy
    if (endpoints.curve) sockets[i].set_curve(*endpoints.curve, false);
    monitors[i] = ZmqMonitor(context, sockets[i], i == 0 ? "command" : "bulk");
    if (!sockets[i].connect(text, error)) return nullptr;
  }
  return std::make_unique<ZmqChannel>(std::move(sockets), std::move(monitors), endpoints);
}

CurveKeys make_curve_keys() {
  std::string error;
  const ZmqApi* api = ZmqApi::get(error);
  if (api == nullptr) return {};
  char public_key[zmq::kKeyText + 1] = {};
  char secret_key[zmq::kKeyText + 1] = {};
  if (api->curve_keypair(public_key, secret_key) != 0) return {};
  return {public_key, secret_key, {}};
}

}  // namespace vgpu::transport

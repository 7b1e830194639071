// The listening side: one ROUTER socket per lane, of which one peer each is served.
#include <chrono>
#include <utility>

#include "transport/frame.h"
#include "transport/zap.h"
#include "transport/zmq_lanes.h"

namespace vgpu::transport {
namespace {

using Clock = std::chrono::steady_clock;

// Credits bound what our own client sends; this bounds what any other does. TCP holds back the
// rest.
constexpr int kFramesUnread = 256;
constexpr std::chrono::milliseconds kOtherLane{200};
constexpr int kTick = 20;

class ZmqServerChannel final : public ZmqLanes {
 public:
  ZmqServerChannel(std::array<ZmqSocket, 2> sockets, std::array<ZmqMonitor, 2> monitors,
                   std::unique_ptr<ZapHandler> zap)
      : ZmqLanes(std::move(sockets), std::move(monitors)), zap_(std::move(zap)) {}

  void send(Lane lane, Frame frame) override {
    Peer& to = peer(lane);
    if (!is_open() || to.id.empty()) return;
    // Not the end yet: a peer that was refused and is gone is dropped by the link in a moment.
    const bool sent =
        send_part(lane, Frame::own(to.id), true) == 0 && send_part(lane, std::move(frame)) == 0;
    if (!sent) close_lane(lane);
  }

  // Skips frames of strangers, and anything that is not exactly one part behind its sender's id.
  std::optional<Frame> receive(Lane lane) override {
    while (is_open()) {
      bool more = false;
      auto id = first_part(lane, more);
      if (!id) return std::nullopt;
      int source = -1;
      std::optional<Frame> body;
      int parts = 0;
      while (more) {
        auto part = next_part(lane, more, &source);
        if (!part) break;
        if (++parts == 1) body = std::move(part);
      }
      if (parts == 1 && admit(lane, *id, source)) return body;
    }
    return std::nullopt;
  }

  void drop_peer(Lane lane) override {
    peer(lane) = {};
    closed_[static_cast<size_t>(lane)] = false;
  }

  void close(int linger_ms) override {
    ZmqLanes::close(linger_ms);
    zap_.reset();
  }

 protected:
  void on_event(Lane lane, const ZmqMonitor::Event& event) override {
    if (event.kind != zmq::kEventDisconnected || peer(lane).id.empty() ||
        event.value != peer(lane).connection) {
      return;
    }
    close_lane(lane);
  }

  int check_time() override {
    if (!closed_[0] && !closed_[1]) return -1;
    if ((closed_[0] && closed_[1]) || Clock::now() >= lost_at_) lost();
    return kTick;
  }

 private:
  struct Peer {
    std::vector<std::byte> id;
    int connection = -1;  // its descriptor inside libzmq, as the monitor reports it
  };
  Peer& peer(Lane lane) { return peers_[static_cast<size_t>(lane)]; }
  // A goodbye may still be on its way on the other lane.
  void close_lane(Lane lane) {
    if (closed_[static_cast<size_t>(lane)]) return;
    closed_[static_cast<size_t>(lane)] = true;
    lost_at_ = Clock::now() + kOtherLane;
  }
  void lost() { go_down("the client's connection was closed without a goodbye"); }

  bool admit(Lane lane, const Frame& id, int source) {
    Peer& known = peer(lane);
    const std::vector<std::byte> from(id.data, id.data + id.size);
    if (!known.id.empty()) return known.id == from;
    known = {from, source};
    if (!peers_[0].id.empty() && !peers_[1].id.empty()) go_up();
    return true;
  }

  std::unique_ptr<ZapHandler> zap_;
  Peer peers_[2];
  bool closed_[2] = {false, false};
  Clock::time_point lost_at_{};
};

class ZmqListenerImpl final : public ZmqListener {
 public:
  bool open(const ZmqEndpoints& wanted, const std::string& client_public, std::string& error) {
    auto context = ZmqContext::make(2, error);
    if (!context) return false;
    endpoints_ = wanted;
    if (wanted.curve) {
      zap_ = ZapHandler::start(context, client_public, error);
      if (!zap_) return false;
    }
    return bind(context, Lane::kCommand, endpoints_.command, error) &&
           bind(context, Lane::kBulk, endpoints_.bulk, error);
  }

  ZmqEndpoints endpoints() const override { return endpoints_; }

  std::unique_ptr<Channel> channel() override {
    if (!sockets_[0].is_open()) return nullptr;
    return std::make_unique<ZmqServerChannel>(std::move(sockets_), std::move(monitors_),
                                              std::move(zap_));
  }

 private:
  bool bind(const std::shared_ptr<ZmqContext>& context, Lane lane, std::string& url,
            std::string& error) {
    Url parsed;
    if (!parse_url(url, parsed, error)) return false;
    const size_t i = static_cast<size_t>(lane);
    ZmqSocket& socket = sockets_[i];
    socket = ZmqSocket(context, zmq::kRouter);
    if (!socket.is_open()) {
      error = "libzmq cannot make a socket: too many open files? (ulimit -n)";
      return false;
    }
    // What is bounded here is what a stranger can make us hold.
    socket.set_defaults(parsed, static_cast<int64_t>(kMaxChunk + kChunkPrefix));
    socket.set(zmq::kRcvHwm, kFramesUnread);
    socket.set(zmq::kRouterMandatory, 1);
    socket.set(zmq::kAffinity, int64_t{1} << i);
    if (endpoints_.curve) {
      socket.set_curve(*endpoints_.curve, true);
      socket.set(zmq::kZapDomain, "vgpu");
    }
    monitors_[i] = ZmqMonitor(context, socket, lane == Lane::kCommand ? "command" : "bulk");
    if (!socket.bind(parsed.text(), error)) return false;
    if (parsed.scheme != Url::Scheme::kTcp) return true;
    Url bound;
    if (!parse_url(socket.last_endpoint(), bound, error)) return false;
    parsed.port = bound.port;
    url = parsed.text();
    return true;
  }

  ZmqEndpoints endpoints_;
  std::unique_ptr<ZapHandler> zap_;
  std::array<ZmqSocket, 2> sockets_;
  std::array<ZmqMonitor, 2> monitors_;
};

}  // namespace

std::unique_ptr<ZmqListener> ZmqListener::bind(const ZmqEndpoints& endpoints,
                                               const std::string& client_public,
                                               std::string& error) {
  auto listener = std::make_unique<ZmqListenerImpl>();
  if (!listener->open(endpoints, client_public, error)) return nullptr;
  return listener;
}

}  // namespace vgpu::transport

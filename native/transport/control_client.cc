// Requests to the worker's control port.
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <utility>

#include "transport/endpoints.h"
#include "transport/zmq_probe.h"
#include "transport/zmq_socket.h"
#include "wire/msgpack.h"

namespace vgpu::transport {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kPeer = "a vgpu worker";
constexpr int kExplainMs = 1000;
// A worker that is just starting may refuse at first.
constexpr int kRefusals = 5;
constexpr std::chrono::milliseconds kHandshakeLimit{3500};
constexpr int kTick = 50;

class ControlClientImpl final : public ControlClient {
 public:
  ControlClientImpl(std::string url, std::optional<CurveKeys> curve)
      : url_(std::move(url)), curve_(std::move(curve)) {}

  bool open(std::string& error) {
    Url parsed;
    if (!parse_url(url_, parsed, error)) return false;
    if (parsed.scheme == Url::Scheme::kInproc) {
      error = "a worker's address is tcp:// or ipc://, not " + url_;
      return false;
    }
    auto context = ZmqContext::make(1, error);
    if (!context) return false;
    monitor_ = {};
    socket_ = ZmqSocket(context, zmq::kDealer);
    socket_.set_defaults(parsed, static_cast<int64_t>(wire::kMaxMessage));
    if (curve_) socket_.set_curve(*curve_, false);
    monitor_ = ZmqMonitor(context, socket_, "control");
    shaken_ = false;
    refusals_ = 0;
    broken_ = false;
    handshake_by_ = Clock::now() + kHandshakeLimit;
    return socket_.connect(url_, error);
  }

  bool request(const std::string& message, std::string& answer, int timeout_ms,
               std::string& error) override {
    if (guard_.in_child()) {
      error = "this process was forked from one that talks to " + url_;
      return false;
    }
    std::lock_guard lock(mutex_);
    // A new connection after any failure: no late answer can be taken for that of a later request.
    if (broken_ && !open(error)) return false;
    broken_ = true;
    std::vector<std::byte> bytes(message.size());
    if (!message.empty()) std::memcpy(bytes.data(), message.data(), message.size());
    socket_.send(Frame::own(std::move(bytes)));
    const bool answered = wait(answer, timeout_ms, error);
    broken_ = !answered;
    return answered;
  }

 private:
  bool wait(std::string& answer, int timeout_ms, std::string& error) {
    const auto end = Clock::now() + std::chrono::milliseconds(timeout_ms);
    while (true) {
      if (receive(answer)) return true;
      error = watch();
      if (!error.empty()) {
        // What it said before it closed the connection counts.
        const bool answered = receive(answer);
        if (answered) error.clear();
        return answered;
      }
      const auto now = Clock::now();
      if (!shaken_ && now >= std::min(end, handshake_by_)) {
        error = explain();
        return false;
      }
      if (now >= end) {
        error = url_ + " did not answer within " + std::to_string(timeout_ms) +
                " ms although it speaks ZeroMQ: is it " + kPeer + "? see its log";
        return false;
      }
      park();
    }
  }

  bool receive(std::string& answer) {
    bool more = false;
    while (auto part = socket_.receive(more)) {
      if (part->size == 0) continue;  // the delimiter that some ROUTER peers send
      answer.assign(reinterpret_cast<const char*>(part->data), part->size);
      while (more && socket_.receive(more)) {
      }
      return true;
    }
    return false;
  }

  // A reason to give up, or nothing.
  std::string watch() {
    while (auto event = monitor_.next()) {
      switch (event->kind) {
        case zmq::kEventHandshakeSucceeded:
          shaken_ = true;
          break;
        case zmq::kEventConnectRetried:
          if (!shaken_ && ++refusals_ >= kRefusals) return explain();
          break;
        case zmq::kEventHandshakeFailedAuth:
          return explain_curve(url_, kPeer);
        case zmq::kEventHandshakeFailed:
        case zmq::kEventHandshakeFailedProtocol:
          return explain();
        case zmq::kEventDisconnected:
          if (shaken_) {
            return "the worker at " + url_ +
                   " closed the connection before it answered: it has ended; see its log";
          }
          break;
        default:
          break;
      }
    }
    return {};
  }

  void park() {
    pollfd polled[2] = {{socket_.fd(), POLLIN, 0}, {monitor_.fd(), POLLIN, 0}};
    if (!socket_.readable()) poll(polled, 2, kTick);
  }

  std::string explain() const {
    return explain_failure(url_, kPeer, curve_.has_value(), kExplainMs);
  }

  const std::string url_;
  const std::optional<CurveKeys> curve_;
  ForkGuard guard_;
  std::mutex mutex_;  // guards all below
  ZmqSocket socket_;
  ZmqMonitor monitor_;
  bool shaken_ = false;
  bool broken_ = false;
  int refusals_ = 0;
  Clock::time_point handshake_by_;
};

}  // namespace

std::unique_ptr<ControlClient> ControlClient::connect(const std::string& url,
                                                      const std::optional<CurveKeys>& curve,
                                                      std::string& error) {
  auto client = std::make_unique<ControlClientImpl>(url, curve);
  if (!client->open(error)) return nullptr;
  return client;
}

}  // namespace vgpu::transport

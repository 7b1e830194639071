#include "transport/zap.h"

#include <poll.h>
#include <signal.h>

#include <cstring>
#include <vector>

namespace vgpu::transport {
namespace {

constexpr size_t kKeyBytes = 32;
// version, request id, domain, address, identity, mechanism, credentials
constexpr size_t kRequestParts = 7;

std::string text_of(const Frame& frame) {
  return {reinterpret_cast<const char*>(frame.data), frame.size};
}
Frame frame_of(const std::string& text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return Frame::own(std::move(bytes));
}

}  // namespace

std::unique_ptr<ZapHandler> ZapHandler::start(const std::shared_ptr<ZmqContext>& context,
                                              const std::string& client_public,
                                              std::string& error) {
  std::string key(kKeyBytes, '\0');
  if (client_public.size() != zmq::kKeyText ||
      context->api().z85_decode(reinterpret_cast<uint8_t*>(key.data()), client_public.c_str()) ==
          nullptr) {
    error = "the client's public key is not 40 characters of Z85 text: make one with `vgpu keys`";
    return nullptr;
  }
  ZmqSocket socket(context, zmq::kRep);
  ZmqSocket stop(context, zmq::kPair);
  ZmqSocket stopped(context, zmq::kPair);
  if (!socket.bind("inproc://zeromq.zap.01", error) || !stop.bind("inproc://zap-stop", error) ||
      !stopped.connect("inproc://zap-stop", error)) {
    return nullptr;
  }
  return std::unique_ptr<ZapHandler>(
      new ZapHandler(std::move(socket), std::move(stop), std::move(stopped), std::move(key)));
}

ZapHandler::ZapHandler(ZmqSocket socket, ZmqSocket stop, ZmqSocket stopped, std::string key)
    : socket_(std::move(socket)),
      stop_(std::move(stop)),
      stopped_(std::move(stopped)),
      key_(std::move(key)) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ZapHandler::~ZapHandler() {
  stop_.send(frame_of("stop"));
  thread_.join();
}

void ZapHandler::run() {
  pollfd polled[2] = {{socket_.fd(), POLLIN, 0}, {stopped_.fd(), POLLIN, 0}};
  while (true) {
    while (answer()) {
    }
    if (stopped_.readable()) return;
    if (!socket_.readable()) poll(polled, 2, -1);
  }
}

// One request; false when there is none.
bool ZapHandler::answer() {
  std::vector<std::string> request;
  bool more = true;
  while (more) {
    auto part = socket_.receive(more);
    if (!part) return false;
    request.push_back(text_of(*part));
  }
  const bool allowed =
      request.size() == kRequestParts && request[5] == "CURVE" && request[6] == key_;
  const std::string id = request.size() > 1 ? request[1] : "";
  const std::string parts[] = {"1.0", id, allowed ? "200" : "400", allowed ? "OK" : "unknown key",
                               "",    ""};
  for (size_t i = 0; i < std::size(parts); ++i) {
    if (socket_.send(frame_of(parts[i]), i + 1 < std::size(parts)) != 0) return false;
  }
  return true;
}

}  // namespace vgpu::transport

#include "transport/zmq_socket.h"

#include <netdb.h>

#include <cerrno>
#include <cstring>
#include <utility>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace vgpu::transport {
namespace {

// Below this a copy is cheaper than libzmq's bookkeeping of memory that is not its own.
constexpr size_t kCopyBelow = 1024;

// A received message; the frame that points into it keeps it.
struct Received {
  const ZmqApi* api;
  ZmqMessage message;
  explicit Received(const ZmqApi* from) : api(from) { api->msg_init(&message); }
  ~Received() { api->msg_close(&message); }
  Received(const Received&) = delete;
};

// libzmq orders what happens before a message is sent and its release in another thread, which
// ThreadSanitizer cannot see in a library without instrumentation.
#if defined(__SANITIZE_THREAD__)
void order_before_release(void* owner) { __tsan_release(owner); }
void order_after_send(void* owner) { __tsan_acquire(owner); }
#else
void order_before_release(void*) {}
void order_after_send(void*) {}
#endif

void release_owner(void*, void* owner) {
  order_after_send(owner);
  delete static_cast<std::shared_ptr<const void>*>(owner);
}

// libzmq takes the first address that a name resolves to: ask for IPv6 only where there is no IPv4.
bool needs_ipv6(const Url& url) {
  if (url.scheme != Url::Scheme::kTcp) return false;
  if (url.is_ipv6() || url.host == "*") return true;
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(url.host.c_str(), nullptr, &hints, &found) != 0) return true;
  freeaddrinfo(found);
  return false;
}

}  // namespace

std::shared_ptr<ZmqContext> ZmqContext::make(int io_threads, std::string& error) {
  const ZmqApi* api = ZmqApi::get(error);
  if (api == nullptr) return nullptr;
  void* handle = api->ctx_new();
  if (handle == nullptr) {
    error = std::string("libzmq: ") + api->strerror(api->last_errno());
    return nullptr;
  }
  api->ctx_set(handle, zmq::kIoThreads, io_threads);
  return std::shared_ptr<ZmqContext>(new ZmqContext(api, handle));
}

ZmqContext::~ZmqContext() {
  if (in_child()) return;
  while (api_->ctx_term(handle_) != 0 && api_->last_errno() == EINTR) {
  }
}

ZmqSocket::ZmqSocket(std::shared_ptr<ZmqContext> context, zmq::SocketType type)
    : context_(std::move(context)), handle_(context_->api().socket(context_->handle(), type)) {}

ZmqSocket::ZmqSocket(ZmqSocket&& other) noexcept
    : context_(std::move(other.context_)), handle_(std::exchange(other.handle_, nullptr)) {}

ZmqSocket& ZmqSocket::operator=(ZmqSocket&& other) noexcept {
  close(0);
  context_ = std::move(other.context_);
  handle_ = std::exchange(other.handle_, nullptr);
  return *this;
}

void ZmqSocket::set(zmq::Option option, int value) {
  context_->api().setsockopt(handle_, option, &value, sizeof value);
}
void ZmqSocket::set(zmq::Option option, int64_t value) {
  context_->api().setsockopt(handle_, option, &value, sizeof value);
}
void ZmqSocket::set(zmq::Option option, const std::string& text) {
  context_->api().setsockopt(handle_, option, text.data(), text.size());
}

void ZmqSocket::set_curve(const CurveKeys& keys, bool server) {
  if (server) set(zmq::kCurveServer, 1);
  // libzmq takes keys in Z85 with their closing zero.
  auto key = [this](zmq::Option option, const std::string& text) {
    context_->api().setsockopt(handle_, option, text.c_str(), text.size() + 1);
  };
  key(zmq::kCurvePublicKey, keys.public_key);
  key(zmq::kCurveSecretKey, keys.secret_key);
  if (!server) key(zmq::kCurveServerKey, keys.server_public);
}

void ZmqSocket::set_defaults(const Url& url, int64_t max_message) {
  set(zmq::kSndHwm, 0);
  set(zmq::kRcvHwm, 0);
  set(zmq::kLinger, 0);
  set(zmq::kHandshakeIvl, 2000);
  set(zmq::kMaxMsgSize, max_message);
  if (needs_ipv6(url)) set(zmq::kIpv6, 1);
}

bool ZmqSocket::bind(const std::string& url, std::string& error) {
  if (context_->api().bind(handle_, url.c_str()) == 0) return true;
  const int code = context_->api().last_errno();
  error = "cannot bind " + url + ": " + context_->api().strerror(code) +
          (code == EADDRINUSE ? "; another process listens there, choose another port"
                              : "; choose an address of this host");
  return false;
}

bool ZmqSocket::connect(const std::string& url, std::string& error) {
  if (context_->api().connect(handle_, url.c_str()) == 0) return true;
  error =
      "cannot connect to " + url + ": " + context_->api().strerror(context_->api().last_errno());
  return false;
}

std::string ZmqSocket::last_endpoint() const {
  char text[512] = {};
  size_t size = sizeof text - 1;
  context_->api().getsockopt(handle_, zmq::kLastEndpoint, text, &size);
  return text;
}

int ZmqSocket::fd() const {
  int fd = -1;
  size_t size = sizeof fd;
  context_->api().getsockopt(handle_, zmq::kFd, &fd, &size);
  return fd;
}

bool ZmqSocket::readable() const {
  int events = 0;
  size_t size = sizeof events;
  context_->api().getsockopt(handle_, zmq::kEvents, &events, &size);
  return (events & zmq::kPollIn) != 0;
}

std::optional<Frame> ZmqSocket::receive(bool& more, int* source) {
  const ZmqApi& api = context_->api();
  ZmqMessage message;  // an empty poll must not cost an allocation
  api.msg_init(&message);
  if (api.msg_recv(&message, handle_, zmq::kDontWait) < 0) {
    api.msg_close(&message);
    return std::nullopt;
  }
  more = api.msg_get(&message, zmq::kMore) != 0;
  if (source != nullptr) *source = api.msg_get(&message, zmq::kSourceFd);
  auto received = std::make_shared<Received>(&api);
  // The message has no pointers into itself: libzmq's own zmq_msg_move does the same.
  std::swap(received->message, message);
  api.msg_close(&message);
  const auto* data = static_cast<const std::byte*>(api.msg_data(&received->message));
  const size_t size = api.msg_size(&received->message);
  return Frame{std::move(received), data, size};
}

int ZmqSocket::send(Frame frame, bool more) {
  const ZmqApi& api = context_->api();
  ZmqMessage message;
  if (frame.size < kCopyBelow) {
    api.msg_init_size(&message, frame.size);
    if (frame.size != 0) std::memcpy(api.msg_data(&message), frame.data, frame.size);
  } else {
    auto* owner = new std::shared_ptr<const void>(std::move(frame.owner));
    order_before_release(owner);
    api.msg_init_data(&message, const_cast<std::byte*>(frame.data), frame.size, release_owner,
                      owner);
  }
  while (api.msg_send(&message, handle_, zmq::kDontWait | (more ? zmq::kSendMore : 0)) < 0) {
    const int code = api.last_errno();
    if (code == EINTR) continue;
    api.msg_close(&message);
    return code;
  }
  return 0;
}

void ZmqSocket::close(int linger_ms) {
  if (handle_ == nullptr) return;
  void* handle = std::exchange(handle_, nullptr);
  if (context_->in_child()) {
    new std::shared_ptr<ZmqContext>(std::move(context_));  // never ends the parent's context
    return;
  }
  context_->api().setsockopt(handle, zmq::kLinger, &linger_ms, sizeof linger_ms);
  context_->api().close(handle);
  context_.reset();
}

ZmqMonitor::ZmqMonitor(std::shared_ptr<ZmqContext> context, ZmqSocket& watched,
                       const std::string& name)
    : socket_(std::move(context), zmq::kPair) {
  const std::string address = "inproc://monitor-" + name;
  watched.monitor(address, zmq::kEventConnected | zmq::kEventConnectRetried |
                               zmq::kEventDisconnected | zmq::kEventHandshakeFailed |
                               zmq::kEventHandshakeSucceeded | zmq::kEventHandshakeFailedProtocol |
                               zmq::kEventHandshakeFailedAuth);
  std::string error;
  static_cast<void>(socket_.connect(address, error));
}

std::optional<ZmqMonitor::Event> ZmqMonitor::next() {
  bool more = false;
  auto frame = socket_.receive(more);
  if (!frame || frame->size < 6) return std::nullopt;
  uint16_t kind = 0;
  uint32_t value = 0;
  std::memcpy(&kind, frame->data, sizeof kind);
  std::memcpy(&value, frame->data + sizeof kind, sizeof value);
  while (more && socket_.receive(more)) {
  }
  return Event{kind, static_cast<int>(value)};
}

}  // namespace vgpu::transport

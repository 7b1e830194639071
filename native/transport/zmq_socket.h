// Owners of libzmq's context and sockets. In a forked child nothing of the parent's is touched: it
// is left to the kernel.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "transport/channel.h"
#include "transport/endpoints.h"
#include "transport/fork_guard.h"
#include "transport/url.h"
#include "transport/zmq_api.h"

namespace vgpu::transport {

class ZmqContext {
 public:
  // Null with `error` when libzmq cannot be loaded.
  static std::shared_ptr<ZmqContext> make(int io_threads, std::string& error);
  ~ZmqContext();
  ZmqContext(const ZmqContext&) = delete;

  [[nodiscard]] const ZmqApi& api() const { return *api_; }
  [[nodiscard]] void* handle() const { return handle_; }
  [[nodiscard]] bool in_child() const { return guard_.in_child(); }

 private:
  ZmqContext(const ZmqApi* api, void* handle) : api_(api), handle_(handle) {}
  const ZmqApi* api_;
  void* handle_;
  ForkGuard guard_;
};

class ZmqSocket {
 public:
  ZmqSocket() = default;
  ZmqSocket(std::shared_ptr<ZmqContext> context, zmq::SocketType type);
  ~ZmqSocket() { close(0); }
  ZmqSocket(ZmqSocket&& other) noexcept;
  ZmqSocket& operator=(ZmqSocket&& other) noexcept;

  void set(zmq::Option option, int value);
  void set(zmq::Option option, int64_t value);
  void set(zmq::Option option, const std::string& text);
  void set_curve(const CurveKeys& keys, bool server);
  // High-water marks off (credits bound memory), nothing lingers, IPv6 where `url` needs it.
  void set_defaults(const Url& url, int64_t max_message);

  [[nodiscard]] bool bind(const std::string& url, std::string& error);
  [[nodiscard]] bool connect(const std::string& url, std::string& error);
  [[nodiscard]] std::string last_endpoint() const;
  [[nodiscard]] int fd() const;
  // True when receive() would return something. Handles libzmq's pending commands.
  [[nodiscard]] bool readable() const;

  // One part of a message. `source` receives the descriptor of the connection that it came from.
  std::optional<Frame> receive(bool& more, int* source = nullptr);
  // 0 or an errno.
  int send(Frame frame, bool more = false);

  // Reports events at an inproc:// address of the same context.
  void monitor(const std::string& address, int events) {
    context_->api().socket_monitor(handle_, address.c_str(), events);
  }

  void close(int linger_ms);
  [[nodiscard]] bool is_open() const { return handle_ != nullptr; }
  [[nodiscard]] void* native() const { return handle_; }
  [[nodiscard]] const ZmqContext& context() const { return *context_; }

 private:
  std::shared_ptr<ZmqContext> context_;
  void* handle_ = nullptr;
};

// Events of one socket's connections.
class ZmqMonitor {
 public:
  struct Event {
    int kind = 0;  // zmq::Event
    int value = 0;
  };
  ZmqMonitor() = default;
  ZmqMonitor(std::shared_ptr<ZmqContext> context, ZmqSocket& watched, const std::string& name);

  [[nodiscard]] int fd() const { return socket_.fd(); }
  std::optional<Event> next();
  void close() { socket_.close(0); }

 private:
  ZmqSocket socket_;
};

}  // namespace vgpu::transport

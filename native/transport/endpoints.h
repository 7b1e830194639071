// How channels come to be: an in-process pair, and ZeroMQ sockets with optional CURVE.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "transport/channel.h"

namespace vgpu::transport {

// Z85 text of CURVE keys (40 characters). `server_public` is empty on the server's side.
struct CurveKeys {
  std::string public_key;
  std::string secret_key;
  std::string server_public;
};
// A fresh key pair.
CurveKeys make_curve_keys();

// Two ends in one process: first for the client, second for the executor.
std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> make_inproc_pair();

// Connects DEALER sockets to an executor: `command` and `bulk` are tcp:// or ipc:// URLs, names are
// resolved anew at every reconnect. A socket monitor turns a failed handshake, a wrong key or a
// peer that is not vgpu into a named reason within 5 s.
struct ZmqEndpoints {
  std::string command;
  std::string bulk;
  std::optional<CurveKeys> curve;
};
std::unique_ptr<Channel> connect_zmq(const ZmqEndpoints& endpoints, std::string& error);

// Binds ROUTER sockets. A port of 0, or `*`, takes a free port; endpoints() tells what was bound.
class ZmqListener {
 public:
  virtual ~ZmqListener() = default;
  // With `curve`, a ZAP handler accepts exactly `client_public` and nothing else: libzmq would
  // accept any key without one.
  static std::unique_ptr<ZmqListener> bind(const ZmqEndpoints& endpoints,
                                           const std::string& client_public, std::string& error);
  [[nodiscard]] virtual ZmqEndpoints endpoints() const = 0;
  // The channel serves the first peer that says hello on both lanes; frames of others are dropped.
  virtual std::unique_ptr<Channel> channel() = 0;
};

// Request and reply with the worker's control socket (protocol/README.md): one msgpack map each
// way. Blocking, with a deadline; used at attach and bind, and to ask why a session ended.
class ControlClient {
 public:
  virtual ~ControlClient() = default;
  static std::unique_ptr<ControlClient> connect(const std::string& url,
                                                const std::optional<CurveKeys>& curve,
                                                std::string& error);
  // False with `error` naming the address and the next step: unreachable, not a vgpu worker, wrong
  // key, no answer in time.
  virtual bool request(const std::string& message, std::string& answer, int timeout_ms,
                       std::string& error) = 0;
};

}  // namespace vgpu::transport

// ZeroMQ's authentication protocol: a thread that lets exactly one CURVE client key in. Without a
// handler libzmq accepts every key.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "transport/zmq_socket.h"

namespace vgpu::transport {

class ZapHandler {
 public:
  // Null with `error` when `client_public` is no Z85 key.
  static std::unique_ptr<ZapHandler> start(const std::shared_ptr<ZmqContext>& context,
                                           const std::string& client_public, std::string& error);
  ~ZapHandler();

 private:
  ZapHandler(ZmqSocket socket, ZmqSocket stop, ZmqSocket stopped, std::string key);
  void run();
  bool answer();

  ZmqSocket socket_;
  ZmqSocket stop_;     // owner's end: a message ends the thread
  ZmqSocket stopped_;  // thread's end
  std::string key_;    // 32 bytes
  std::thread thread_;
};

}  // namespace vgpu::transport

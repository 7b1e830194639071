// The conversation with the worker: length-prefixed msgpack maps over a socketpair, and the signals
// that end a process.
#pragma once

#include <mutex>
#include <string>

#include "wire/msgpack.h"

namespace vgpu::executor {

class Control {
 public:
  // Takes SIGTERM and SIGINT away from all threads that start later; wait() reports them.
  explicit Control(int fd);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  enum class Event : uint8_t { kMessage, kClosed, kSignal };
  // Blocks. For kClosed and kSignal, `reason` says what happened. One thread at a time.
  Event wait(wire::Value& message, std::string& reason);
  // Any thread. Messages to a worker that is gone are dropped.
  void send(const wire::Value& message);
  void send(const char* type, wire::Value message);

 private:
  bool read_some();
  bool take_message(wire::Value& message, std::string& reason, bool& broken);

  const int fd_;
  int signals_ = -1;
  std::string received_;
  std::mutex send_mutex_;  // keeps messages whole
};

}  // namespace vgpu::executor

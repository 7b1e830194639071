// What other threads ask of the main loop.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace vgpu::executor {

class Inbox {
 public:
  using Message = std::function<void()>;

  // Any thread. Messages posted after close() are dropped.
  void post(Message message) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;
      messages_.push_back(std::move(message));
      if (messages_.size() > 1) return;  // somebody woke the loop already
      if (wake_) wake_();
    }
  }
  // Main loop.
  bool run() {
    {
      const std::lock_guard lock(mutex_);
      if (messages_.empty()) return false;
      running_.swap(messages_);
    }
    for (auto& message : running_) message();
    running_.clear();
    return true;
  }
  void set_wake(std::function<void()> wake) {
    const std::lock_guard lock(mutex_);
    wake_ = std::move(wake);
  }
  void close() {
    std::vector<Message> dropped;
    const std::lock_guard lock(mutex_);
    closed_ = true;
    wake_ = nullptr;
    dropped.swap(messages_);
  }

 private:
  std::mutex mutex_;  // guards all but running_
  std::vector<Message> messages_;
  std::vector<Message> running_;  // main loop only
  std::function<void()> wake_;
  bool closed_ = false;
};

}  // namespace vgpu::executor

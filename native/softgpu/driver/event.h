// Events: each record makes a fresh completion, so a wait keeps the one it saw.
#pragma once

#include <cuda.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace vgpu::softgpu {

struct Context;
struct Capture;
struct Node;

class Completion {
 public:
  void complete();
  void wait();
  [[nodiscard]] bool done();
  [[nodiscard]] std::chrono::steady_clock::time_point time();

 private:
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool done_ = false;
  std::chrono::steady_clock::time_point time_{};
};

struct Event {
  Event(std::shared_ptr<Context> context, unsigned flags)
      : context(std::move(context)), flags(flags) {}

  uint64_t id = 0;
  const std::shared_ptr<Context> context;
  const unsigned flags;

  std::mutex mutex;                        // guards all below
  std::shared_ptr<Completion> completion;  // null: never recorded
  std::shared_ptr<Capture> capture;        // recorded in a capture: waits join it
  std::vector<std::shared_ptr<Node>> captured_tail;

  [[nodiscard]] bool timed() const { return (flags & CU_EVENT_DISABLE_TIMING) == 0; }
};

}  // namespace vgpu::softgpu

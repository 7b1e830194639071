// Threads for calls that block in the driver: waits, loads, frees. A job runs on a thread of its
// own (threads are kept and grow on demand), or in order with others on the helper.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace vgpu::executor {

class Waiters {
 public:
  using Job = std::function<void()>;

  Waiters();
  // Leaves threads that sit in the driver alone; their jobs must not use what dies before them.
  ~Waiters();
  Waiters(const Waiters&) = delete;
  Waiters& operator=(const Waiters&) = delete;

  // At once, beside all other jobs.
  void run(Job job);
  // After the jobs given to run_in_order() before.
  void run_in_order(Job job);
  // Waits until no job is left. False when `deadline_ms` passed before.
  bool drain(int deadline_ms);

 private:
  struct Shared;
  static void serve(std::shared_ptr<Shared> shared);
  static void serve_in_order(std::shared_ptr<Shared> shared);

  std::shared_ptr<Shared> shared_;
};

}  // namespace vgpu::executor

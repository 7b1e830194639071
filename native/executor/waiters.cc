#include "executor/waiters.h"

#include <pthread.h>
#include <signal.h>

#include <chrono>

namespace vgpu::executor {

// Outlives the pool object as long as a thread sits in the driver.
struct Waiters::Shared {
  std::mutex mutex;  // guards all below
  std::condition_variable wake;
  std::condition_variable wake_in_order;
  std::condition_variable idle;
  std::deque<Job> jobs;
  std::deque<Job> ordered;
  size_t free_threads = 0;  // threads that wait for a job
  size_t unfinished = 0;    // jobs queued or running
  bool ordered_started = false;
  bool stopping = false;
};

namespace {

// Signals belong to the application (embedded mode) or to the main thread.
void start(void (*body)(std::shared_ptr<void>), std::shared_ptr<void> shared) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread(body, std::move(shared)).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

Waiters::Waiters() : shared_(std::make_shared<Shared>()) {}

Waiters::~Waiters() {
  const std::lock_guard lock(shared_->mutex);
  shared_->stopping = true;
  shared_->wake.notify_all();
  shared_->wake_in_order.notify_all();
}

void Waiters::run(Job job) {
  bool grow = false;
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->jobs.push_back(std::move(job));
    ++shared_->unfinished;
    grow = shared_->free_threads < shared_->jobs.size();
    if (!grow) shared_->wake.notify_one();
  }
  if (grow) {
    start([](std::shared_ptr<void> shared) { serve(std::static_pointer_cast<Shared>(shared)); },
          shared_);
  }
}

void Waiters::run_in_order(Job job) {
  bool first = false;
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->ordered.push_back(std::move(job));
    ++shared_->unfinished;
    first = !shared_->ordered_started;
    shared_->ordered_started = true;
    shared_->wake_in_order.notify_one();
  }
  if (first) {
    start(
        [](std::shared_ptr<void> shared) {
          serve_in_order(std::static_pointer_cast<Shared>(shared));
        },
        shared_);
  }
}

bool Waiters::drain(int deadline_ms) {
  std::unique_lock lock(shared_->mutex);
  return shared_->idle.wait_for(lock, std::chrono::milliseconds(deadline_ms),
                                [this] { return shared_->unfinished == 0; });
}

void Waiters::serve(std::shared_ptr<Shared> shared) {
  std::unique_lock lock(shared->mutex);
  for (;;) {
    ++shared->free_threads;
    shared->wake.wait(lock, [&] { return shared->stopping || !shared->jobs.empty(); });
    --shared->free_threads;
    if (shared->jobs.empty()) return;
    Job job = std::move(shared->jobs.front());
    shared->jobs.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
    if (--shared->unfinished == 0) shared->idle.notify_all();
  }
}

void Waiters::serve_in_order(std::shared_ptr<Shared> shared) {
  std::unique_lock lock(shared->mutex);
  for (;;) {
    shared->wake_in_order.wait(lock, [&] { return shared->stopping || !shared->ordered.empty(); });
    if (shared->ordered.empty()) return;
    Job job = std::move(shared->ordered.front());
    shared->ordered.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
    if (--shared->unfinished == 0) shared->idle.notify_all();
  }
}

}  // namespace vgpu::executor

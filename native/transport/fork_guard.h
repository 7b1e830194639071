// A forked child has no transport thread and must not touch the parent's sockets.
#pragma once

#include <pthread.h>

#include <atomic>

namespace vgpu::transport {

namespace detail {
inline std::atomic<unsigned> forks{0};
}

// Remembers in which process it was made.
class ForkGuard {
 public:
  ForkGuard() {
    static const int registered = pthread_atfork(
        nullptr, nullptr, [] { detail::forks.fetch_add(1, std::memory_order_relaxed); });
    (void)registered;
    born_ = detail::forks.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool in_child() const {
    return detail::forks.load(std::memory_order_relaxed) != born_;
  }

 private:
  unsigned born_ = 0;
};

}  // namespace vgpu::transport

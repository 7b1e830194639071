// Spinning before parking: a waker that finds nobody parked saves a system call of its own and the
// sleeper a scheduler round trip (20-80 us across cores, against 0.3 us when both spin). But on a
// machine with more runnable threads than processors the spinner holds the processor that its peer
// needs: round trips were two to four times slower with a fixed 60 us. So it spins while that pays.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vgpu::transport {

inline void cpu_relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  asm volatile("" ::: "memory");
#endif
}

// One per kind of waiting; any number of threads may use it.
class Spinner {
 public:
  // Calls `ready` until it is true or spinning is not worth while; returns its last value.
  template <typename Ready>
  bool until(Ready ready) {
    if (ready()) return true;
    if (!worth_while()) return false;
    const auto end = std::chrono::steady_clock::now() + kBudget;
    bool done = false;
    do {
      for (int i = 0; i < 16 && !done; ++i) {
        cpu_relax();
        done = ready();
      }
    } while (!done && std::chrono::steady_clock::now() < end);
    learn(done);
    return done;
  }

 private:
  static constexpr std::chrono::microseconds kBudget{20};
  static constexpr int kMaxTrust = 8;
  static constexpr unsigned kProbeEvery = 64;

  // Never on one or two processors; after failures only now and then, to see whether times changed.
  bool worth_while() {
    static const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (processors <= 2) return false;
    return trust_.load(std::memory_order_relaxed) > 0 ||
           waits_.fetch_add(1, std::memory_order_relaxed) % kProbeEvery == 0;
  }
  // Statistics only: a lost update does no harm.
  void learn(bool done) {
    const int trust = trust_.load(std::memory_order_relaxed);
    trust_.store(done ? std::min(trust + 2, kMaxTrust) : std::max(trust - 2, 0),
                 std::memory_order_relaxed);
  }

  std::atomic<int> trust_{kMaxTrust};
  std::atomic<unsigned> waits_{0};
};

}  // namespace vgpu::transport

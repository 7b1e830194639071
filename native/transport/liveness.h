// When to send a heartbeat and when a silent peer is given up.
#pragma once

#include <algorithm>
#include <chrono>

namespace vgpu::transport {

class Liveness {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Liveness(int silence_ms)
      : silence_(std::max(silence_ms, 1)),
        interval_(std::clamp(silence_ / 4, std::chrono::milliseconds(1), kMaxInterval)) {}

  void heard() { heard_ = Clock::now(); }
  void spoke() { spoke_ = Clock::now(); }
  [[nodiscard]] bool silent() const { return Clock::now() - heard_ > silence_; }
  [[nodiscard]] bool heartbeat_due() const { return Clock::now() - spoke_ >= interval_; }
  [[nodiscard]] int interval_ms() const { return static_cast<int>(interval_.count()); }

 private:
  static constexpr std::chrono::milliseconds kMaxInterval{5000};
  std::chrono::milliseconds silence_;
  std::chrono::milliseconds interval_;
  Clock::time_point heard_ = Clock::now();
  Clock::time_point spoke_ = Clock::now();
};

}  // namespace vgpu::transport

// What device code prints, kept until the program synchronizes: as with CUDA, printf goes to stdout
// and the texts of failed assertions to stderr, at the calls that CUDA flushes at.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <mutex>
#include <string>

namespace vgpu::softgpu {

class DeviceOutput {
 public:
  // CU_LIMIT_PRINTF_FIFO_SIZE in bytes of text: what came first is dropped when more is printed
  // between two flushes.
  void set_capacity(size_t bytes);
  // For a context that begins anew.
  void restart(size_t capacity);
  void print(std::string text);
  void complain(std::string text);
  // Whether anything was ever printed: then the capacity is fixed.
  [[nodiscard]] bool used() const { return used_.load(std::memory_order_relaxed); }
  void flush();

 private:
  std::mutex writing_;  // keeps two flushes in order
  std::mutex mutex_;    // guards all below
  std::deque<std::string> printed_, complaints_;
  size_t bytes_ = 0, capacity_ = 0;
  std::atomic<bool> used_{false}, waiting_{false};
};

}  // namespace vgpu::softgpu

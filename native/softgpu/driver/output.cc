#include "softgpu/driver/output.h"

#include <cstdio>
#include <utility>

namespace vgpu::softgpu {
namespace {

void write(std::FILE* file, const std::deque<std::string>& texts) {
  if (texts.empty()) return;
  for (const std::string& text : texts) std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

}  // namespace

void DeviceOutput::set_capacity(size_t bytes) {
  const std::lock_guard lock(mutex_);
  capacity_ = bytes;
}

void DeviceOutput::restart(size_t capacity) {
  flush();
  set_capacity(capacity);
  used_.store(false, std::memory_order_relaxed);
}

void DeviceOutput::print(std::string text) {
  used_.store(true, std::memory_order_relaxed);
  if (text.empty()) return;
  const std::lock_guard lock(mutex_);
  bytes_ += text.size();
  printed_.push_back(std::move(text));
  while (bytes_ > capacity_ && !printed_.empty()) {
    bytes_ -= printed_.front().size();
    printed_.pop_front();
  }
  waiting_.store(true, std::memory_order_release);
}

void DeviceOutput::complain(std::string text) {
  const std::lock_guard lock(mutex_);
  complaints_.push_back(std::move(text));
  waiting_.store(true, std::memory_order_release);
}

void DeviceOutput::flush() {
  if (!waiting_.load(std::memory_order_acquire)) return;
  const std::lock_guard order(writing_);
  std::deque<std::string> printed, complaints;
  {
    const std::lock_guard lock(mutex_);
    printed.swap(printed_);
    complaints.swap(complaints_);
    bytes_ = 0;
    waiting_.store(false, std::memory_order_relaxed);
  }
  write(stdout, printed);
  write(stderr, complaints);
}

}  // namespace vgpu::softgpu

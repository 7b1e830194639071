// The texture and surface objects that a client has. They are the driver's own values, so what a
// client names is looked up here before the driver sees it. Thread-safe.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>
#include <utility>

namespace vgpu::executor {

class ImageObjects {
 public:
  void add(uint64_t context, uint64_t value) {
    const std::lock_guard lock(mutex_);
    values_.emplace(context, value);
  }
  // False when the context has no such object.
  bool remove(uint64_t context, uint64_t value) {
    const std::lock_guard lock(mutex_);
    return values_.erase({context, value}) != 0;
  }
  void forget_context(uint64_t context) {
    const std::lock_guard lock(mutex_);
    std::erase_if(values_, [&](const auto& one) { return one.first == context; });
  }

 private:
  mutable std::mutex mutex_;  // guards values_
  std::set<std::pair<uint64_t, uint64_t>> values_;
};

}  // namespace vgpu::executor

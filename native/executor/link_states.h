// Links under way: the log buffers that the driver writes to until the link is destroyed.
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "executor/jit_options.h"

namespace vgpu::executor {

class LinkStates {
 public:
  void add(uint64_t id, std::shared_ptr<JitOptions> options) {
    const std::lock_guard lock(mutex_);
    states_[id] = std::move(options);
  }
  [[nodiscard]] std::shared_ptr<JitOptions> find(uint64_t id) const {
    const std::lock_guard lock(mutex_);
    const auto it = states_.find(id);
    return it == states_.end() ? nullptr : it->second;
  }
  void remove(uint64_t id) {
    const std::lock_guard lock(mutex_);
    states_.erase(id);
  }

 private:
  mutable std::mutex mutex_;  // guards states_
  std::unordered_map<uint64_t, std::shared_ptr<JitOptions>> states_;
};

}  // namespace vgpu::executor

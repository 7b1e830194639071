// What the client has allocated on its devices, and the ledger behind it. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "executor/ledger.h"

namespace vgpu::executor {

struct Allocation {
  uint64_t size = 0;     // as asked for
  uint64_t counted = 0;  // in the ledger
  uint32_t ordinal = 0;  // the worker's device
  uint64_t context = 0;  // dies with it; 0 if it does not
  // The host entry that stands for memory of a graph, which comes and goes with launches and counts
  // as long as a graph has it, or longer when a launch has left it; 0: other memory.
  uint64_t graph_entry = 0;
  bool graph_ended = false;   // left behind: a free is for good
  uint64_t brought_back = 0;  // freed by the program; first launch that may have brought it back
};

class Allocations {
 public:
  explicit Allocations(std::shared_ptr<Ledger> ledger) : ledger_(std::move(ledger)) {}
  ~Allocations() { clear(0, true); }

  // Counts `size` bytes on the device: false when the quota does not allow them.
  [[nodiscard]] bool reserve(uint32_t ordinal, uint64_t size) {
    return ledger_ == nullptr || ledger_->reserve(ordinal, Ledger::rounded(size));
  }
  void cancel(uint32_t ordinal, uint64_t size) {
    if (ledger_ != nullptr) ledger_->release(ordinal, Ledger::rounded(size));
  }
  // `key`: a device address, or the id of something that owns memory. Reserved before.
  void add(uint64_t key, uint64_t size, uint32_t ordinal, uint64_t context,
           uint64_t graph_entry = 0) {
    const std::lock_guard lock(mutex_);
    auto& one = map_[key];
    if (one.graph_entry != 0) give_back(one);  // its end has not been told yet
    one = {size, Ledger::rounded(size), ordinal, context, graph_entry, false, 0};
  }
  // Of memory of graphs. A launch of any graph may bring back what the program has freed; its
  // number tells whether one did, since the driver may still be on the way to that free.
  [[nodiscard]] uint64_t graph_launches() const { return graph_launches_; }
  void graph_launched() { ++graph_launches_; }
  // The program has freed it, after `launches`. True when it is gone for good.
  bool graph_memory_freed(uint64_t key, uint64_t entry, uint64_t launches) {
    const std::lock_guard lock(mutex_);
    const auto it = map_.find(key);
    if (it == map_.end() || it->second.graph_entry != entry) return true;
    it->second.brought_back = launches + 1;
    if (!it->second.graph_ended) return false;
    give_back(it->second);
    map_.erase(it);
    return true;
  }
  // No graph has it any more. `present`: the driver says that a launch has left it. True when it
  // stays, to be freed by the program.
  bool graph_memory_ended(uint64_t key, uint64_t entry, bool present) {
    const std::lock_guard lock(mutex_);
    const auto it = map_.find(key);
    if (it == map_.end() || it->second.graph_entry != entry) return false;
    Allocation& one = it->second;
    if (present && one.brought_back != graph_launches_ + 1) return one.graph_ended = true;
    give_back(one);
    map_.erase(it);
    return false;
  }
  [[nodiscard]] std::optional<Allocation> find(uint64_t key) const {
    const std::lock_guard lock(mutex_);
    const auto it = map_.find(key);
    return it == map_.end() ? std::nullopt : std::optional(it->second);
  }
  // For a free: forgets the address *before* the driver may hand it out again on another thread,
  // while its bytes stay counted until give_back(); restore() when the driver refused.
  [[nodiscard]] std::optional<Allocation> take(uint64_t key) {
    const std::lock_guard lock(mutex_);
    const auto it = map_.find(key);
    if (it == map_.end()) return std::nullopt;
    const Allocation one = it->second;
    map_.erase(it);
    return one;
  }
  void restore(uint64_t key, const Allocation& one) {
    const std::lock_guard lock(mutex_);
    map_[key] = one;
  }
  void give_back(const Allocation& one) {
    if (ledger_ != nullptr) ledger_->release(one.ordinal, one.counted);
  }
  // Forgets it and gives its bytes back to the ledger.
  bool remove(uint64_t key) {
    const std::lock_guard lock(mutex_);
    const auto it = map_.find(key);
    if (it == map_.end()) return false;
    give_back(it->second);
    map_.erase(it);
    return true;
  }
  // What dies with a context.
  void remove_context(uint64_t context) { clear(context, false); }
  [[nodiscard]] std::map<uint64_t, Allocation> all() const {
    const std::lock_guard lock(mutex_);
    return map_;
  }
  [[nodiscard]] Ledger* ledger() const { return ledger_.get(); }

 private:
  void clear(uint64_t context, bool all) {
    const std::lock_guard lock(mutex_);
    for (auto it = map_.begin(); it != map_.end();) {
      if (!all && it->second.context != context) {
        ++it;
        continue;
      }
      give_back(it->second);
      it = map_.erase(it);
    }
  }

  const std::shared_ptr<Ledger> ledger_;
  mutable std::mutex mutex_;  // guards map_
  std::map<uint64_t, Allocation> map_;
  std::atomic<uint64_t> graph_launches_{0};
};

}  // namespace vgpu::executor

// The client's ids and the driver's handles behind them. Thread-safe: slow calls bind and forget
// from helper threads.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "wire/handle.h"

namespace vgpu::executor {

// Which kind of id names a driver handle of type T.
template <typename T>
struct KindOf;
// NOLINTBEGIN: one line per type is a table
template <>
struct KindOf<CUcontext> {
  static constexpr auto value = wire::HandleKind::kContext;
};
template <>
struct KindOf<CUstream> {
  static constexpr auto value = wire::HandleKind::kStream;
};
template <>
struct KindOf<CUevent> {
  static constexpr auto value = wire::HandleKind::kEvent;
};
template <>
struct KindOf<CUmodule> {
  static constexpr auto value = wire::HandleKind::kModule;
};
template <>
struct KindOf<CUlibrary> {
  static constexpr auto value = wire::HandleKind::kLibrary;
};
template <>
struct KindOf<CUfunction> {
  static constexpr auto value = wire::HandleKind::kFunction;
};
template <>
struct KindOf<CUkernel> {
  static constexpr auto value = wire::HandleKind::kKernel;
};
template <>
struct KindOf<CUgraph> {
  static constexpr auto value = wire::HandleKind::kGraph;
};
template <>
struct KindOf<CUgraphNode> {
  static constexpr auto value = wire::HandleKind::kGraphNode;
};
template <>
struct KindOf<CUgraphExec> {
  static constexpr auto value = wire::HandleKind::kGraphExec;
};
template <>
struct KindOf<CUmemoryPool> {
  static constexpr auto value = wire::HandleKind::kMemPool;
};
template <>
struct KindOf<CUarray> {
  static constexpr auto value = wire::HandleKind::kArray;
};
template <>
struct KindOf<CUmipmappedArray> {
  static constexpr auto value = wire::HandleKind::kMipmappedArray;
};
template <>
struct KindOf<CUlinkState> {
  static constexpr auto value = wire::HandleKind::kLink;
};
template <>
struct KindOf<CUuserObject> {
  static constexpr auto value = wire::HandleKind::kUserObject;
};
template <>
struct KindOf<CUgreenCtx> {
  static constexpr auto value = wire::HandleKind::kGreenContext;
};
// NOLINTEND

class HandleTable {
 public:
  // False when the id is malformed or taken: the client broke the protocol.
  bool bind(uint64_t id, uint64_t handle, uint64_t context) {
    if (wire::handle_counter(id) <= 2) return false;
    const std::lock_guard lock(mutex_);
    if (entries_.size() >= kMost) return false;
    if (!entries_.try_emplace(id, Entry{handle, context}).second) return false;
    if (reversible(id)) ids_[handle] = id;
    return true;
  }
  [[nodiscard]] std::optional<uint64_t> find(uint64_t id) const {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(id);
    if (it == entries_.end()) return std::nullopt;
    return it->second.handle;
  }
  // The id of what the driver shows again (graphs, nodes, events, functions); 0 if it has none.
  [[nodiscard]] uint64_t id_of(uint64_t handle) const {
    const std::lock_guard lock(mutex_);
    const auto it = ids_.find(handle);
    return it == ids_.end() ? 0 : it->second;
  }
  // The first id of a kind whose handle `matches`; 0 if there is none.
  template <typename Predicate>
  [[nodiscard]] uint64_t find_if(wire::HandleKind kind, Predicate matches) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
      if (wire::handle_kind(id) == kind && matches(entry.handle)) return id;
    }
    return 0;
  }
  // Also forgets what the id owns.
  bool forget(uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(id);
    if (it == entries_.end()) return false;
    drop_reverse(id, it->second.handle);
    entries_.erase(it);
    drop_owned(id);
    return true;
  }
  void own(uint64_t owner, uint64_t child) {
    const std::lock_guard lock(mutex_);
    owned_[owner].push_back(child);
  }
  // All ids made while `context` was current: they die with it.
  void forget_context(uint64_t context) {
    const std::lock_guard lock(mutex_);
    for (auto it = entries_.begin(); it != entries_.end();) {
      if (it->second.context != context) {
        ++it;
        continue;
      }
      drop_reverse(it->first, it->second.handle);
      owned_.erase(it->first);
      it = entries_.erase(it);
    }
  }

 private:
  static constexpr size_t kMost = size_t{1} << 24;  // a client that hoards more is broken
  struct Entry {
    uint64_t handle;
    uint64_t context;
  };
  static bool reversible(uint64_t id) {
    switch (wire::handle_kind(id)) {
      case wire::HandleKind::kGraph:
      case wire::HandleKind::kGraphNode:
      case wire::HandleKind::kEvent:
      case wire::HandleKind::kFunction:
      case wire::HandleKind::kKernel:
        return true;
      default:
        return false;
    }
  }
  // Requires mutex_.
  void drop_reverse(uint64_t id, uint64_t handle) {
    if (!reversible(id)) return;
    const auto it = ids_.find(handle);
    if (it != ids_.end() && it->second == id) ids_.erase(it);
  }

  // Requires mutex_.
  void drop_owned(uint64_t owner) {
    const auto it = owned_.find(owner);
    if (it == owned_.end()) return;
    const std::vector<uint64_t> children = std::move(it->second);
    owned_.erase(it);
    for (const uint64_t child : children) {
      if (const auto entry = entries_.find(child); entry != entries_.end()) {
        drop_reverse(child, entry->second.handle);
        entries_.erase(entry);
      }
      drop_owned(child);
    }
  }

  mutable std::mutex mutex_;  // guards all below
  std::unordered_map<uint64_t, Entry> entries_;
  std::unordered_map<uint64_t, uint64_t> ids_;                 // of reversible kinds, by handle
  std::unordered_map<uint64_t, std::vector<uint64_t>> owned_;  // owner -> ids that die with it
};

}  // namespace vgpu::executor

// Handles of the driver API: typed ids that are never reused, so that a stale or foreign handle is
// recognised instead of followed. (Measured: no CUDA library dereferences a handle.)
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

namespace vgpu::softgpu {

enum class HandleKind : uint8_t {
  kContext = 1,
  kStream,
  kEvent,
  kModule,
  kFunction,
  kLibrary,
  kKernel,
  kGraph,
  kNode,
  kGraphExec,
  kPool,
  kPhysicalMemory,
  kLink,
  kUserObject,
  kArray,
  kMipmappedArray,
  kTexture,
  kSurface,
};

template <typename T>
class Registry {
 public:
  explicit Registry(HandleKind kind) : kind_(static_cast<uint64_t>(kind) << 40) {}

  uint64_t add(std::shared_ptr<T> object) {
    const std::unique_lock lock(mutex_);
    const uint64_t id = kind_ | (++serial_ << 4);
    object->id = id;
    objects_.emplace(id, std::move(object));
    return id;
  }
  // An object that was removed comes back under its id.
  void put_back(std::shared_ptr<T> object) {
    const std::unique_lock lock(mutex_);
    const uint64_t id = object->id;
    objects_.emplace(id, std::move(object));
  }
  [[nodiscard]] std::shared_ptr<T> find(uint64_t id) const {
    const std::shared_lock lock(mutex_);
    const auto found = objects_.find(id);
    return found == objects_.end() ? nullptr : found->second;
  }
  [[nodiscard]] std::shared_ptr<T> find(const void* handle) const {
    return find(reinterpret_cast<uint64_t>(handle));
  }
  std::shared_ptr<T> remove(const void* handle) {
    const std::unique_lock lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uint64_t>(handle));
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<T> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }
  [[nodiscard]] std::vector<std::shared_ptr<T>> all() const {
    const std::shared_lock lock(mutex_);
    std::vector<std::shared_ptr<T>> list;
    for (const auto& [id, object] : objects_) list.push_back(object);
    return list;
  }

 private:
  const uint64_t kind_;
  mutable std::shared_mutex mutex_;  // guards serial_ and objects_
  uint64_t serial_ = 0;
  std::unordered_map<uint64_t, std::shared_ptr<T>> objects_;
};

template <typename Handle>
Handle as_handle(uint64_t id) {
  return reinterpret_cast<Handle>(id);
}

}  // namespace vgpu::softgpu

// Texture and surface objects by the driver's own values, which are unique within a context only.
// What they were made of is kept for the getters.
#pragma once

#include <cuda.h>

#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace vgpu::stub {

struct Context;

struct ImageObject {
  CUDA_RESOURCE_DESC resource{};
  CUDA_TEXTURE_DESC texture{};
  std::optional<CUDA_RESOURCE_VIEW_DESC> view;
};

class ImageObjects {
 public:
  void add(const Context* context, uint64_t value, const ImageObject& object) {
    const std::lock_guard lock(mutex_);
    objects_[{context, value}] = object;
  }
  [[nodiscard]] std::optional<ImageObject> find(const Context* context, uint64_t value) const {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find({context, value});
    return found == objects_.end() ? std::nullopt : std::optional(found->second);
  }
  bool remove(const Context* context, uint64_t value) {
    const std::lock_guard lock(mutex_);
    return objects_.erase({context, value}) != 0;
  }
  // All that died with a context.
  void forget(const Context* context) {
    const std::lock_guard lock(mutex_);
    std::erase_if(objects_, [&](const auto& entry) { return entry.first.first == context; });
  }

 private:
  mutable std::mutex mutex_;  // guards objects_
  std::map<std::pair<const Context*, uint64_t>, ImageObject> objects_;
};

}  // namespace vgpu::stub

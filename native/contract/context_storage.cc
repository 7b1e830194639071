#include "contract/context_storage.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace vgpu::contract {
namespace {

struct Slot {
  void* value = nullptr;
  StorageDestructor destructor = nullptr;
};
using Key = std::pair<CUcontext, void*>;

struct Storage {
  std::mutex mutex;  // guards slots
  std::map<Key, Slot> slots;
};
// Never destroyed: runtimes call from their own exit handlers.
Storage& storage() {
  static auto* instance = new Storage;
  return *instance;
}

// Changes with every put, erase and drop, which makes every thread's cached answers stale.
std::atomic<uint64_t> generation{1};

struct Cached {
  uint64_t generation = 0;  // 0: empty
  CUcontext context = nullptr;
  void* key = nullptr;
  void* value = nullptr;
};
constexpr size_t kCachedKeys = 16;  // one key per copy of the runtime in the process: a handful
thread_local std::array<Cached, kCachedKeys> cache;

Cached& cached(CUcontext context, void* key) {
  const auto hash =
      (reinterpret_cast<uintptr_t>(context) ^ (reinterpret_cast<uintptr_t>(key) >> 4)) *
      0x9e3779b97f4a7c15u;
  return cache[hash >> 60];
}

}  // namespace

void storage_put(CUcontext context, void* key, void* value, StorageDestructor destructor) {
  const std::lock_guard lock(storage().mutex);
  storage().slots[{context, key}] = {value, destructor};
  generation.fetch_add(1, std::memory_order_release);
}

bool storage_erase(CUcontext context, void* key) {
  const std::lock_guard lock(storage().mutex);
  const bool found = storage().slots.erase({context, key}) != 0;
  generation.fetch_add(1, std::memory_order_release);
  return found;
}

bool storage_get(void** value, CUcontext context, void* key) {
  Cached& entry = cached(context, key);
  if (entry.generation == generation.load(std::memory_order_acquire) && entry.context == context &&
      entry.key == key) {
    *value = entry.value;
    return true;
  }
  const std::lock_guard lock(storage().mutex);
  const auto found = storage().slots.find({context, key});
  if (found == storage().slots.end()) return false;
  entry = {generation.load(std::memory_order_relaxed), context, key, found->second.value};
  *value = found->second.value;
  return true;
}

void storage_drop(CUcontext context) {
  std::vector<std::pair<Key, Slot>> dropped;
  {
    const std::lock_guard lock(storage().mutex);
    auto& slots = storage().slots;
    for (auto at = slots.lower_bound({context, nullptr});
         at != slots.end() && at->first.first == context;) {
      dropped.emplace_back(*at);
      at = slots.erase(at);
    }
    generation.fetch_add(1, std::memory_order_release);
  }
  for (const auto& [key, slot] : dropped) {
    if (slot.destructor != nullptr) slot.destructor(key.first, key.second, slot.value);
  }
}

}  // namespace vgpu::contract

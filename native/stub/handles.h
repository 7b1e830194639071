// Tables from client-chosen ids to the stub's objects, one per kind.
//
// An id is kind | generation | slot: the slot is reused after a destroy, the id is not. find()
// takes no lock; an object is never freed, so a handle that is used while another thread destroys
// it is an error of the application, not a crash of ours.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "wire/handle.h"

namespace vgpu::stub {

// Every object derives from this. 0: the slot is free.
struct Object {
  std::atomic<uint64_t> id{0};
};

template <typename T>
class HandleTable {
 public:
  explicit HandleTable(wire::HandleKind kind) : kind_(kind) {}

  // A fresh object with its id; null when 2^24 of them live. `prepare` fills it before others see
  // it.
  template <typename Prepare>
  T* create(Prepare prepare) {
    const std::lock_guard lock(mutex_);
    const uint32_t slot = take_slot();
    if (slot == kNoSlot) return nullptr;
    T* object = slot_object(slot);
    prepare(*object);
    // Generations count from 1, so that ids stay clear of the fixed ones of handle.h.
    const uint64_t counter = uint64_t{++generations_[slot]} << kSlotBits | slot;
    object->id.store(wire::make_handle(kind_, counter), std::memory_order_release);
    return object;
  }
  T* create() {
    return create([](T&) {});
  }

  // `count` fresh objects whose ids follow each other; empty when there is no room. `prepare` fills
  // each.
  template <typename Prepare>
  std::vector<T*> create_range(size_t count, Prepare prepare) {
    const std::lock_guard lock(mutex_);
    std::vector<T*> objects;
    if (count > kSlots - used_) return objects;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t slot = fresh_slot();
      T* object = slot_object(slot);
      prepare(*object);
      const uint64_t counter = uint64_t{++generations_[slot]} << kSlotBits | slot;
      object->id.store(wire::make_handle(kind_, counter), std::memory_order_release);
      objects.push_back(object);
    }
    return objects;
  }

  T* find(uint64_t id) const {
    const uint64_t slot = wire::handle_counter(id) & (kSlots - 1);
    auto* chunk = chunks_[slot / kChunk].load(std::memory_order_acquire);
    if (chunk == nullptr || id == 0) return nullptr;
    T* object = chunk->objects[slot % kChunk].load(std::memory_order_acquire);
    if (object == nullptr || object->id.load(std::memory_order_acquire) != id) return nullptr;
    return object;
  }
  template <typename Handle>
  T* find(Handle* handle) const {
    return find(reinterpret_cast<uint64_t>(handle));
  }

  // False when the id is unknown (or was destroyed by another thread meanwhile).
  bool destroy(uint64_t id) {
    const std::lock_guard lock(mutex_);
    T* object = find(id);
    if (object == nullptr) return false;
    object->id.store(0, std::memory_order_release);
    free_.push_back(static_cast<uint32_t>(wire::handle_counter(id) & (kSlots - 1)));
    return true;
  }

  // Calls visit(T&) for each live object; `visit` must not call into the same table.
  template <typename Visit>
  void for_each(Visit visit) {
    const std::lock_guard lock(mutex_);
    for (uint32_t slot = 0; slot < used_; ++slot) {
      T* object = slot_object(slot);
      if (object->id.load(std::memory_order_relaxed) != 0) visit(*object);
    }
  }

 private:
  static constexpr int kSlotBits = 24;
  static constexpr uint64_t kSlots = 1u << kSlotBits;
  static constexpr uint32_t kChunk = 4096;
  static constexpr uint32_t kNoSlot = ~0u;
  struct Chunk {
    std::array<std::atomic<T*>, kChunk> objects{};
  };

  // Requires mutex_.
  uint32_t take_slot() {
    if (!free_.empty()) {
      const uint32_t slot = free_.back();
      free_.pop_back();
      return slot;
    }
    return used_ == kSlots ? kNoSlot : fresh_slot();
  }
  // Requires mutex_, and used_ < kSlots.
  uint32_t fresh_slot() {
    const uint32_t slot = used_++;
    auto& chunk = chunks_[slot / kChunk];
    if (chunk.load(std::memory_order_relaxed) == nullptr) {
      chunk.store(new Chunk, std::memory_order_release);
    }
    chunk.load(std::memory_order_relaxed)
        ->objects[slot % kChunk]
        .store(new T, std::memory_order_release);
    generations_.push_back(0);
    return slot;
  }
  T* slot_object(uint32_t slot) const {
    return chunks_[slot / kChunk]
        .load(std::memory_order_relaxed)
        ->objects[slot % kChunk]
        .load(std::memory_order_relaxed);
  }

  wire::HandleKind kind_;
  std::mutex mutex_;  // guards free_, used_, generations_
  std::vector<uint32_t> free_;
  uint32_t used_ = 0;
  std::vector<uint32_t> generations_;
  std::array<std::atomic<Chunk*>, kSlots / kChunk> chunks_{};
};

}  // namespace vgpu::stub

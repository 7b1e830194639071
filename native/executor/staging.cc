#include "executor/staging.h"

#include <bit>
#include <cstdlib>

namespace vgpu::executor {

StagingPool::~StagingPool() { trim(); }

uint64_t StagingPool::capacity_for(uint64_t size) {
  constexpr uint64_t kGranule = uint64_t{2} << 20;
  if (size <= kSmallest) return kSmallest;
  return size <= kMostPowers ? std::bit_ceil(size) : (size + kGranule - 1) / kGranule * kGranule;
}

StagingPool::Buffer StagingPool::get(uint64_t size) {
  if (size > kMostPerBuffer) return nullptr;
  const uint64_t capacity = capacity_for(size);
  StagingBuffer buffer;
  {
    const std::lock_guard lock(mutex_);
    if (auto it = free_.find(capacity); it != free_.end()) {
      buffer = it->second;
      cached_ -= capacity;
      free_.erase(it);
    }
    buffer.generation = generation_;
  }
  if (buffer.data == nullptr) {
    void* memory = nullptr;
    if (pin_ && !held_ && capacity <= kMostPinned &&
        driver_.cuMemHostAlloc(&memory, capacity, CU_MEMHOSTALLOC_PORTABLE) == CUDA_SUCCESS) {
      buffer.pinned = true;
    } else {
      memory = std::aligned_alloc(4096, (capacity + 4095) / 4096 * 4096);
    }
    if (memory == nullptr) return nullptr;
    buffer.data = static_cast<std::byte*>(memory);
    buffer.capacity = capacity;
  }
  buffer.size = size;
  // The pool must outlive its buffers, which stream completions may hold.
  return Buffer(new StagingBuffer(buffer), [pool = shared_from_this()](StagingBuffer* one) {
    pool->put_back(*one);
    delete one;
  });
}

StagingPool::Piece StagingPool::piece(uint64_t size) {
  const uint64_t rounded = (size + 255) / 256 * 256;
  if (rounded > kPieces / 4) {
    Buffer whole = get(size);
    if (whole == nullptr) return {};
    return {whole->data, whole};
  }
  if (pieces_ == nullptr || pieces_used_ + rounded > pieces_->capacity) {
    pieces_ = get(kPieces);
    pieces_used_ = 0;
    if (pieces_ == nullptr) return {};
  }
  Piece piece{pieces_->data + pieces_used_, pieces_};
  pieces_used_ += rounded;
  return piece;
}

void StagingPool::put_back(StagingBuffer buffer) {
  {
    const std::lock_guard lock(mutex_);
    if (buffer.pinned && buffer.generation != generation_) return;
    const bool keep = buffer.capacity <= kMostPinned && cached_ + buffer.capacity <= kMostCached &&
                      (buffer.pinned || !pin_);
    if (keep || (buffer.pinned && held_)) {
      cached_ += buffer.capacity;
      free_.emplace(buffer.capacity, buffer);
      return;
    }
  }
  release(buffer);
}

void StagingPool::release(const StagingBuffer& buffer) {
  if (buffer.pinned) {
    driver_.cuMemFreeHost(buffer.data);
  } else {
    std::free(buffer.data);
  }
}

void StagingPool::trim() {
  pieces_ = nullptr;
  const std::lock_guard lock(mutex_);
  for (const auto& [capacity, buffer] : free_) release(buffer);
  free_.clear();
  ++generation_;
  cached_ = 0;
}

}  // namespace vgpu::executor

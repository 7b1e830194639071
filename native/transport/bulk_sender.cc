#include "transport/bulk_sender.h"

#include <algorithm>
#include <cstring>

namespace vgpu::transport {

Chunk make_chunk(BufferPool& pool, const ChunkBody& body, std::span<const std::byte> data) {
  Chunk chunk{pool.take(), kChunkPrefix + data.size()};
  std::memcpy(chunk.buffer.get() + sizeof(FrameHeader), &body, sizeof body);
  if (!data.empty()) std::memcpy(chunk.buffer.get() + kChunkPrefix, data.data(), data.size());
  return chunk;
}

Frame chunk_frame(const Chunk& chunk, const FrameHeader& header) {
  std::memcpy(chunk.buffer.get(), &header, sizeof header);
  return {chunk.buffer, chunk.buffer.get(), chunk.size};
}

BulkSender::BulkSender(uint32_t chunk_bytes, uint64_t window)
    : chunk_bytes_(chunk_bytes),
      pool_(BufferPool::make(kChunkPrefix + chunk_bytes, window / chunk_bytes + 2)),
      window_(window) {}

uint64_t BulkSender::send(std::span<const std::byte> data, const std::function<void()>& wake) {
  uint64_t transfer = 0;
  {
    std::lock_guard lock(mutex_);
    if (failed_) return 0;
    transfer = next_++;
  }
  size_t offset = 0;
  do {  // an empty transfer is one empty chunk
    const auto part = data.subspan(offset, std::min<size_t>(chunk_bytes_, data.size() - offset));
    if (!reserve(part.size())) return 0;
    if (push(make_chunk(*pool_, {transfer, data.size(), offset}, part))) wake();
    offset += part.size();
  } while (offset < data.size());
  return transfer;
}

// The window may be overshot by one chunk per caller, so that credit below a chunk never strands
// one.
bool BulkSender::reserve(uint64_t bytes) {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [this] { return failed_ || reserved_ - consumed_ < window_; });
  reserved_ += bytes;
  return !failed_;
}

bool BulkSender::push(Chunk chunk) {
  std::lock_guard lock(mutex_);
  queue_.push_back(std::move(chunk));
  const bool wake = !signalled_;
  signalled_ = true;
  return wake;
}

bool BulkSender::take(Chunk& chunk) {
  std::lock_guard lock(mutex_);
  if (queue_.empty()) {
    signalled_ = false;
    return false;
  }
  chunk = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

void BulkSender::credit(uint64_t total) {
  std::lock_guard lock(mutex_);
  if (total > reserved_ || total <= consumed_) return;
  consumed_ = total;
  room_.notify_all();
}

void BulkSender::set_window(uint64_t window) {
  std::lock_guard lock(mutex_);
  window_ = std::min(window_, std::max<uint64_t>(window, 1));
}

void BulkSender::fail() {
  std::lock_guard lock(mutex_);
  failed_ = true;
  queue_.clear();
  room_.notify_all();
}

}  // namespace vgpu::transport

#include "transport/batcher.h"

#include <algorithm>

#include "transport/frame.h"

namespace vgpu::transport {
namespace {

constexpr size_t kHead = sizeof(FrameHeader);
constexpr size_t kSpareBatches = 8;

void put(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

}  // namespace

std::vector<std::byte> BatchPool::take(size_t reserve) {
  std::vector<std::byte> batch;
  {
    std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      batch = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  batch.reserve(reserve);
  return batch;
}

void BatchPool::give(std::vector<std::byte> used) {
  used.clear();
  std::lock_guard lock(mutex_);
  if (spare_.size() < kSpareBatches) spare_.push_back(std::move(used));
}

Appended Batcher::append(wire::RecordHeader header, Parts parts, bool urgent) {
  uint64_t size = sizeof header;
  for (auto part : parts) size += part.size();
  if (size > wire::kMaxRecord) return Appended::kLost;
  header.size = static_cast<uint32_t>(size);

  std::unique_lock lock(mutex_);
  while (full() && !failed_) {
    ++waiting_;
    room_.wait(lock);
    --waiting_;
  }
  if (failed_) return Appended::kLost;
  if (open_.empty()) open_.resize(kHead);
  put(open_, bytes_of(header));
  for (auto part : parts) put(open_, part);
  open_.resize(open_.size() + wire::padded(header.size) - header.size);
  appended_ += wire::padded(header.size);
  if (urgent) flush_ = true;
  if (open_.size() >= batch_bytes_) seal();
  if (full()) flush_ = true;  // the next caller will wait for the peer: let it work
  return due() && signal() ? Appended::kWake : Appended::kQuiet;
}

bool Batcher::flush() {
  std::lock_guard lock(mutex_);
  flush_ = true;
  return due() && signal();
}

bool Batcher::take(std::vector<std::byte>& batch) {
  std::lock_guard lock(mutex_);
  if (!due()) {
    signalled_ = false;
    return false;
  }
  if (sealed_.empty()) seal();
  batch = std::move(sealed_.front());
  sealed_.pop_front();
  idle_ = false;
  if (sealed_.empty() && open_.empty()) flush_ = false;
  return true;
}

void Batcher::credit(uint64_t total) {
  std::lock_guard lock(mutex_);
  if (total > appended_) return;  // a peer that consumed what was never sent gets no room for it
  consumed_ = std::max(consumed_, total);
  if (waiting_ > 0 && !full()) room_.notify_all();
}

void Batcher::set_window(uint64_t window) {
  std::lock_guard lock(mutex_);
  window_ = std::min(window_, std::max<uint64_t>(window, 1));
}

void Batcher::peer_idle() {
  std::lock_guard lock(mutex_);
  idle_ = true;
}

void Batcher::fail() {
  std::lock_guard lock(mutex_);
  failed_ = true;
  room_.notify_all();
}

bool Batcher::due() const { return !sealed_.empty() || (!open_.empty() && (flush_ || idle_)); }

void Batcher::seal() {
  sealed_.push_back(std::move(open_));
  open_ = pool_->take(batch_bytes_ + 4096);
}

bool Batcher::signal() {
  if (signalled_) return false;
  signalled_ = true;
  return true;
}

}  // namespace vgpu::transport

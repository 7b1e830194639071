#include "transport/bulk_receiver.h"

#include <cstring>

namespace vgpu::transport {

uint64_t BulkReceiver::expect(void* destination, size_t size) {
  std::lock_guard lock(mutex_);
  expected_.emplace(next_, Destination{static_cast<std::byte*>(destination), size});
  return next_++;
}

void BulkReceiver::forget(uint64_t transfer) {
  std::unique_lock lock(mutex_);
  auto found = expected_.find(transfer);
  if (found == expected_.end()) return;
  copied_.wait(lock, [&] {
    found = expected_.find(transfer);
    return found == expected_.end() || !found->second.copying;
  });
  // The entry stays if chunks are on their way, so that they are recognised and counted.
  if (found != expected_.end()) found->second.data = nullptr;
}

bool BulkReceiver::receive(const ChunkBody& chunk, std::span<const std::byte> data, bool& landed,
                           std::string& error) {
  std::unique_lock lock(mutex_);
  auto found = expected_.find(chunk.transfer);
  if (found == expected_.end() || chunk.total > found->second.size ||
      chunk.offset != found->second.filled) {
    error = "a chunk of transfer " + std::to_string(chunk.transfer) + " at " +
            std::to_string(chunk.offset) + " that was not expected";
    return false;
  }
  std::byte* target = found->second.data;
  if (target != nullptr && !data.empty()) {
    found->second.copying = true;
    lock.unlock();  // a caller that announces a destination does not wait for this copy
    std::memcpy(target + chunk.offset, data.data(), data.size());
    lock.lock();
    found = expected_.find(chunk.transfer);
    found->second.copying = false;
  }
  found->second.filled += data.size();
  landed = found->second.filled == chunk.total;
  if (landed) expected_.erase(found);
  copied_.notify_all();
  return true;
}

}  // namespace vgpu::transport

// Device-to-host destinations that callers announced, and the transport thread that fills them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "transport/frame.h"

namespace vgpu::transport {

class BulkReceiver {
 public:
  // Application threads.
  uint64_t expect(void* destination, size_t size);
  // The destination may go away once this returns: chunks that still arrive for it are dropped.
  void forget(uint64_t transfer);

  // Transport thread: copies one chunk into place. `landed` is true when it was the transfer's
  // last. False with `error` when the chunk does not fit what was announced.
  bool receive(const ChunkBody& chunk, std::span<const std::byte> data, bool& landed,
               std::string& error);

 private:
  struct Destination {
    std::byte* data = nullptr;  // null: forgotten
    uint64_t size = 0;
    uint64_t filled = 0;
    bool copying = false;  // the transport thread writes to it, outside the lock
  };

  std::mutex mutex_;  // guards all below
  std::condition_variable copied_;
  std::unordered_map<uint64_t, Destination> expected_;
  uint64_t next_ = 1;
};

}  // namespace vgpu::transport

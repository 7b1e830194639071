// Host-to-device transfers: callers copy their bytes into chunks as the window allows, the
// transport thread sends the chunks.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "transport/buffer_pool.h"
#include "transport/frame.h"

namespace vgpu::transport {

// A chunk in its final form but for the frame header, which is written when it is sent.
struct Chunk {
  std::shared_ptr<std::byte[]> buffer;
  size_t size = 0;  // kChunkPrefix included
};
// Writes `body` and `data` behind the room for the frame header.
Chunk make_chunk(BufferPool& pool, const ChunkBody& body, std::span<const std::byte> data);
Frame chunk_frame(const Chunk& chunk, const FrameHeader& header);

class BulkSender {
 public:
  BulkSender(uint32_t chunk_bytes, uint64_t window);

  // Application threads; waits while the window is full. `wake` is called when the transport thread
  // has to be woken. Returns the transfer's number, 0 if the session is lost.
  uint64_t send(std::span<const std::byte> data, const std::function<void()>& wake);

  // Transport thread.
  bool take(Chunk& chunk);
  void credit(uint64_t total);
  void set_window(uint64_t window);
  void fail();

 private:
  [[nodiscard]] bool reserve(uint64_t bytes);
  bool push(Chunk chunk);

  const uint32_t chunk_bytes_;
  std::shared_ptr<BufferPool> pool_;
  std::mutex mutex_;  // guards all below
  std::condition_variable room_;
  std::deque<Chunk> queue_;
  uint64_t window_;
  uint64_t next_ = 1;
  uint64_t reserved_ = 0;  // bytes of chunks handed to the transport thread since the beginning
  uint64_t consumed_ = 0;  // of these, consumed by the peer
  bool signalled_ = false;
  bool failed_ = false;
};

}  // namespace vgpu::transport

// A channel carries whole frames between one client process and its executor, on two lanes, in
// order within a lane. It knows nothing of records. Implementations: inproc.cc, zmq_channel.cc;
// shared memory comes later behind the same interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vgpu::transport {

enum class Lane : uint8_t { kCommand = 0, kBulk = 1 };

// Bytes of one frame. `owner` keeps alive what `data` points to, so that bulk frames are not
// copied.
struct Frame {
  std::shared_ptr<const void> owner;
  const std::byte* data = nullptr;
  size_t size = 0;

  static Frame own(std::vector<std::byte> bytes);
};

enum class ChannelState : uint8_t { kConnecting, kUp, kDown };

// All members but wake() belong to one thread at a time: the one that owns the channel.
class Channel {
 public:
  virtual ~Channel() = default;

  // Queues a frame. Never blocks: memory is bounded by the credits of the link above.
  virtual void send(Lane lane, Frame frame) = 0;
  // The next frame of a lane, if one has arrived.
  virtual std::optional<Frame> receive(Lane lane) = 0;
  // Waits until a frame is there, wake() was called, the state changed, or `timeout_ms` (-1: no
  // end).
  virtual void wait(int timeout_ms) = 0;
  // Makes the owner return from wait(). Any thread; async-signal-unsafe; cheap when nobody waits.
  virtual void wake() = 0;

  // Forgets the peer whose frame was received last on this lane, so that another may take its
  // place. Only a listening channel has more than one candidate.
  virtual void drop_peer(Lane lane) { static_cast<void>(lane); }

  [[nodiscard]] virtual ChannelState state() const = 0;
  // Why the channel is down, in one sentence that names the peer and the next step.
  [[nodiscard]] virtual std::string reason() const = 0;
  // Flushes what is queued, for at most `linger_ms`, and closes.
  virtual void close(int linger_ms) = 0;
};

}  // namespace vgpu::transport

// Callers that wait for replies. A reply is handed over once every device-to-host transfer that it
// names has landed.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "transport/client_link.h"
#include "transport/spin.h"

namespace vgpu::transport {

// What a caller gets whose call was not answered.
Reply lost_reply(std::string reason);

class ReplyTable {
 public:
  struct Waiter {
    std::atomic<uint32_t> done{0};
    Reply reply;
  };

  // Any thread: a new call number and where its reply will be put. After fail() it is done at once.
  uint32_t add(std::shared_ptr<Waiter>& waiter);
  // Spins briefly, then sleeps, until the reply is there.
  void wait(Waiter& waiter);
  // Nobody waits for this call any more.
  void remove(uint32_t call);

  // Transport thread. False when nobody asked for this reply.
  bool deliver(const wire::ReplyHeader& header, std::span<const std::byte> payload,
               uint64_t landed);
  // `landed` transfers have landed by now: hand over the replies that waited for them.
  void landed(uint64_t landed);
  void fail(const std::string& reason);

 private:
  struct Held {
    std::shared_ptr<Waiter> waiter;
    uint64_t bulk_through;
  };
  static void finish(Waiter& waiter);

  std::mutex mutex_;  // guards waiters_, next_, failed_, reason_
  std::unordered_map<uint32_t, std::shared_ptr<Waiter>> waiters_;
  uint32_t next_ = 1;
  bool failed_ = false;
  std::string reason_;
  Spinner spinner_;
  std::deque<Held> held_;  // transport thread only
};

}  // namespace vgpu::transport

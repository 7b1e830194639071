// Which call may be issued to the driver now, and which must wait for what. Pure logic, one thread.
//
// Calls arrive in program order. Each belongs to the software queue of its stream; the legacy
// stream is a barrier over the blocking streams of its context. A call whose bulk bytes have not
// arrived, or whose stream has too many operations outstanding, parks its stream only. Whatever is
// not parked is issued at once: in the usual case nothing is, and a call costs one look at an empty
// map.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "transport/server_link.h"

namespace vgpu::executor {

enum class Order : uint8_t {
  kStream,   // after what its stream was given before
  kLegacy,   // the same, on the legacy stream: a barrier over the context's blocking streams
  kContext,  // after everything that its context was given before; nothing waits for it
  kNone,     // at once, but for the resources it uses
};

// A handle that is read or written outside its stream: an event, a graph, an executable graph.
struct Resource {
  uint64_t id = 0;
  bool writes = false;
};

struct Work {
  transport::Command command;
  Order order = Order::kNone;
  uint64_t bulk = 0;         // the transfer whose bytes it consumes, 0 for none
  bool bulk_arrived = true;  // false: park until bulk_arrived(bulk)
  std::vector<Resource> uses;
  // Of a call on a legacy stream: it is a barrier over the blocking streams of all contexts.
  bool everywhere = false;
  uint64_t ticket = 0;  // set by the scheduler: names the call in finished()
};

class Scheduler {
 public:
  enum class Progress : uint8_t {
    kDone,  // issued: what depends on it may follow
    kBusy,  // goes on elsewhere: what depends on it waits for finished(work.ticket)
  };
  // Whoever really issues the calls. May call back into the scheduler.
  class Issuer {
   public:
    virtual ~Issuer() = default;
    virtual Progress issue(Work& work) = 0;
  };

  explicit Scheduler(Issuer& issuer) : issuer_(issuer) {}
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Streams are blocking unless said otherwise, which must happen before their first call.
  void set_non_blocking(uint64_t stream) { non_blocking_.insert(stream); }
  void forget_stream(uint64_t context, uint64_t stream);

  void submit(Work work);
  void bulk_arrived(uint64_t transfer);
  // A full stream issues nothing until it is not full any more.
  void set_full(uint64_t context, uint64_t stream, bool full);
  void finished(uint64_t ticket);

  // Whether an unfinished call would come before this one. For queries, which never wait.
  [[nodiscard]] bool has_to_wait(const Work& work) const;

  // Calls that have not been issued, or not finished.
  [[nodiscard]] size_t pending() const { return nodes_.size(); }
  // Nothing is in the way of any call: Work::uses need not be filled in.
  [[nodiscard]] bool clear() const { return nodes_.empty() && full_.empty(); }

 private:
  struct Node {
    Work work;
    uint32_t blockers = 0;  // unfinished calls it depends on
    bool queued = false;    // belongs to a stream's queue
    bool issued = false;
    std::vector<uint64_t> dependents;  // tickets
  };
  struct StreamKey {
    uint64_t context = 0;
    uint64_t stream = 0;
    auto operator<=>(const StreamKey&) const = default;
  };
  struct Users {
    uint64_t writer = 0;            // ticket
    std::vector<uint64_t> readers;  // tickets since the writer
  };

  static StreamKey key(const Work& work);
  [[nodiscard]] bool ready_at_once(const Work& work) const;
  void depend(Node& node, uint64_t ticket);
  void depend_on_queues(Node& node);
  void depend_on_resources(Node& node);
  void settle(uint64_t ticket);
  bool parked(Node& node);
  void run();

  Issuer& issuer_;
  uint64_t next_ticket_ = 1;
  std::unordered_map<uint64_t, Node> nodes_;         // ticket -> unfinished call
  std::map<StreamKey, uint64_t> tails_;              // last call of each stream; may be finished
  std::map<uint64_t, std::vector<uint64_t>> loose_;  // context -> unfinished calls outside queues
  uint64_t barrier_ = 0;                             // last call that is one everywhere
  std::map<uint64_t, Users> users_;                  // resource -> calls that use it
  std::map<StreamKey, std::vector<uint64_t>> full_;  // full streams and the calls they hold back
  std::multimap<uint64_t, uint64_t> bulk_waiters_;   // transfer -> ticket
  std::unordered_set<uint64_t> non_blocking_;
  std::deque<uint64_t> runnable_;
  bool running_ = false;
};

}  // namespace vgpu::executor

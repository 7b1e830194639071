// What may be issued when: queues, the legacy barrier, resources, parked streams.
#include "executor/scheduler.h"

#include <string>
#include <unordered_map>

#include "check.h"

using vgpu::executor::Order;
using vgpu::executor::Resource;
using vgpu::executor::Scheduler;
using vgpu::executor::Work;

namespace {

// Writes down the `call` numbers in the order in which they are issued.
struct Recorder : Scheduler::Issuer {
  std::string issued;
  std::unordered_map<uint32_t, uint64_t> busy;  // call -> ticket, for calls named in `slow`
  std::string slow;

  Scheduler::Progress issue(Work& work) override {
    const char name = static_cast<char>('a' + work.command.header.call);
    issued += name;
    if (slow.find(name) == std::string::npos) return Scheduler::Progress::kDone;
    busy[work.command.header.call] = work.ticket;
    return Scheduler::Progress::kBusy;
  }
};

struct Bench {
  Recorder recorder;
  Scheduler scheduler{recorder};

  void submit(char name, Order order, uint64_t stream, std::vector<Resource> uses = {},
              uint64_t bulk = 0) {
    Work work;
    work.order = order;
    work.uses = std::move(uses);
    submit(name, std::move(work), 1, stream, bulk);
  }
  void submit(char name, Work work, uint64_t context, uint64_t stream, uint64_t bulk = 0) {
    work.command.header.call = static_cast<uint32_t>(name - 'a');
    work.command.header.context = context;
    work.command.header.stream = stream;
    work.bulk = bulk;
    work.bulk_arrived = bulk == 0;
    scheduler.submit(std::move(work));
  }
  void finish(char name) {
    scheduler.finished(recorder.busy.at(static_cast<uint32_t>(name - 'a')));
  }
};

}  // namespace

TEST(what_nothing_stops_goes_at_once) {
  Bench bench;
  bench.submit('a', Order::kStream, 7);
  bench.submit('b', Order::kLegacy, 0);
  bench.submit('c', Order::kNone, 0);
  bench.submit('d', Order::kContext, 0);
  CHECK_EQ(bench.recorder.issued, "abcd");
  CHECK_EQ(bench.scheduler.pending(), 0u);
}

TEST(missing_bytes_park_one_stream) {
  Bench bench;
  bench.submit('a', Order::kStream, 7, {}, 1);
  bench.submit('b', Order::kStream, 7);
  bench.submit('c', Order::kStream, 8);
  CHECK_EQ(bench.recorder.issued, "c");
  bench.scheduler.bulk_arrived(1);
  CHECK_EQ(bench.recorder.issued, "cab");
  CHECK_EQ(bench.scheduler.pending(), 0u);
}

TEST(bytes_may_arrive_while_other_calls_are_in_the_way) {
  Bench bench;
  bench.submit('a', Order::kStream, 7, {}, 1);
  bench.submit('b', Order::kStream, 7, {}, 2);
  bench.scheduler.bulk_arrived(2);
  CHECK_EQ(bench.recorder.issued, "");
  bench.scheduler.bulk_arrived(1);
  CHECK_EQ(bench.recorder.issued, "ab");
}

TEST(the_legacy_stream_is_a_barrier_over_blocking_streams) {
  Bench bench;
  bench.scheduler.set_non_blocking(9);
  bench.submit('a', Order::kStream, 7, {}, 1);
  bench.submit('b', Order::kLegacy, 0);
  bench.submit('c', Order::kStream, 8);  // blocking: behind b
  bench.submit('d', Order::kStream, 9);  // not blocking
  CHECK_EQ(bench.recorder.issued, "d");
  bench.scheduler.bulk_arrived(1);
  CHECK_EQ(bench.recorder.issued, "dabc");
}

TEST(a_call_may_be_a_barrier_over_all_contexts) {
  Bench bench;
  bench.scheduler.set_non_blocking(9);
  const Work plain{.order = Order::kStream};
  const Work everywhere{.order = Order::kStream, .everywhere = true};
  bench.submit('a', plain, 1, 7, 1);    // waits for its bytes
  bench.submit('b', everywhere, 2, 0);  // another context's legacy stream, behind it
  bench.submit('c', plain, 1, 8);       // behind b
  bench.submit('d', plain, 3, 0);       // of a context that had no call yet
  bench.submit('e', plain, 1, 9);       // not blocking
  CHECK_EQ(bench.recorder.issued, "e");
  CHECK(bench.scheduler.has_to_wait(Work{.order = Order::kStream}));
  bench.scheduler.bulk_arrived(1);
  CHECK_EQ(bench.recorder.issued, "eabcd");
  CHECK_EQ(bench.scheduler.pending(), 0u);
}

TEST(a_non_blocking_stream_does_not_hold_the_legacy_stream) {
  Bench bench;
  bench.scheduler.set_non_blocking(9);
  bench.submit('a', Order::kStream, 9, {}, 1);
  bench.submit('b', Order::kStream, 0);  // stream 0 is the legacy stream
  CHECK_EQ(bench.recorder.issued, "b");
}

TEST(a_full_stream_parks_itself_only) {
  Bench bench;
  bench.scheduler.set_full(1, 7, true);
  bench.submit('a', Order::kStream, 7);
  bench.submit('b', Order::kStream, 7);
  bench.submit('c', Order::kStream, 8);
  bench.submit('d', Order::kNone, 7);
  CHECK_EQ(bench.recorder.issued, "cd");
  bench.scheduler.set_full(1, 7, false);
  CHECK_EQ(bench.recorder.issued, "cdab");
}

TEST(an_event_is_waited_for_after_its_record_and_destroyed_after_use) {
  Bench bench;
  bench.submit('a', Order::kStream, 7, {}, 1);
  bench.submit('b', Order::kStream, 7, {{50, true}});   // record
  bench.submit('c', Order::kStream, 8, {{50, false}});  // wait
  bench.submit('d', Order::kNone, 0, {{50, true}});     // destroy
  bench.submit('e', Order::kStream, 8);
  bench.submit('f', Order::kNone, 0, {{51, true}});  // another event
  CHECK_EQ(bench.recorder.issued, "f");
  bench.scheduler.bulk_arrived(1);
  CHECK_EQ(bench.recorder.issued.substr(0, 4), "fabc");
  CHECK_EQ(bench.scheduler.pending(), 0u);
}

TEST(a_context_call_waits_for_all_and_holds_nothing) {
  Bench bench;
  bench.submit('a', Order::kStream, 7, {}, 1);
  bench.submit('b', Order::kStream, 8, {}, 2);
  bench.submit('c', Order::kContext, 0);
  bench.submit('d', Order::kStream, 9);
  CHECK_EQ(bench.recorder.issued, "d");
  bench.scheduler.bulk_arrived(2);
  bench.scheduler.bulk_arrived(1);
  CHECK_EQ(bench.recorder.issued, "dbac");
}

TEST(a_slow_call_holds_its_stream_until_it_is_finished) {
  Bench bench;
  bench.recorder.slow = "ac";
  bench.submit('a', Order::kStream, 7);
  bench.submit('b', Order::kStream, 7);
  bench.submit('c', Order::kNone, 0);
  bench.submit('d', Order::kStream, 8);
  bench.submit('e', Order::kContext, 0);
  CHECK_EQ(bench.recorder.issued, "acd");
  bench.finish('a');
  CHECK_EQ(bench.recorder.issued, "acdb");
  bench.finish('c');
  CHECK_EQ(bench.recorder.issued, "acdbe");
  CHECK_EQ(bench.scheduler.pending(), 0u);
}

TEST(many_pending_calls_keep_their_order) {
  Bench bench;
  bench.submit('a', Order::kStream, 7, {}, 1);
  for (int i = 0; i < 20000; ++i) bench.submit('b', Order::kStream, 7);
  bench.submit('c', Order::kStream, 7);
  bench.scheduler.bulk_arrived(1);
  CHECK_EQ(bench.recorder.issued.size(), 20002u);
  CHECK_EQ(bench.recorder.issued.front(), 'a');
  CHECK_EQ(bench.recorder.issued.back(), 'c');
}

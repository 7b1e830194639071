#include "transport/client_link.h"

#include <signal.h>

#include <exception>
#include <thread>

#include "transport/client_session.h"
#include "transport/fork_guard.h"

namespace vgpu::transport {
namespace {

constexpr const char* kForked =
    "this process was forked from one that uses CUDA; start workers with the spawn method instead";

// A thread that never runs a signal handler of the application.
template <typename Body>
std::thread quiet_thread(Body body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(body));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

class ClientLinkImpl final : public ClientLink {
 public:
  ClientLinkImpl(std::unique_ptr<Channel> channel, ClientLinkOptions options)
      : session_(std::make_shared<ClientSession>(std::move(channel), std::move(options))) {
    thread_ = quiet_thread([session = session_] { session->run(); });
  }
  ~ClientLinkImpl() override {
    if (guard_.in_child()) {
      abandon();
    } else {
      close(0);
    }
  }

  bool wait_open(std::string& error) { return session_->wait_open(error); }

  bool append(wire::RecordHeader header, Batcher::Parts parts) override {
    return append(header, parts, false);
  }

  Reply call(wire::RecordHeader header, Batcher::Parts parts) override {
    if (guard_.in_child()) return lost_reply(kForked);
    std::shared_ptr<ReplyTable::Waiter> waiter;
    header.call = session_->replies.add(waiter);
    header.flags |= wire::kReplyWanted;
    if (header.call != 0 && !append(header, parts, true)) {
      session_->replies.remove(header.call);
      return lost_reply(lost() ? lost_reason() : "the record is longer than a record may be");
    }
    session_->counters.round_trips.fetch_add(1, std::memory_order_relaxed);
    session_->replies.wait(*waiter);
    return std::move(waiter->reply);
  }

  uint64_t send_bulk(const void* data, size_t size) override {
    if (guard_.in_child()) return 0;
    session_->counters.bulk_sent.fetch_add(1, std::memory_order_relaxed);
    return session_->uploads.send({static_cast<const std::byte*>(data), size},
                                  [this] { session_->wake(); });
  }
  uint64_t expect_bulk(void* destination, size_t size) override {
    return guard_.in_child() ? 0 : session_->downloads.expect(destination, size);
  }
  void forget_bulk(uint64_t transfer) override {
    if (!guard_.in_child()) session_->downloads.forget(transfer);
  }

  void flush() override {
    if (!guard_.in_child() && session_->batcher.flush()) session_->wake();
  }
  bool lost() const override { return guard_.in_child() || session_->lost(); }
  std::string lost_reason() const override {
    return guard_.in_child() ? kForked : session_->reason();
  }

  LinkStatistics statistics() const override {
    const ClientCounters& from = session_->counters;
    auto value = [](const std::atomic<uint64_t>& one) {
      return one.load(std::memory_order_relaxed);
    };
    return {value(from.records),      value(from.batches),        value(from.round_trips),
            value(from.bytes_sent),   value(from.bytes_received), value(from.bulk_sent),
            value(from.bulk_received)};
  }

  void close(int deadline_ms) override {
    if (guard_.in_child() || !thread_.joinable()) return;
    session_->ask_close(deadline_ms);
    // The thread ends by itself; a callback that hangs in it must not hang the program's exit.
    if (session_->wait_finished(std::chrono::milliseconds(deadline_ms + 1000))) {
      thread_.join();
    } else {
      thread_.detach();
    }
  }

 private:
  bool append(const wire::RecordHeader& header, Batcher::Parts parts, bool urgent) {
    if (guard_.in_child()) return false;
    const Appended done = session_->batcher.append(header, parts, urgent);
    if (done == Appended::kLost) return false;
    session_->counters.records.fetch_add(1, std::memory_order_relaxed);
    if (done == Appended::kWake) session_->wake();
    return true;
  }
  // In a forked child: locks may be held by threads that do not exist here, so nothing is released.
  void abandon() {
    new std::shared_ptr<ClientSession>(std::move(session_));
    new std::thread(std::move(thread_));
  }

  ForkGuard guard_;
  std::shared_ptr<ClientSession> session_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<ClientLink> ClientLink::open(std::unique_ptr<Channel> channel,
                                             ClientLinkOptions options, std::string& error) {
  if (channel == nullptr) return nullptr;  // `error` says why it could not be made
  try {
    auto link = std::make_unique<ClientLinkImpl>(std::move(channel), std::move(options));
    if (!link->wait_open(error)) return nullptr;
    return link;
  } catch (const std::exception& problem) {  // no memory, or no thread
    error = std::string("cannot start the transport thread: ") + problem.what();
    return nullptr;
  }
}

}  // namespace vgpu::transport

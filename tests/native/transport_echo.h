// A server end that really answers, for the transport's tests and benchmark: it echoes, counts,
// sums uploads and produces downloads.
#pragma once

#include <atomic>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "transport/client_link.h"
#include "transport/endpoints.h"
#include "transport/server_link.h"

namespace echo {

using vgpu::transport::Channel;
using vgpu::transport::ClientLink;
using vgpu::transport::ClientLinkOptions;
using vgpu::transport::Command;
using vgpu::transport::Reply;
using vgpu::transport::ServerLink;
using vgpu::transport::ServerLinkEvents;
using vgpu::transport::ServerLinkOptions;

enum Opcode : uint16_t {
  kEcho = 1,      // the payload comes back
  kCount = 2,     // async: {uint32 sequence} must follow the thread's last one
  kUpload = 3,    // {uint64 transfer}: replies with the sum of its bytes
  kDownload = 4,  // {uint64 transfer, uint64 size}: sends (transfer + i) & 0xff, then replies
  kDiscard = 6,   // {uint64 transfer}: replies once it is there
  kProduce = 7,   // {uint64 transfer, uint64 size}: sends the same zeros every time, then replies
  kSay = 8,       // the payload comes as output of stream 2, then an empty reply
  kReport = 5,    // replies {uint64 counted, uint64 out of order}
};

class Server {
 public:
  explicit Server(std::unique_ptr<Channel> channel, ServerLinkOptions options = {}) {
    ServerLinkEvents events;
    events.on_command = [this](Command command) {
      ++received;
      parked_.push_back(std::move(command));
    };
    events.allocate_bulk = [this](uint64_t transfer, uint64_t size) {
      auto& data = uploads_[transfer];
      if (spare_.size() == size + 1) data = std::move(spare_);  // warm pages, as staging has
      data.resize(size + 1);  // an empty transfer has an address too
      return data.data();
    };
    events.admit_bulk = [this](uint64_t) { return admit.load(); };
    events.on_bulk = [this](uint64_t transfer) { arrived_[transfer] = true; };
    events.on_ready = [this] { ready = true; };
    events.on_end = [this](const std::string& reason, bool was_clean) {
      end_reason = reason;
      clean = was_clean;
      ended = true;
    };
    link_ = ServerLink::create(std::move(channel), options, std::move(events));
    thread_ = std::thread([this] { run(); });
  }
  ~Server() { stop(); }
  // Ends the session from this side.
  void stop() {
    if (!thread_.joinable()) return;
    stop_ = true;
    link_->wake();
    thread_.join();
  }
  // Lets no command be executed, and no idle be reported, until it is false again.
  void hold(bool on) {
    held_ = on;
    link_->wake();
  }

  // Does nothing at all while it is true: no heartbeat either.
  void freeze(bool on) {
    frozen_ = on;
    link_->wake();
    while (on && !asleep_) std::this_thread::yield();
    asleep_ = false;
  }

  std::atomic<bool> admit{true};
  std::atomic<uint64_t> received{0}, counted{0};
  std::atomic<bool> ready{false}, ended{false}, clean{false};
  std::string end_reason;  // valid once `ended`

 private:
  void run() {
    while (!stop_ && !ended) {
      if (frozen_) {
        asleep_ = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        continue;
      }
      link_->turn(50);
      while (!held_ && !parked_.empty() && step(parked_.front())) parked_.pop_front();
      if (parked_.empty()) link_->report_idle();
    }
    link_->close(200);
    uploads_.clear();
    parked_.clear();
  }

  // False: its bytes are not there yet.
  bool step(const Command& command) {
    vgpu::wire::Reader in(command.payload);
    switch (command.header.opcode) {
      case kEcho:
        answer(command, command.payload);
        return true;
      case kSay:
        link_->output(
            2, {reinterpret_cast<const char*>(command.payload.data()), command.payload.size()});
        answer(command, {});
        return true;
      case kCount: {
        const auto sequence = in.get<uint32_t>();
        auto& last = last_[command.header.thread];
        if (sequence != last + 1) ++disorder_;
        last = sequence;
        ++counted;
        return true;
      }
      case kUpload: {
        const auto transfer = in.get<uint64_t>();
        if (!arrived_[transfer]) return false;
        const auto& data = uploads_[transfer];
        uint64_t sum = 0;
        for (size_t i = 0; i + 1 < data.size(); ++i) sum += std::to_integer<uint64_t>(data[i]);
        uploads_.erase(transfer);
        arrived_.erase(transfer);
        answer(command, std::as_bytes(std::span(&sum, 1)));
        return true;
      }
      case kDownload: {
        const auto transfer = in.get<uint64_t>();
        const auto size = in.get<uint64_t>();
        auto data = std::make_shared<std::vector<std::byte>>(size);
        for (size_t i = 0; i < size; ++i) (*data)[i] = static_cast<std::byte>(transfer + i);
        link_->send_bulk(transfer, data, data->data(), size);
        answer(command, {}, link_->bulk_sent());
        return true;
      }
      case kDiscard: {
        const auto transfer = in.get<uint64_t>();
        if (!arrived_[transfer]) return false;
        arrived_.erase(transfer);
        spare_ = std::move(uploads_[transfer]);
        uploads_.erase(transfer);
        answer(command, {});
        return true;
      }
      case kProduce: {
        const auto transfer = in.get<uint64_t>();
        const auto size = in.get<uint64_t>();
        if (!produced_ || produced_->size() != size) {
          produced_ = std::make_shared<std::vector<std::byte>>(size);
        }
        link_->send_bulk(transfer, produced_, produced_->data(), size);
        answer(command, {}, link_->bulk_sent());
        return true;
      }
      case kReport: {
        const uint64_t report[2] = {counted, disorder_};
        answer(command, std::as_bytes(std::span(report)));
        return true;
      }
      default:
        answer(command, {});
        return true;
    }
  }

  void answer(const Command& command, std::span<const std::byte> payload, uint64_t bulk = 0) {
    if ((command.header.flags & vgpu::wire::kReplyWanted) == 0) return;
    vgpu::wire::ReplyHeader header{};
    header.call = command.header.call;
    header.bulk_through = bulk;
    link_->reply(header, payload);
  }

  std::unique_ptr<ServerLink> link_;
  std::thread thread_;
  std::atomic<bool> stop_{false}, held_{false}, frozen_{false}, asleep_{false};
  std::deque<Command> parked_;
  std::map<uint64_t, std::vector<std::byte>> uploads_;
  std::map<uint64_t, bool> arrived_;
  std::map<uint32_t, uint32_t> last_;
  std::vector<std::byte> spare_;
  std::shared_ptr<std::vector<std::byte>> produced_;
  uint64_t disorder_ = 0;
};

// Calls as the stub makes them.
template <typename... Parts>
Reply call(ClientLink& link, Opcode opcode, const Parts&... parts) {
  const std::vector<std::span<const std::byte>> list = {std::as_bytes(std::span(&parts, 1))...};
  vgpu::wire::RecordHeader header{};
  header.opcode = opcode;
  return link.call(header, list);
}
inline bool count(ClientLink& link, uint32_t thread, uint32_t sequence) {
  const std::span<const std::byte> list[] = {std::as_bytes(std::span(&sequence, 1))};
  vgpu::wire::RecordHeader header{};
  header.opcode = kCount;
  header.thread = thread;
  return link.append(header, list);
}
// True when the server saw exactly these bytes.
inline bool upload(ClientLink& link, const std::vector<std::byte>& data) {
  uint64_t sum = 0;
  for (auto byte : data) sum += std::to_integer<uint64_t>(byte);
  const uint64_t transfer = link.send_bulk(data.data(), data.size());
  Reply reply = call(link, kUpload, transfer);
  return reply.delivered && reply.reader().get<uint64_t>() == sum;
}
// True when the destination holds exactly what the server produced.
inline bool download(ClientLink& link, size_t size) {
  std::vector<std::byte> data(size);
  const uint64_t transfer = link.expect_bulk(data.data(), size);
  const uint64_t wanted = size;
  if (!call(link, kDownload, transfer, wanted).delivered) return false;
  for (size_t i = 0; i < size; ++i) {
    if (data[i] != static_cast<std::byte>(transfer + i)) return false;
  }
  return true;
}
// Waits at most `ms` for a condition that another thread makes true.
template <typename Condition>
bool eventually(Condition condition, int ms = 5000) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace echo

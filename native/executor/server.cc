#include "executor/server.h"

#include <chrono>
#include <utility>

#include "executor/log.h"
#include "generated/executor_api.h"

namespace vgpu::executor {
namespace {

constexpr int kTurnMs = 1000;
constexpr auto kReportEvery = std::chrono::seconds(10);

Order order_of(CallOrder order) {
  switch (order) {
    case CallOrder::kStream:
      return Order::kStream;
    case CallOrder::kLegacy:
      return Order::kLegacy;
    case CallOrder::kContext:
      return Order::kContext;
    case CallOrder::kNone:
      break;
  }
  return Order::kNone;
}

bool is_launch(Opcode opcode) {
  return opcode == Opcode::cuLaunchKernel || opcode == Opcode::cuLaunchKernelEx ||
         opcode == Opcode::cuLaunchCooperativeKernel || opcode == Opcode::cuGraphLaunch;
}

bool is_query(Opcode opcode) {
  return opcode == Opcode::cuStreamQuery || opcode == Opcode::cuEventQuery;
}

}  // namespace

Server::Server(const SessionOptions& session, std::unique_ptr<transport::Channel> channel,
               const transport::ServerLinkOptions& options, ServerEvents events)
    : events_(std::move(events)), session_(session), scheduler_(*this) {
  transport::ServerLinkEvents link;
  link.on_command = [this](Command command) { on_command(std::move(command)); };
  link.allocate_bulk = [this](uint64_t transfer, uint64_t size) {
    return on_allocate(transfer, size);
  };
  link.on_bulk = [this](uint64_t transfer) { on_bulk(transfer); };
  link.on_ready = [this] {
    if (events_.began) events_.began();
  };
  link.on_end = [this](const std::string& reason, bool clean) { end(reason, clean); };
  link_ = transport::ServerLink::create(std::move(channel), options, std::move(link));
  session_.link_ = link_.get();
  session_.scheduler_ = &scheduler_;
  session_.completions_.attach(&scheduler_);
  session_.inbox_.set_wake([this] { link_->wake(); });
}

Server::~Server() {
  session_.inbox_.set_wake(nullptr);
  session_.link_ = nullptr;
}

void Server::run() {
  auto last_report = std::chrono::steady_clock::now();
  bool polling = false;
  while (!ended_) {
    link_->turn(polling ? 0 : kTurnMs);
    session_.inbox_.run();
    polling = session_.completions_.poll();
    if (std::exchange(received_, false) && !ended_) link_->report_idle();
    const auto now = std::chrono::steady_clock::now();
    if (now - last_report < kReportEvery) continue;
    last_report = now;
    session_.send_output();  // a client that never waits
    if (events_.report) events_.report(session_.statistics());
  }
  if (events_.report) events_.report(session_.statistics());
  session_.host_calls().close();  // host nodes that still run must not wait for a client
  link_->close(clean_ ? 0 : 200);
  session_.link_ = nullptr;
}

void Server::stop(const std::string& reason) {
  session_.inbox_.post([this, reason] { end(reason, false); });
}

void Server::end(const std::string& reason, bool clean) {
  if (ended_) return;
  ended_ = true;
  reason_ = reason;
  clean_ = clean;
}

void Server::on_command(Command command) {
  if (ended_) return;
  received_ = true;
  session_.statistics_.records.fetch_add(1, std::memory_order_relaxed);
  const auto opcode = static_cast<Opcode>(command.header.opcode);
  const CallInfo* info = call_info(opcode);
  if (info == nullptr || !info->on_wire) {
    refuse(command, "is no call that this executor serves", CUDA_ERROR_NOT_SUPPORTED);
    return;
  }
  command.header.flags &= static_cast<uint16_t>(~kRetried);
  if (const uint64_t context = subject_context(command); context != 0) {
    command.header.context = context;
  }
  const bool has_bulk = (command.header.flags & wire::kHasBulk) != 0;
  if (has_bulk && command.payload.size() < sizeof(uint64_t)) {
    end(std::string("malformed record from the client: ") + info->name, false);
    return;
  }
  Work work;
  work.order = order_of(info->order);
  work.bulk = has_bulk ? inbound_transfer(command) : 0;
  work.bulk_arrived = work.bulk == 0 || bulk_complete_.contains(work.bulk);
  if (info->blocking || !work.bulk_arrived || !scheduler_.clear()) {
    work.uses = resources(opcode, command.payload);
    work.everywhere = session_.contexts().device_count() > 1 && may_cross_devices(command);
  }
  if (opcode == Opcode::cuGraphLaunch) add_graph_resources(session_, command, work.uses);
  work.command = std::move(command);
  if (is_query(opcode) && scheduler_.has_to_wait(work)) {  // what it asks about is not even issued
    session_.reap();
    session_.reply(work.command, CUDA_ERROR_NOT_READY);
    return;
  }
  scheduler_.submit(std::move(work));
}

std::byte* Server::on_allocate(uint64_t transfer, uint64_t size) {
  const std::lock_guard lock(session_.bulk_mutex_);
  if (transfer == 0 || session_.bulk_.contains(transfer)) return nullptr;
  auto buffer = session_.staging_->get(size);
  if (buffer == nullptr) return nullptr;
  std::byte* data = buffer->data;
  session_.bulk_[transfer] = std::move(buffer);
  return data;
}

void Server::on_bulk(uint64_t transfer) {
  {
    const std::lock_guard lock(session_.bulk_mutex_);
    const auto it = session_.bulk_.find(transfer);
    if (it == session_.bulk_.end()) return;
    session_.statistics_.bytes_in += it->second->size;
  }
  bulk_complete_.insert(transfer);
  scheduler_.bulk_arrived(transfer);
}

void Server::refuse(const Command& command, const char* why, CUresult result) {
  if (refused_.insert(command.header.opcode).second) {
    log(LogLevel::kWarning, "%s (opcode 0x%04x) %s",
        call_name(static_cast<Opcode>(command.header.opcode)), command.header.opcode, why);
  }
  if ((command.header.flags & wire::kReplyWanted) != 0) {
    session_.reply(command, result);
  } else {
    session_.late_error(command.header.opcode, result);
  }
}

Scheduler::Progress Server::issue(Work& work) {
  const Command& command = work.command;
  const auto opcode = static_cast<Opcode>(command.header.opcode);
  const CallInfo& info = *call_info(opcode);
  if (work.bulk != 0) bulk_complete_.erase(work.bulk);
  if (info.blocking) return issue_slow(work, info);
  session_.current_ticket_ = work.ticket;
  session_.held_back_ = false;
  out_.clear();
  const CUresult result = handle(command, out_);
  const bool held_back = session_.held_back_;
  if (work.bulk != 0) drop_bulk(work.bulk);
  count(command, info);
  if (result != kDeferred) answer(command, result, out_);
  return held_back ? Scheduler::Progress::kBusy : Scheduler::Progress::kDone;
}

// What a failed call did not take.
void Server::drop_bulk(uint64_t transfer) {
  const std::lock_guard lock(session_.bulk_mutex_);
  session_.bulk_.erase(transfer);
}

// On a thread of its own when the client waits for it, else after the other slow calls.
Scheduler::Progress Server::issue_slow(const Work& work, const CallInfo& info) {
  auto job = [this, command = work.command, ticket = work.ticket, bulk = work.bulk] {
    auto out = std::make_shared<wire::Writer>();
    const CUresult result = handle(command, *out);
    session_.inbox_.post([this, command, ticket, bulk, out, result] {
      if (bulk != 0) drop_bulk(bulk);
      answer(command, result, *out);
      scheduler_.finished(ticket);
    });
  };
  if ((work.command.header.flags & wire::kReplyWanted) != 0) {
    session_.waiters_.run(std::move(job));
  } else {
    session_.waiters_.run_in_order(std::move(job));
  }
  count(work.command, info);
  return Scheduler::Progress::kBusy;
}

// Any thread. Checklist of a call: handler known, context current, payload read to the letter.
CUresult Server::handle(const Command& command, wire::Writer& out) {
  const auto opcode = static_cast<Opcode>(command.header.opcode);
  const Handler handler = find_handler(opcode);
  if (handler == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  if (!manages_contexts(opcode)) {
    const CUresult result = session_.contexts_.activate(command.header.context);
    if (result != CUDA_SUCCESS) return result;
  }
  Session::failed();
  wire::Reader in(command.payload);
  const CUresult result = handler(session_, command, in, out);
  if (log_enabled(LogLevel::kDebug)) {
    log(LogLevel::kDebug, "%s thread %u context %llx stream %llx call %u: %d", call_name(opcode),
        command.header.thread, static_cast<unsigned long long>(command.header.context),
        static_cast<unsigned long long>(command.header.stream), command.header.call,
        static_cast<int>(result));
  }
  return result;
}

// Main loop. What the device finished before this answer leaves before it.
void Server::answer(const Command& command, CUresult result, const wire::Writer& out) {
  const auto opcode = static_cast<Opcode>(command.header.opcode);
  if (result == CUDA_ERROR_NOT_SUPPORTED && refused_.insert(command.header.opcode).second) {
    log(LogLevel::kWarning, "%s is not supported here", call_name(opcode));
  }
  if ((command.header.flags & wire::kReplyWanted) == 0) {
    if (result != CUDA_SUCCESS) session_.late_error(command.header.opcode, result);
    return;
  }
  session_.reap();
  session_.reply(command, result, out.bytes());
}

void Server::count(const Command& command, const CallInfo& info) {
  if (is_launch(info.opcode)) {
    session_.statistics_.launches.fetch_add(1, std::memory_order_relaxed);
  }
  session_.statistics_.bytes_in.fetch_add(command.header.size, std::memory_order_relaxed);
  if (info.order != CallOrder::kStream || info.call_class != CallClass::kAsync) return;
  ContextState* state = session_.contexts_.current();
  if (state == nullptr || state->id != command.header.context) return;
  const auto handle = session_.handles_.find(command.header.stream);
  if (command.header.stream != 0 && !handle) return;  // just destroyed
  session_.completions_.issued(*state, command.header.stream,
                               reinterpret_cast<CUstream>(handle.value_or(0)));
}

}  // namespace vgpu::executor

#include "executor/session.h"

#include <utility>

#include "contract/sticky_errors.h"
#include "executor/log.h"
#include "generated/opcode.h"

namespace vgpu::executor {
namespace {

thread_local bool lookup_failed = false;

bool dies_with_context(wire::HandleKind kind) {
  switch (kind) {
    case wire::HandleKind::kStream:
    case wire::HandleKind::kEvent:
    case wire::HandleKind::kModule:
    case wire::HandleKind::kFunction:
    case wire::HandleKind::kGraphExec:
    case wire::HandleKind::kArray:
    case wire::HandleKind::kMipmappedArray:
      return true;
    default:
      return false;
  }
}

std::vector<CUdevice> driver_devices(const SessionOptions& options) {
  // CUdevice is the ordinal in every driver there is, but only cuDeviceGet promises it; the driver
  // listed them in that order when it was opened.
  std::vector<CUdevice> devices;
  for (const int ordinal : options.devices) devices.push_back(ordinal);
  return devices;
}

}  // namespace

Session::Session(const SessionOptions& options)
    : driver_(*options.driver),
      output_(options.output),
      contexts_(driver_.table(), driver_devices(options)),
      allocations_(options.ledger),
      completions_(driver_.table(), waiters_, inbox_),
      staging_(std::make_shared<StagingPool>(driver_.table())) {
  host_calls_.answer = [this](const Command& command, const wire::Writer& out) {
    reap();
    reply(command, CUDA_SUCCESS, out.bytes());
  };
  host_calls_.hold = [staging = std::weak_ptr(staging_)](bool held) {
    if (const auto pool = staging.lock()) pool->hold(held);
  };
  host_calls_.on_drop = [this](const HostEntry& entry, wire::HostAction farewell) {
    if (entry.kind == HostEntry::Kind::kObject) forget(entry.object);
    return entry.kind == HostEntry::Kind::kMemory ? end_graph_memory(entry) : farewell;
  };
}

// What a launch has left outlives its graph.
wire::HostAction Session::end_graph_memory(const HostEntry& entry) {
  const auto known = allocations_.find(entry.address);
  if (!known || known->graph_entry != entry.id) return wire::HostAction::kForget;
  CUdeviceptr base = 0;
  size_t size = 0;
  const bool left = contexts_.activate(entry.context) == CUDA_SUCCESS &&
                    driver().cuMemGetAddressRange_v2 != nullptr &&
                    driver().cuMemGetAddressRange_v2(&base, &size, entry.address) == CUDA_SUCCESS;
  return allocations_.graph_memory_ended(entry.address, entry.id, left)
             ? wire::HostAction::kKeepMemory
             : wire::HostAction::kForget;
}

Session::~Session() {
  host_calls_.close();
  inbox_.close();
  // Jobs hold references to this: wait for them, however long the device takes.
  while (!waiters_.drain(1000)) log(LogLevel::kInfo, "waiting for calls that sit in the driver");
}

bool Session::failed() { return std::exchange(lookup_failed, false); }

CUdevice Session::device(uint32_t ordinal) {
  CUdevice device = 0;
  if (!contexts_.device(ordinal, &device)) lookup_failed = true;
  return device;
}

uint64_t Session::resolve_kind(wire::HandleKind kind, uint64_t id) {
  const wire::HandleKind given = wire::handle_kind(id);
  if (kind == wire::HandleKind::kContext && given == kind) {
    // A primary context may be named before its first use.
    const uint64_t before = Contexts::current_id();
    ContextState* state = contexts_.find(id);
    if (state == nullptr && contexts_.activate(id) == CUDA_SUCCESS) {
      state = contexts_.find(id);
      contexts_.activate(before);
    }
    if (state != nullptr) return reinterpret_cast<uint64_t>(state->handle);
  } else if (given == kind ||
             (kind == wire::HandleKind::kFunction && given == wire::HandleKind::kKernel)) {
    if (const auto handle = handles_.find(id)) return *handle;
    if (kind == wire::HandleKind::kMemPool) return default_pool(id);
  }
  lookup_failed = true;
  return 0;
}

// The default pool of a device exists without having been created.
uint64_t Session::default_pool(uint64_t id) {
  CUdevice device = 0;
  CUmemoryPool pool = nullptr;
  const uint64_t ordinal = id - wire::default_mem_pool(0);
  if (id < wire::default_mem_pool(0) || ordinal >= contexts_.device_count() ||
      !contexts_.device(static_cast<uint32_t>(ordinal), &device) ||
      driver().cuDeviceGetDefaultMemPool == nullptr ||
      driver().cuDeviceGetDefaultMemPool(&pool, device) != CUDA_SUCCESS) {
    lookup_failed = true;
    return 0;
  }
  return reinterpret_cast<uint64_t>(pool);
}

bool Session::bind_kind(wire::HandleKind kind, uint64_t id, uint64_t handle) {
  const uint64_t context = dies_with_context(kind) ? Contexts::current_id() : 0;
  if (wire::handle_kind(id) == kind && handles_.bind(id, handle, context)) return true;
  log(LogLevel::kError, "the client gave an id that is malformed or taken: %#llx",
      static_cast<unsigned long long>(id));
  return false;
}

StagingPool::Buffer Session::take_bulk(uint64_t transfer) {
  const std::lock_guard lock(bulk_mutex_);
  const auto it = bulk_.find(transfer);
  if (it == bulk_.end()) {
    lookup_failed = true;
    return nullptr;
  }
  auto buffer = std::move(it->second);
  bulk_.erase(it);
  return buffer;
}

std::shared_ptr<const HostPlan> Session::host_plan(uint64_t exec) const {
  const std::lock_guard lock(plans_mutex_);
  const auto it = plans_.find(exec);
  return it == plans_.end() ? nullptr : it->second;
}

void Session::set_host_plan(uint64_t exec, std::shared_ptr<const HostPlan> plan) {
  const std::lock_guard lock(plans_mutex_);
  if (plan == nullptr || (plan->items.empty() && plan->events.empty())) {
    plans_.erase(exec);
  } else {
    plans_[exec] = std::move(plan);
  }
}

void Session::give_to_graph(CUgraph graph, HostEntry& entry) {
  const DriverTable& table = driver();
  if (graph == nullptr || table.cuUserObjectCreate == nullptr) return;
  CUuserObject object = nullptr;
  const auto gone = [](void* one) {
    const auto* entry = static_cast<HostEntry*>(one);
    entry->calls->drop(entry->id, wire::HostAction::kForget);
  };
  if (table.cuUserObjectCreate(&object, &entry, gone, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC) !=
      CUDA_SUCCESS) {
    return;
  }
  if (table.cuGraphRetainUserObject(graph, object, 1, CU_GRAPH_USER_OBJECT_MOVE) != CUDA_SUCCESS) {
    table.cuUserObjectRelease(object, 1);
  }
}

void Session::hold(const Command& command, std::shared_ptr<const void> owner) {
  ContextState* state = contexts_.current();
  if (state == nullptr) return;
  completions_.hold(*state, command.header.stream, stream(command.header.stream), std::move(owner));
}

void Session::after(const Command& command, Completions::Done done) {
  ContextState* state = contexts_.current();
  if (state == nullptr) {
    done(CUDA_ERROR_INVALID_CONTEXT);
    return;
  }
  completions_.after(*state, command.header.stream, stream(command.header.stream), std::move(done));
}

bool Session::capturing(const Command& command) {
  const ContextState* state = contexts_.current();
  if (state == nullptr || state->capturing == 0 || command.header.stream == 0) return false;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  driver().cuStreamIsCapturing(stream(command.header.stream), &status);
  return status != CU_STREAM_CAPTURE_STATUS_NONE;
}

void Session::send_bulk(uint64_t transfer, std::shared_ptr<const void> owner, const std::byte* data,
                        uint64_t size) {
  if (link_ == nullptr) return;
  ++bulk_sent_;
  statistics_.bytes_out += size;
  link_->send_bulk(transfer, std::move(owner), data, size);
}

CUresult Session::elsewhere(const Command& command, std::function<CUresult()> wait) {
  waiters_.run([this, command, wait = std::move(wait)] {
    CUresult result = contexts_.activate(command.header.context);
    if (result == CUDA_SUCCESS) result = wait();
    inbox_.post([this, command, result] {
      reap();
      reply(command, result);
    });
  });
  return kDeferred;
}

void Session::reply(const Command& command, CUresult result, std::span<const std::byte> payload) {
  if (link_ == nullptr) return;
  if ((command.header.flags & wire::kReplyWanted) == 0) {
    if (result != CUDA_SUCCESS) late_error(command.header.opcode, result);
    return;
  }
  wire::ReplyHeader header{};
  header.call = command.header.call;
  header.result = static_cast<int32_t>(result);
  // Threads of the stub make this call: what failed is for the program to hear.
  if (static_cast<Opcode>(command.header.opcode) != Opcode::cuStreamAddCallback) {
    header.late_error = std::exchange(late_error_, 0);
    header.late_call = std::exchange(late_call_, 0);
  }
  header.bulk_through = bulk_sent_;
  statistics_.bytes_out += payload.size();
  send_output();
  link_->reply(header, payload);
}

void Session::send_output() {
  if (output_ == nullptr || link_ == nullptr) return;
  std::string text;
  for (const int stream : {1, 2}) {
    while (output_->take(stream, wire::kMaxOutput, text)) {
      if (!link_->output(static_cast<uint32_t>(stream), text)) output_->put_back(stream, text);
    }
  }
}

void Session::late_error(uint16_t opcode, CUresult result) {
  if (!contract::is_sticky(result)) {
    ++statistics_.late_errors;
    log(LogLevel::kWarning, "%s failed after the program went on: %s",
        call_name(static_cast<Opcode>(opcode)), driver_.describe(result).c_str());
  }
  if (late_error_ != 0) return;
  late_error_ = static_cast<uint32_t>(result);
  late_call_ = opcode;
}

uint64_t Session::hold_back() {
  held_back_ = true;
  return current_ticket_;
}

void Session::let_go(uint64_t ticket) { scheduler_->finished(ticket); }

bool Session::retry_in_order(const Command& command) {
  if ((command.header.flags & kRetried) != 0 || scheduler_->pending() == 0) return false;
  Work work;
  work.command = command;
  work.command.header.flags |= kRetried;
  work.order = Order::kContext;
  // Not now: the scheduler is in the middle of this record.
  inbox_.post([this, work = std::move(work)]() mutable { scheduler_->submit(std::move(work)); });
  return true;
}

std::unique_ptr<ContextState> Session::drop_context(uint64_t id) {
  ContextState* state = contexts_.find(id);
  if (state == nullptr) return nullptr;
  CUresult result = contexts_.activate(id);
  if (result == CUDA_SUCCESS) result = driver().cuCtxSynchronize();
  completions_.reap();
  completions_.abandon(*state, result == CUDA_SUCCESS ? CUDA_ERROR_CONTEXT_IS_DESTROYED : result);
  if (contexts_.size() == 1) staging_->trim();
  handles_.forget_context(id);
  textures_.forget_context(id);
  surfaces_.forget_context(id);
  allocations_.remove_context(id);
  return contexts_.remove(id);
}

void Session::close() {
  host_calls_.close();
  waiters_.drain(2000);
  for (const uint64_t id : contexts_.ids()) {
    for (const auto& [key, one] : allocations_.all()) {
      if (one.context == id && contexts_.activate(id) == CUDA_SUCCESS) driver().cuMemFree_v2(key);
    }
    auto state = drop_context(id);
    if (state == nullptr) continue;
    if (state->primary) {
      driver().cuDevicePrimaryCtxRelease_v2(state->device);
    } else {
      driver().cuCtxDestroy_v2(state->handle);
    }
  }
}

}  // namespace vgpu::executor

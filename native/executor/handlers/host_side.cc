#include "executor/handlers/host_side.h"

#include <cstring>
#include <utility>

#include "executor/log.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {

std::shared_ptr<HostEntry> make_function_entry(Session& session, uint64_t id) {
  HostEntry entry;
  entry.id = id;
  return session.host_calls().add(std::move(entry));
}

CUresult make_copy_entry(Session& session, const wire::Copy3d& wanted, CUDA_MEMCPY3D& copy,
                         std::shared_ptr<HostEntry>& entry) {
  const bool from_host = wanted.source.memory_type == CU_MEMORYTYPE_HOST;
  const bool to_host = wanted.destination.memory_type == CU_MEMORYTYPE_HOST;
  if (!from_host && !to_host) return CUDA_SUCCESS;
  const wire::CopyEnd& end = from_host ? wanted.source : wanted.destination;
  const uint64_t size = packed_size(wanted);
  if (size == 0 || (from_host && to_host) || end.pointer == 0) return CUDA_ERROR_INVALID_VALUE;
  HostEntry made;
  made.kind = from_host ? HostEntry::Kind::kSource : HostEntry::Kind::kDestination;
  made.id = end.pointer;
  made.begin = end.pitch;
  made.end = end.pitch + end.height;
  made.staging = session.staging().get(size);
  if (made.staging == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  std::byte* data = made.staging->data;
  entry = session.host_calls().add(std::move(made));
  if (entry == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (from_host) {
    copy.srcHost = data;
    copy.srcPitch = copy.WidthInBytes;
    copy.srcHeight = copy.Height;
    copy.srcXInBytes = copy.srcY = copy.srcZ = 0;
  } else {
    copy.dstHost = data;
    copy.dstPitch = copy.WidthInBytes;
    copy.dstHeight = copy.Height;
    copy.dstXInBytes = copy.dstY = copy.dstZ = 0;
  }
  return CUDA_SUCCESS;
}

std::shared_ptr<HostEntry> make_memory_entry(Session& session, uint64_t id, uint64_t address) {
  HostEntry entry;
  entry.kind = HostEntry::Kind::kMemory;
  entry.id = id;
  entry.address = address;
  entry.context = session.context() == nullptr ? 0 : session.context()->id;
  return session.host_calls().add(std::move(entry));
}

CUgraph captured_graph(Session& session, const Command& command) {
  const auto call = session.driver().cuStreamGetCaptureInfo_v2;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  CUgraph graph = nullptr;
  if (call == nullptr) return nullptr;
  call(session.stream(command.header.stream), &status, nullptr, &graph, nullptr, nullptr);
  return status == CU_STREAM_CAPTURE_STATUS_ACTIVE ? graph : nullptr;
}

CUresult plan_instance(Session& session, uint64_t exec, CUgraph graph, wire::Writer& out) {
  std::string why;
  auto plan = make_host_plan(session, graph, why);
  out.put(plan == nullptr ? uint32_t{0} : plan->kinds());
  if (plan == nullptr) {
    log(LogLevel::kWarning, "%s is not supported", why.c_str());
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  session.set_host_plan(exec, std::move(plan));
  return CUDA_SUCCESS;
}

namespace {

// One launch on its way through the plan; main loop only.
struct Launch : std::enable_shared_from_this<Launch> {
  Launch(Session& session, const Command& command, CUgraphExec exec,
         std::shared_ptr<const HostPlan> plan)
      : session(session), command(command), exec(exec), plan(std::move(plan)) {
    this->command.payload = {};
    this->command.frame = nullptr;
  }

  Session& session;
  Command command;
  CUgraphExec exec;
  std::shared_ptr<const HostPlan> plan;
  uint64_t ticket = 0;

  void begin() {
    ticket = session.hold_back();
    session.after(command, [self = shared_from_this()](CUresult result) {
      // Not from inside the marks that are being passed.
      self->session.inbox().post([self, result] { self->read(result); });
    });
  }

 private:
  void read(CUresult result) {
    if (result != CUDA_SUCCESS) return end(result);
    auto actions = plan->before_launch();
    if (actions.empty()) return launch();
    session.host_calls().ask(std::move(actions), [self = shared_from_this()] { self->launch(); });
  }

  void launch() {
    CUresult result = session.contexts().activate(command.header.context);
    const CUstream stream = session.stream(command.header.stream);
    if (result == CUDA_SUCCESS && Session::failed()) result = CUDA_ERROR_INVALID_HANDLE;
    if (result != CUDA_SUCCESS) return end(result);
    session.host_calls().begin_run(plan);
    result = session.driver().cuGraphLaunch(exec, stream);
    if (result != CUDA_SUCCESS) return end(result);
    session.after(command, [self = shared_from_this()](CUresult result) {
      self->session.inbox().post([self, result] { self->write(result); });
    });
  }

  void write(CUresult result) {
    if (result != CUDA_SUCCESS) return end(result);
    auto actions = session.host_calls().end_run();
    if (actions.empty()) return end(CUDA_SUCCESS);
    session.host_calls().ask(std::move(actions),
                             [self = shared_from_this()] { self->end(CUDA_SUCCESS); });
  }

  void end(CUresult result) {
    session.reply(command, result);
    session.let_go(ticket);
  }
};

}  // namespace

CUresult launch_with_host(Session& session, const Command& command, CUgraphExec exec,
                          std::shared_ptr<const HostPlan> plan) {
  if (session.context() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  std::make_shared<Launch>(session, command, exec, std::move(plan))->begin();
  return kDeferred;
}

namespace {

// The bytes of a copy's host side: [offset, offset + size) of its staging memory.
std::byte* piece_of(Session& session, uint64_t id, HostEntry::Kind kind, uint64_t offset,
                    uint64_t size, StagingPool::Buffer& owner) {
  const auto entry = session.host_calls().find(id);
  if (entry == nullptr || entry->kind != kind || offset > entry->staging->size ||
      size > entry->staging->size - offset) {
    return nullptr;
  }
  owner = entry->staging;
  return owner->data + offset;
}

CUresult receive_source(Session& session, wire::Reader& in, uint64_t transfer) {
  const auto id = in.get<uint64_t>();
  const auto offset = in.get<uint64_t>();
  const auto size = in.get<uint64_t>();
  StagingPool::Buffer owner, arrived;
  const std::byte* bytes = nullptr;
  if (transfer != 0) {
    arrived = session.take_bulk(transfer);
    if (arrived != nullptr && arrived->size == size) bytes = arrived->data;
  } else {
    bytes = in.take(size).data();
  }
  Session::failed();
  if (!in.ok() || bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::byte* to = piece_of(session, id, HostEntry::Kind::kSource, offset, size, owner);
  if (to == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(to, bytes, size);
  return CUDA_SUCCESS;
}

CUresult send_destination(Session& session, wire::Reader& in, wire::Writer& out,
                          uint64_t transfer) {
  const auto id = in.get<uint64_t>();
  const auto offset = in.get<uint64_t>();
  const auto size = in.get<uint64_t>();
  if (!in.ok() || (transfer == 0 && size > wire::kMaxInline)) return CUDA_ERROR_INVALID_VALUE;
  StagingPool::Buffer owner;
  const std::byte* from = piece_of(session, id, HostEntry::Kind::kDestination, offset, size, owner);
  if (from == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (transfer != 0) {
    session.send_bulk(transfer, owner, from, size);
  } else {
    out.raw(from, size);
  }
  return CUDA_SUCCESS;
}

// An eager host function has returned.
CUresult function_returned(Session& session, uint64_t ticket) {
  const auto it = session.host_functions().find(ticket);
  if (it == session.host_functions().end()) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t held_back = it->second;
  session.host_functions().erase(it);
  session.let_go(held_back);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuStreamAddCallback(Session& session, const Command& command, wire::Reader& in,
                             wire::Writer& out) {
  const bool bulk = (command.header.flags & wire::kHasBulk) != 0;
  const auto transfer = bulk ? in.get<uint64_t>() : 0;
  const auto ticket = in.get<uint64_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (ticket != 0) return function_returned(session, ticket);
  switch (in.get<wire::HostVerb>()) {
    case wire::HostVerb::kWait: {
      const auto done = in.get<uint64_t>();
      if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
      Command parked = command;
      parked.payload = {};
      parked.frame = nullptr;
      return session.host_calls().wait(done, parked, out) ? kDeferred : CUDA_SUCCESS;
    }
    case wire::HostVerb::kSend:
      return receive_source(session, in, transfer);
    case wire::HostVerb::kFetch:
      return send_destination(session, in, out, transfer);
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

// A host function runs in the client: it is told when the stream has got there, and the stream's
// next call is issued when it says that the function has returned. Under capture it becomes a node.
CUresult cuLaunchHostFunc(Session& session, const Command& command, wire::Reader& in,
                          wire::Writer&) {
  const auto ticket = in.get<uint64_t>();
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.capturing(command)) {
    if (session.driver().cuLaunchHostFunc == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
    const auto entry = make_function_entry(session, ticket);
    if (entry == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const CUresult result =
        session.driver().cuLaunchHostFunc(stream, HostCalls::run_function, entry.get());
    if (result == CUDA_SUCCESS) {
      session.give_to_graph(captured_graph(session, command), *entry);
    } else {
      session.host_calls().discard(ticket);
    }
    return result;
  }
  if (session.host_functions().contains(ticket)) return CUDA_ERROR_INVALID_VALUE;
  session.host_functions()[ticket] = session.hold_back();
  session.after(command, [&session, command](CUresult result) { session.reply(command, result); });
  return kDeferred;
}

}  // namespace vgpu::executor::handlers

#include "stub/capture.h"

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/graph_params.h"
#include "stub/log.h"
#include "stub/process.h"

namespace vgpu::stub {
namespace {

bool active(const Capture& capture) { return !capture.members.empty(); }

bool forbids(const Capture& capture, const ThreadState& thread) {
  if (capture.mode == CU_STREAM_CAPTURE_MODE_RELAXED) return false;
  if (capture.thread == thread.number) return true;
  return capture.mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
         thread.capture_mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
}

}  // namespace

CUresult check_capture_unsafe() {
  Process* process = stub::process();
  if (process == nullptr || process->active_captures.load(std::memory_order_relaxed) == 0) {
    return CUDA_SUCCESS;
  }
  const ThreadState& thread = this_thread();
  if (thread.capture_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
  CUresult result = CUDA_SUCCESS;
  const std::lock_guard lock(process->capture_mutex);
  for (const auto& capture : process->captures) {
    if (!active(*capture) || !forbids(*capture, thread)) continue;
    capture->invalidated = true;
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return result;
}

CUresult check_capture_implicit(const Stream& stream, LegacyUse use) {
  Process* process = stub::process();
  if (process->active_captures.load(std::memory_order_relaxed) == 0) return CUDA_SUCCESS;
  if (&stream != &stream.context->legacy) return CUDA_SUCCESS;
  CUresult result = CUDA_SUCCESS;
  const std::lock_guard lock(process->capture_mutex);
  for (const auto& capture : process->captures) {
    for (const auto& [member, id] : capture->members) {
      if (member->context != stream.context || !member->blocking()) continue;
      if (use == LegacyUse::kWork) capture->invalidated = true;
      result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
  }
  return result;
}

CUresult check_not_capturing(const Stream& stream) {
  Capture* capture = stream.capture.load();
  if (capture == nullptr) return CUDA_SUCCESS;
  capture->invalidated = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

Capture* begin_capture(Stream& stream, CUstreamCaptureMode mode) {
  Process& process = *stub::process();
  const std::lock_guard lock(process.capture_mutex);
  auto capture = std::make_unique<Capture>();
  capture->number = process.captures.size() + 1;
  capture->mode = mode;
  capture->thread = this_thread().number;
  capture->origin = &stream;
  capture->members.emplace_back(&stream, stream.id.load());
  stream.capture = capture.get();
  process.active_captures.fetch_add(1);
  process.captures.push_back(std::move(capture));
  return process.captures.back().get();
}

void join_capture(Capture& capture, Stream& stream) {
  const std::lock_guard lock(process()->capture_mutex);
  if (!active(capture)) return;
  stream.capture = &capture;
  capture.members.emplace_back(&stream, stream.id.load());
}

void end_capture(Capture& capture) {
  const std::lock_guard lock(process()->capture_mutex);
  for (const auto& [member, id] : capture.members) {
    if (member->id.load() == id && member->capture.load() == &capture) member->capture = nullptr;
  }
  capture.members.clear();
  process()->active_captures.fetch_sub(1);
}

}  // namespace vgpu::stub

namespace vgpu::stub::api {
namespace {

constexpr uint32_t kMaxDependencies = 4096;

struct CaptureInfo {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  cuuint64_t id = 0;
  CUgraph graph = nullptr;
};

CUstreamCaptureStatus status_of(const Stream& stream) {
  const Capture* capture = stream.capture.load();
  if (capture == nullptr) return CU_STREAM_CAPTURE_STATUS_NONE;
  return capture->invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                              : CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

CUresult find_stream(CUstream handle, Stream** stream) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *stream = resolve_stream(handle);
  if (*stream != nullptr) return CUDA_SUCCESS;
  return this_thread().current() == nullptr ? CUDA_ERROR_INVALID_CONTEXT
                                            : CUDA_ERROR_INVALID_HANDLE;
}

// What cuStreamGetCaptureInfo returns as pointers stays valid until the thread's next such call.
std::vector<CUgraphNode>& dependencies_of_thread() {
  thread_local std::vector<CUgraphNode>* nodes = new std::vector<CUgraphNode>;
  return *nodes;
}
std::vector<CUgraphEdgeData>& edges_of_thread() {
  thread_local std::vector<CUgraphEdgeData>* edges = new std::vector<CUgraphEdgeData>;
  return *edges;
}

CUresult capture_info(CUstream handle, CaptureInfo& info) {
  Stream* stream = nullptr;
  if (const CUresult result = find_stream(handle, &stream); result != CUDA_SUCCESS) return result;
  info.status = status_of(*stream);
  dependencies_of_thread().clear();
  edges_of_thread().clear();
  if (info.status != CU_STREAM_CAPTURE_STATUS_ACTIVE) {
    const Process& process = *stub::process();
    const bool legacy = stream == &stream->context->legacy;
    if (!legacy || process.active_captures == 0) return CUDA_SUCCESS;
    return check_capture_implicit(*stream, LegacyUse::kQuestion);
  }
  Call call(Opcode::cuStreamGetCaptureInfo_v2);
  call.adds_no_work();
  call.stream(stream);
  const uint64_t fresh = call.create(HandleKind::kGraph);
  const uint64_t first = process()->nodes.reserve(kMaxDependencies);
  call.put(fresh);
  call.put(first);
  call.put(kMaxDependencies);
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  info.status = static_cast<CUstreamCaptureStatus>(call.get<uint32_t>());
  info.id = call.get<uint64_t>();
  const auto graph = call.get<uint64_t>();
  info.graph = as_handle<CUgraph>(graph);
  if (graph != fresh) process()->graphs.destroy(fresh);
  const auto count = call.get<uint32_t>();
  for (uint32_t i = 0; i < count && call.reply().ok(); ++i) {
    const auto node = call.get<uint64_t>();
    process()->nodes.add(node);
    dependencies_of_thread().push_back(as_handle<CUgraphNode>(node));
  }
  const auto edges = call.get<uint32_t>();
  for (uint32_t i = 0; i < edges && call.reply().ok(); ++i) {
    edges_of_thread().push_back(call.get<CUgraphEdgeData>());
  }
  edges_of_thread().resize(dependencies_of_thread().size());
  return CUDA_SUCCESS;
}

}  // namespace

namespace {

CUresult may_capture(CUstream handle, CUstreamCaptureMode mode, Stream** stream) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (const CUresult result = find_stream(handle, stream); result != CUDA_SUCCESS) return result;
  if (*stream == &(*stream)->context->legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  return (*stream)->capture.load() != nullptr ? CUDA_ERROR_ILLEGAL_STATE : CUDA_SUCCESS;
}

}  // namespace

CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode) {
  Stream* stream = nullptr;
  if (const CUresult result = may_capture(hStream, mode, &stream); result != CUDA_SUCCESS) {
    return result;
  }
  Call call(Opcode::cuStreamBeginCapture_v2);
  call.stream(stream);
  call.put(static_cast<uint32_t>(CU_STREAM_CAPTURE_MODE_RELAXED));
  const CUresult result = call.finish();
  if (result == CUDA_SUCCESS) begin_capture(*stream, mode);
  return result;
}

CUresult cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph,
                                     const CUgraphNode* dependencies,
                                     const CUgraphEdgeData* dependencyData, size_t numDependencies,
                                     CUstreamCaptureMode mode) {
  Stream* stream = nullptr;
  if (const CUresult result = may_capture(hStream, mode, &stream); result != CUDA_SUCCESS) {
    return result;
  }
  if (!plain_edges(dependencyData, numDependencies)) {
    return unsupported("cuStreamBeginCaptureToGraph with edge data");
  }
  Call call(Opcode::cuStreamBeginCaptureToGraph);
  call.stream(stream);
  if (!call.ok()) return call.result();
  call.put(call.handle(HandleKind::kGraph, hGraph));
  put_nodes(call, dependencies, numDependencies);
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) begin_capture(*stream, mode)->into = as_id(hGraph);
  return result;
}

CUresult cuStreamBeginCapture(CUstream hStream) {
  return api::cuStreamBeginCapture_v2(hStream, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamEndCapture(CUstream hStream, CUgraph* phGraph) {
  if (phGraph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *phGraph = nullptr;
  Stream* stream = nullptr;
  if (const CUresult result = find_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  Capture* capture = stream->capture.load();
  if (capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != this_thread().number) {
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  }
  Call call(Opcode::cuStreamEndCapture);
  call.adds_no_work();
  call.stream(stream);
  const uint64_t fresh = call.create(HandleKind::kGraph);
  call.put(fresh);
  CUresult result = call.wait();
  const bool invalidated = capture->invalidated;
  const uint64_t into = capture->into;
  end_capture(*capture);
  if (result != CUDA_SUCCESS) return result;
  const auto graph = call.get<uint64_t>();
  if (graph != fresh) process()->graphs.destroy(fresh);
  if (invalidated) {
    if (graph != into) static_cast<void>(api::cuGraphDestroy(as_handle<CUgraph>(graph)));
    return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  }
  *phGraph = as_handle<CUgraph>(graph);
  return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus* captureStatus) {
  if (captureStatus == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Stream* stream = nullptr;
  if (const CUresult result = find_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  if (const CUresult result = check_capture_implicit(*stream, LegacyUse::kQuestion);
      result != CUDA_SUCCESS) {
    return result;
  }
  *captureStatus = status_of(*stream);
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                cuuint64_t* id_out) {
  return api::cuStreamGetCaptureInfo_v3(hStream, captureStatus_out, id_out, nullptr, nullptr,
                                        nullptr, nullptr);
}

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                   cuuint64_t* id_out, CUgraph* graph_out,
                                   const CUgraphNode** dependencies_out,
                                   size_t* numDependencies_out) {
  return api::cuStreamGetCaptureInfo_v3(hStream, captureStatus_out, id_out, graph_out,
                                        dependencies_out, nullptr, numDependencies_out);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                   cuuint64_t* id_out, CUgraph* graph_out,
                                   const CUgraphNode** dependencies_out,
                                   const CUgraphEdgeData** edgeData_out,
                                   size_t* numDependencies_out) {
  if (captureStatus_out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CaptureInfo info;
  const CUresult result = capture_info(hStream, info);
  if (result != CUDA_SUCCESS) return result;
  *captureStatus_out = info.status;
  if (info.status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
  if (id_out != nullptr) *id_out = info.id;
  if (graph_out != nullptr) *graph_out = info.graph;
  if (dependencies_out != nullptr) *dependencies_out = dependencies_of_thread().data();
  if (edgeData_out != nullptr) *edgeData_out = edges_of_thread().data();
  if (numDependencies_out != nullptr) *numDependencies_out = dependencies_of_thread().size();
  return CUDA_SUCCESS;
}

CUresult cuStreamUpdateCaptureDependencies(CUstream hStream, CUgraphNode* dependencies,
                                           size_t numDependencies, unsigned int flags) {
  if (dependencies == nullptr && numDependencies != 0) return CUDA_ERROR_INVALID_VALUE;
  Stream* stream = nullptr;
  if (const CUresult result = find_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  if (stream->capture.load() == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  Call call(Opcode::cuStreamUpdateCaptureDependencies);
  call.adds_no_work();
  call.stream(stream);
  call.put(static_cast<uint32_t>(numDependencies));
  for (size_t i = 0; i < numDependencies; ++i) {
    call.put(call.handle(HandleKind::kGraphNode, dependencies[i]));
  }
  call.put(flags);
  return call.wait();
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream hStream, CUgraphNode* dependencies,
                                              const CUgraphEdgeData* dependencyData,
                                              size_t numDependencies, unsigned int flags) {
  if (!plain_edges(dependencyData, numDependencies)) {
    return unsupported("cuStreamUpdateCaptureDependencies_v2 with edge data");
  }
  return api::cuStreamUpdateCaptureDependencies(hStream, dependencies, numDependencies, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (mode == nullptr || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL ||
      *mode > CU_STREAM_CAPTURE_MODE_RELAXED) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::swap(*mode, this_thread().capture_mode);
  return CUDA_SUCCESS;
}

}  // namespace vgpu::stub::api

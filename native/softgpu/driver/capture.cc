// Stream capture: operations of capturing streams become nodes of a graph instead of work.
#include <algorithm>
#include <atomic>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/operation.h"

namespace vgpu::softgpu {
namespace {

std::atomic<int> captures{0};  // running captures of the process
thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

struct Running {
  std::vector<std::shared_ptr<Capture>> list;  // guarded by capture_mutex()
};
Running& running() {
  static auto* one = new Running;
  return *one;
}

void add_unique(std::vector<std::shared_ptr<Node>>& list, const std::shared_ptr<Node>& node) {
  if (std::find(list.begin(), list.end(), node) == list.end()) list.push_back(node);
}

void leave(Stream& stream) {
  stream.capture = nullptr;
  stream.tail.clear();
}

// Whether every node of `tails` is reached from `end`. Requires capture_mutex().
bool all_reach(const std::vector<std::shared_ptr<Node>>& tails,
               const std::vector<std::shared_ptr<Node>>& end) {
  std::set<const Node*> seen;
  std::vector<const Node*> open;
  for (const auto& node : end) open.push_back(node.get());
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!seen.insert(node).second) continue;
    for (const auto& before : node->after) open.push_back(before.get());
  }
  return std::all_of(tails.begin(), tails.end(),
                     [&](const auto& node) { return seen.contains(node.get()); });
}

}  // namespace

std::recursive_mutex& capture_mutex() {
  static auto* mutex = new std::recursive_mutex;
  return *mutex;
}

bool any_capture() { return captures.load(std::memory_order_acquire) != 0; }

CUresult check_unsafe_call() {
  if (!any_capture() || thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
  const std::lock_guard lock(capture_mutex());
  CUresult result = CUDA_SUCCESS;
  for (const auto& capture : running().list) {
    const bool mine = capture->thread == std::this_thread::get_id();
    const bool forbids = capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL
                             ? mine || thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL
                             : capture->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && mine;
    if (!forbids) continue;
    capture->invalidated = true;
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return result;
}

CUresult check_legacy(const Stream& stream, LegacyUse use) {
  if (!any_capture() || &stream != stream.context->legacy.get()) return CUDA_SUCCESS;
  const std::lock_guard lock(capture_mutex());
  CUresult result = CUDA_SUCCESS;
  for (const auto& capture : running().list) {
    for (const auto& one : capture->streams) {
      const auto other = one.lock();
      if (!other || !other->blocking() || other->context != stream.context) continue;
      if (other->capture != capture) continue;
      if (use == LegacyUse::kWork) capture->invalidated = true;
      result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
  }
  return result;
}

CUresult capture_operation(Stream& stream, Operation operation) {
  if (stream.capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  stream.tail = {add_node(*stream.capture->graph, std::move(operation), stream.tail)};
  return CUDA_SUCCESS;
}

CUresult capture_record(Stream& stream, Event& event) {
  const std::lock_guard lock(capture_mutex());
  if (!stream.capture) return CUDA_ERROR_UNKNOWN;
  if (stream.capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  const std::lock_guard event_lock(event.mutex);
  event.capture = stream.capture;
  event.captured_tail = stream.tail;
  return CUDA_SUCCESS;
}

CUresult capture_wait(const std::shared_ptr<Stream>& stream, Event& event) {
  const std::lock_guard lock(capture_mutex());
  const std::lock_guard event_lock(event.mutex);
  const auto capture = event.capture;
  if (!capture) return CUDA_ERROR_UNKNOWN;
  if (capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  const auto& list = running().list;
  if (std::find(list.begin(), list.end(), capture) == list.end()) return CUDA_ERROR_CAPTURED_EVENT;
  if (stream == stream->context->legacy) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  if (!stream->capture) {
    stream->capture = capture;
    stream->tail.clear();
    capture->streams.push_back(stream);
  } else if (stream->capture != capture) {
    stream->capture->invalidated = capture->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  }
  for (const auto& node : event.captured_tail) add_unique(stream->tail, node);
  return CUDA_SUCCESS;
}

namespace api {
namespace {

CUresult lookup(CUstream handle, std::shared_ptr<Stream>& stream) {
  const Current current;
  if (!current) return current.error();
  stream = find_stream(current.shared(), handle);
  return stream ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult begin(CUstream handle, CUstreamCaptureMode mode, const std::shared_ptr<Graph>& graph,
               std::vector<std::shared_ptr<Node>> tail) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (stream == stream->context->legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  const std::lock_guard lock(capture_mutex());
  if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
  auto capture = std::make_shared<Capture>();
  capture->number = driver().serial++;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->graph = graph ? graph : make_graph();
  capture->own_graph = graph == nullptr;
  capture->origin = stream.get();
  capture->streams.push_back(stream);
  stream->capture = capture;
  stream->tail = std::move(tail);
  running().list.push_back(capture);
  ++captures;
  return CUDA_SUCCESS;
}

// Where the handles of the dependencies stay until the next query of this thread. Never freed: a
// thread-local object with a destructor would die before the last calls of exit handlers.
struct Dependencies {
  std::vector<CUgraphNode> handles;
  std::vector<CUgraphEdgeData> edges;
};
Dependencies& dependencies_of_thread() {
  static thread_local Dependencies* one = nullptr;
  if (one == nullptr) one = new Dependencies;
  return *one;
}

struct Info {
  CUstreamCaptureStatus* status;
  cuuint64_t* id;
  CUgraph* graph;
  const CUgraphNode** dependencies;
  const CUgraphEdgeData** edges;
  size_t* count;
};
CUresult info(CUstream handle, const Info& out) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (out.status == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out.status = CU_STREAM_CAPTURE_STATUS_NONE;
  if (const CUresult result = check_legacy(*stream, LegacyUse::kQuestion)) return result;
  if (!any_capture()) return CUDA_SUCCESS;
  const std::lock_guard lock(capture_mutex());
  if (!stream->capture) return CUDA_SUCCESS;
  const Capture& capture = *stream->capture;
  *out.status =
      capture.invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  if (capture.invalidated) return CUDA_SUCCESS;
  if (out.id != nullptr) *out.id = capture.number;
  if (out.graph != nullptr) *out.graph = as_handle<CUgraph>(capture.graph->id);
  auto& [handles, edges] = dependencies_of_thread();
  handles.clear();
  for (const auto& node : stream->tail) {
    handles.push_back(as_handle<CUgraphNode>(node->id));
  }
  edges.assign(stream->tail.size(), CUgraphEdgeData{});
  if (out.dependencies != nullptr) *out.dependencies = handles.data();
  if (out.edges != nullptr) *out.edges = edges.data();
  if (out.count != nullptr) *out.count = handles.size();
  return CUDA_SUCCESS;
}

CUresult update(CUstream handle, CUgraphNode* nodes, size_t count, unsigned flags) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (count != 0 && nodes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(capture_mutex());
  if (!stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
  if (stream->capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  std::vector<std::shared_ptr<Node>> list;
  for (size_t i = 0; i < count; ++i) {
    auto node = driver().nodes.find(nodes[i]);
    if (!node || node->graph.lock() != stream->capture->graph) return CUDA_ERROR_INVALID_VALUE;
    list.push_back(std::move(node));
  }
  if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES) stream->tail.clear();
  for (const auto& node : list) add_unique(stream->tail, node);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuStreamBeginCapture(CUstream stream) {
  return begin(stream, CU_STREAM_CAPTURE_MODE_GLOBAL, nullptr, {});
}
CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode) {
  return begin(stream, mode, nullptr, {});
}
CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph handle,
                                     const CUgraphNode* dependencies, const CUgraphEdgeData* edges,
                                     size_t count, CUstreamCaptureMode mode) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (const CUresult result = check_edges(edges, count)) return result;
  const auto graph = driver().graphs.find(handle);
  if (!graph || (count != 0 && dependencies == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::shared_ptr<Node>> tail;
  for (size_t i = 0; i < count; ++i) {
    auto node = driver().nodes.find(dependencies[i]);
    if (!node || node->graph.lock() != graph) return CUDA_ERROR_INVALID_VALUE;
    tail.push_back(std::move(node));
  }
  return begin(stream, mode, graph, std::move(tail));
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph* out) {
  std::shared_ptr<Stream> stream;
  if (const CUresult result = lookup(handle, stream)) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(capture_mutex());
  const auto capture = stream->capture;
  if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != stream.get()) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
      capture->thread != std::this_thread::get_id()) {
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  }
  CUresult result = capture->invalidated ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
  const auto end = stream->tail;
  for (const auto& one : capture->streams) {
    const auto other = one.lock();
    if (!other || other->capture != capture) continue;
    if (result == CUDA_SUCCESS && other != stream && !all_reach(other->tail, end)) {
      result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    }
    leave(*other);
  }
  std::erase(running().list, capture);
  --captures;
  *out = result == CUDA_SUCCESS ? as_handle<CUgraph>(capture->graph->id) : nullptr;
  if (result != CUDA_SUCCESS && capture->own_graph) {
    drop_nodes(*capture->graph);
    driver().graphs.remove(as_handle<void*>(capture->graph->id));
  }
  return result;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* status) {
  return info(stream, {status, nullptr, nullptr, nullptr, nullptr, nullptr});
}
CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id) {
  return info(stream, {status, id, nullptr, nullptr, nullptr, nullptr});
}
CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id,
                                   CUgraph* graph, const CUgraphNode** dependencies,
                                   size_t* count) {
  return info(stream, {status, id, graph, dependencies, nullptr, count});
}
CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id,
                                   CUgraph* graph, const CUgraphNode** dependencies,
                                   const CUgraphEdgeData** edges, size_t* count) {
  return info(stream, {status, id, graph, dependencies, edges, count});
}

CUresult cuStreamUpdateCaptureDependencies(CUstream stream, CUgraphNode* nodes, size_t count,
                                           unsigned flags) {
  return update(stream, nodes, count, flags);
}
CUresult cuStreamUpdateCaptureDependencies_v2(CUstream stream, CUgraphNode* nodes,
                                              const CUgraphEdgeData* edges, size_t count,
                                              unsigned flags) {
  if (const CUresult result = check_edges(edges, count)) return result;
  return update(stream, nodes, count, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (mode == nullptr || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL ||
      *mode > CU_STREAM_CAPTURE_MODE_RELAXED) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::swap(*mode, thread_mode);
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu

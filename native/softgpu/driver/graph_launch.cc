// Instances of graphs, and their launches.
#include <algorithm>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph.h"
#include "softgpu/driver/graph_memory.h"
#include "softgpu/driver/per_thread.h"

namespace vgpu::softgpu::api {
namespace {

// A launch that was refused: who waits for its events must not wait for ever.
void abandon_launch(const Graph& graph) {
  for (const auto& node : graph.nodes) {
    const auto* record = std::get_if<RecordOperation>(&node->operation);
    if (record != nullptr && record->completion) record->completion->complete();
    for (const auto& inner : inner_graphs(node->operation)) abandon_launch(*inner);
  }
}

bool has_event_nodes(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const auto& node) {
    const auto inner = inner_graphs(node->operation);
    return std::holds_alternative<RecordOperation>(node->operation) ||
           std::holds_alternative<WaitOperation>(node->operation) ||
           std::any_of(inner.begin(), inner.end(),
                       [](const auto& graph) { return has_event_nodes(*graph); });
  });
}

CUresult instantiate(CUgraphExec* out, CUgraph handle, unsigned flags) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  constexpr unsigned kFlags =
      CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |
      CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
  if ((flags & ~kFlags) != 0) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH) != 0) {
    return unsupported("graph launches from the device");
  }
  if (!graph->instance.expired() && has_memory_nodes(*graph)) return CUDA_ERROR_INVALID_VALUE;
  auto exec = std::make_shared<GraphExec>();
  exec->flags = flags;
  if (const CUresult result = freeze(*graph, exec->graph)) return result;
  graph->instance = exec;
  *out = as_handle<CUgraphExec>(driver().graph_execs.add(exec));
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphInstantiateWithFlags(CUgraphExec* out, CUgraph graph, unsigned long long flags) {
  return instantiate(out, graph, static_cast<unsigned>(flags));
}
CUresult cuGraphInstantiateWithParams(CUgraphExec* out, CUgraph graph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS* parameters) {
  if (parameters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = instantiate(out, graph, static_cast<unsigned>(parameters->flags));
  parameters->hErrNode_out = nullptr;
  parameters->result_out =
      result == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS : CUDA_GRAPH_INSTANTIATE_ERROR;
  if (result != CUDA_SUCCESS) return result;
  if ((parameters->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) != 0) {
    return api::cuGraphUpload(*out, parameters->hUploadStream);
  }
  return CUDA_SUCCESS;
}
CUresult cuGraphInstantiate_v2(CUgraphExec* out, CUgraph graph, CUgraphNode* error, char* log,
                               size_t size) {
  if (error != nullptr) *error = nullptr;
  if (log != nullptr && size != 0) *log = '\0';
  return instantiate(out, graph, 0);
}

CUresult cuGraphExecDestroy(CUgraphExec handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  return driver().graph_execs.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphExecGetFlags(CUgraphExec handle, cuuint64_t* flags) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto exec = driver().graph_execs.find(handle);
  if (!exec || flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = exec->flags;
  return CUDA_SUCCESS;
}

CUresult cuGraphUpload(CUgraphExec handle, CUstream stream_handle) {
  const Current current;
  if (!current) return current.error();
  if (!driver().graph_execs.find(handle)) return CUDA_ERROR_INVALID_VALUE;
  return find_stream(current.shared(), stream_handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
  const Current current;
  if (!current) return current.error();
  const auto stream = find_stream(current.shared(), stream_handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  const auto exec = driver().graph_execs.find(handle);
  if (!exec) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Graph> graph;
  {
    const std::lock_guard lock(capture_mutex());
    graph = exec->graph;
    if (stream->capture && has_memory_nodes(*graph)) {
      return unsupported("capture of a launch of a graph with memory nodes");
    }
    if (stream->capture || has_event_nodes(*graph)) {
      // Event nodes carry the completion of one launch, so each launch has its copy.
      std::shared_ptr<Graph> own;
      if (const CUresult result = freeze(*graph, own)) return result;
      graph = std::move(own);
    }
    if (!stream->capture) {
      const bool automatic = (exec->flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH) != 0;
      if (const CUresult result = claim_memory(*graph, automatic, stream)) return result;
      prepare_launch(*graph);
      submit_wait(stream, exec->last);
    }
  }
  Fence done;
  const CUresult result = issue(stream, ChildOperation{graph, !stream->capture}, &done);
  if (result != CUDA_SUCCESS) {
    abandon_launch(*graph);
    return result;
  }
  const std::lock_guard lock(capture_mutex());
  exec->last = done;
  return CUDA_SUCCESS;
}

}  // namespace vgpu::softgpu::api

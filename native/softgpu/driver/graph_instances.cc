// Child graphs, and what changes in a graph that has been instantiated.
#include <algorithm>

#include "generated/softgpu_api.h"
#include "softgpu/driver/graph_memory.h"
#include "softgpu/driver/graph_nodes.h"
#include "softgpu/driver/graph_update.h"
#include "softgpu/driver/per_thread.h"

namespace vgpu::softgpu {
namespace {

bool contains(const Graph& graph, const Graph* wanted) {
  if (&graph == wanted) return true;
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const auto& node) {
    const auto inner = inner_graphs(node->operation);
    return std::any_of(inner.begin(), inner.end(),
                       [&](const auto& one) { return contains(*one, wanted); });
  });
}

// With `move` the node takes the graph itself, which is how graphs with memory nodes get there.
CUresult add_child(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
                   CUgraph child, bool move) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> parent, inner;
  if (const CUresult result = find_graph(graph, parent)) return result;
  if (const CUresult result = find_graph(child, inner)) return result;
  if (!inner->conditionals.empty()) return CUDA_ERROR_NOT_SUPPORTED;
  if (!move) {
    if (has_memory_nodes(*inner)) return CUDA_ERROR_NOT_SUPPORTED;
    inner = clone_graph(*inner);
  } else if (inner->embedded || contains(*inner, parent.get())) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return add_node_after(out, graph, dependencies, count, ChildOperation{inner});
}

}  // namespace

CUresult add_child_graph_node(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                              size_t count, const CUDA_CHILD_GRAPH_NODE_PARAMS& given) {
  const bool move = given.ownership == CU_GRAPH_CHILD_GRAPH_OWNERSHIP_MOVE;
  if (!move && given.ownership != CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return add_child(out, graph, dependencies, count, given.graph, move);
}

namespace api {
namespace {

bool can_be_disabled(const Operation& operation) {
  return std::holds_alternative<KernelOperation>(operation) ||
         std::holds_alternative<CopyOperation>(operation) ||
         std::holds_alternative<FillOperation>(operation);
}

}  // namespace

CUresult cuGraphAddChildGraphNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                  size_t count, CUgraph child) {
  return add_child(out, graph, dependencies, count, child, false);
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode handle, CUgraph* out) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  const auto* child = operation_of<ChildOperation>(handle, node);
  if (out == nullptr || child == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = as_handle<CUgraph>(child->graph->id);
  return CUDA_SUCCESS;
}

CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec exec, CUgraphNode node, CUgraph graph) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> inner;
  if (const CUresult result = find_graph(graph, inner)) return result;
  return change_operation<ChildOperation>(exec, node, [&](ChildOperation& child) {
    std::shared_ptr<Graph> frozen;
    if (const CUresult result = freeze(*inner, frozen)) return result;
    CUgraphExecUpdateResultInfo info{};
    if (!compare_for_update(*child.graph, *frozen, info)) return CUDA_ERROR_INVALID_VALUE;
    keep_origins(*child.graph, *frozen);
    child.graph = std::move(frozen);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeFindInClone(CUgraphNode* out, CUgraphNode original, CUgraph clone) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(clone, graph)) return result;
  const auto found = out == nullptr ? nullptr : find_origin(*graph, original);
  if (!found) return CUDA_ERROR_INVALID_VALUE;
  *out = as_handle<CUgraphNode>(found->id);
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeSetEnabled(CUgraphExec exec, CUgraphNode handle, unsigned enabled) {
  return change_instance(exec, handle, [&](Node& node) {
    if (!can_be_disabled(node.operation)) return CUDA_ERROR_INVALID_VALUE;
    node.enabled = enabled != 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeGetEnabled(CUgraphExec exec_handle, CUgraphNode handle, unsigned* enabled) {
  const std::lock_guard lock(capture_mutex());
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto exec = driver().graph_execs.find(exec_handle);
  const auto node = exec && enabled != nullptr ? find_origin(*exec->graph, handle) : nullptr;
  if (!node || !can_be_disabled(node->operation)) return CUDA_ERROR_INVALID_VALUE;
  *enabled = node->enabled ? 1 : 0;
  return CUDA_SUCCESS;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec exec_handle, CUgraph handle,
                              CUgraphExecUpdateResultInfo* info) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  const auto exec = driver().graph_execs.find(exec_handle);
  if (!exec || info == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *info = {};
  std::shared_ptr<Graph> frozen;
  if (freeze(*graph, frozen) != CUDA_SUCCESS) {
    info->result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  }
  if (!compare_for_update(*exec->graph, *frozen, *info)) {
    return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  }
  keep_origins(*exec->graph, *frozen);
  exec->graph = std::move(frozen);  // a launch in flight keeps its own
  info->result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
  return CUDA_SUCCESS;
}

CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode* error,
                           CUgraphExecUpdateResult* why) {
  CUgraphExecUpdateResultInfo info{};
  const CUresult result = api::cuGraphExecUpdate_v2(exec, graph, &info);
  if (error != nullptr) *error = info.errorNode;
  if (why != nullptr) *why = info.result;
  return result;
}

}  // namespace api
}  // namespace vgpu::softgpu

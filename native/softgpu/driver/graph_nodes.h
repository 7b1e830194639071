// What the files of the node kinds share.
#pragma once

#include <cuda.h>

#include <memory>

#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph.h"

namespace vgpu::softgpu {

// The node, if it has the given kind of operation. Requires capture_mutex().
template <typename T>
T* operation_of(CUgraphNode handle, std::shared_ptr<Node>& node) {
  node = initialised() ? driver().nodes.find(handle) : nullptr;
  return node ? std::get_if<T>(&node->operation) : nullptr;
}

// What all cuGraphAdd...Node calls end with.
CUresult add_node_after(CUgraphNode* out, CUgraph handle, const CUgraphNode* dependencies,
                        size_t count, Operation operation);

// The node of an instance that was made from `handle`; children included. Requires capture_mutex().
std::shared_ptr<Node> find_origin(const Graph& graph, CUgraphNode handle);

// Gives the instance a graph in which the node made from `handle` was changed by `change(Node&)`.
// Launches in flight keep the graph they had.
template <typename Change>
CUresult change_instance(CUgraphExec exec_handle, CUgraphNode handle, Change change) {
  const std::lock_guard lock(capture_mutex());
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto exec = driver().graph_execs.find(exec_handle);
  if (!exec) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Graph> changed;
  if (const CUresult result = freeze(*exec->graph, changed)) return result;
  const auto node = find_origin(*changed, handle);
  if (!node) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = change(*node)) return result;
  exec->graph = std::move(changed);
  return CUDA_SUCCESS;
}

// The same for a node whose operation is a T: `change(T&)`.
template <typename T, typename Change>
CUresult change_operation(CUgraphExec exec, CUgraphNode handle, Change change) {
  return change_instance(exec, handle, [&](Node& node) {
    auto* operation = std::get_if<T>(&node.operation);
    return operation == nullptr ? CUDA_ERROR_INVALID_VALUE : change(*operation);
  });
}

// A kernel node's operation as its parameters say, with the attributes that `kernel` has.
CUresult fill_kernel(const CUDA_KERNEL_NODE_PARAMS& node, KernelOperation& kernel);

// cuGraphAddNode's form of two kinds of nodes.
CUresult add_child_graph_node(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                              size_t count, const CUDA_CHILD_GRAPH_NODE_PARAMS& given);
CUresult add_conditional_node(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                              size_t count, CUDA_CONDITIONAL_NODE_PARAMS& given);

}  // namespace vgpu::softgpu

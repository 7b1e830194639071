// Nodes added one by one, what they do, and how that changes.
#include "generated/softgpu_api.h"
#include "softgpu/driver/copy.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph.h"
#include "softgpu/driver/launch.h"

namespace vgpu::softgpu {
namespace api {
namespace {

using Nodes = std::vector<std::shared_ptr<Node>>;

CUresult add(CUgraphNode* out, CUgraph handle, const CUgraphNode* dependencies, size_t count,
             Operation operation) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  if (out == nullptr || (count != 0 && dependencies == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  Nodes after;
  for (size_t i = 0; i < count; ++i) {
    auto node = driver().nodes.find(dependencies[i]);
    if (!node || node->graph.lock() != graph) return CUDA_ERROR_INVALID_VALUE;
    after.push_back(std::move(node));
  }
  *out = as_handle<CUgraphNode>(add_node(*graph, std::move(operation), std::move(after))->id);
  return CUDA_SUCCESS;
}

CUresult find_context_of_graph(std::shared_ptr<Context>& context) {
  const Current current;
  if (!current) return current.error();
  context = current.shared();
  return CUDA_SUCCESS;
}

CUresult kernel_operation(const CUDA_KERNEL_NODE_PARAMS& node, KernelOperation& kernel) {
  std::shared_ptr<Context> context;
  if (const CUresult result = find_context_of_graph(context)) return result;
  if (node.func == nullptr && node.ctx != nullptr) context = find_context(node.ctx);
  if (!context || !context->active) return CUDA_ERROR_INVALID_CONTEXT;
  const CUfunction handle =
      node.func != nullptr ? node.func : reinterpret_cast<CUfunction>(node.kern);
  if (const CUresult result = find_function(context, handle, kernel.function)) return result;
  kernel.grid = {node.gridDimX, node.gridDimY, node.gridDimZ};
  kernel.block = {node.blockDimX, node.blockDimY, node.blockDimZ};
  kernel.shared_bytes = node.sharedMemBytes;
  if (const CUresult result = check_launch(kernel, context->device)) return result;
  if (const CUresult result =
          pack_parameters(*kernel.function, node.kernelParams, node.extra, kernel.parameters)) {
    return result;
  }
  return prepare_kernel(*kernel.function);
}

// The node, if it has the given kind of operation. Requires capture_mutex().
template <typename T>
T* operation_of(CUgraphNode handle, std::shared_ptr<Node>& node) {
  node = initialised() ? driver().nodes.find(handle) : nullptr;
  return node ? std::get_if<T>(&node->operation) : nullptr;
}

// Gives the instance a graph in which the node made from `handle` does `operation`. Launches in
// flight keep the graph they had.
CUresult replace(CUgraphExec exec_handle, CUgraphNode handle, Operation operation) {
  const std::lock_guard lock(capture_mutex());
  const auto exec = driver().graph_execs.find(exec_handle);
  if (!exec) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Graph> changed;
  if (const CUresult result = freeze(*exec->graph, changed)) return result;
  for (const auto& node : changed->nodes) {
    if (node->origin != reinterpret_cast<uint64_t>(handle)) continue;
    if (node->operation.index() != operation.index()) return CUDA_ERROR_INVALID_VALUE;
    node->operation = std::move(operation);
    exec->graph = std::move(changed);
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUDA_KERNEL_NODE_PARAMS kernel_parameters(Node& node) {
  auto& kernel = std::get<KernelOperation>(node.operation);
  node.parameter_pointers.clear();
  for (const auto& parameter : kernel.function->kernel().parameters) {
    node.parameter_pointers.push_back(&kernel.parameters[parameter.offset]);
  }
  CUDA_KERNEL_NODE_PARAMS out{};
  out.func = as_handle<CUfunction>(kernel.function->id);
  out.gridDimX = kernel.grid.x;
  out.gridDimY = kernel.grid.y;
  out.gridDimZ = kernel.grid.z;
  out.blockDimX = kernel.block.x;
  out.blockDimY = kernel.block.y;
  out.blockDimZ = kernel.block.z;
  out.sharedMemBytes = kernel.shared_bytes;
  out.kernelParams = node.parameter_pointers.data();
  return out;
}

}  // namespace

CUresult cuGraphAddEmptyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                             size_t count) {
  return add(out, graph, dependencies, count, EmptyOperation{});
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                 size_t count, const CUDA_KERNEL_NODE_PARAMS* node) {
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  KernelOperation kernel;
  if (const CUresult result = kernel_operation(*node, kernel)) return result;
  return add(out, graph, dependencies, count, std::move(kernel));
}

CUresult cuGraphAddMemsetNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                              size_t count, const CUDA_MEMSET_NODE_PARAMS* node, CUcontext) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_fill(*node)) return result;
  return add(out, graph, dependencies, count, FillOperation{*node});
}

CUresult cuGraphAddMemcpyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                              size_t count, const CUDA_MEMCPY3D* node, CUcontext) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CopyOperation copy;
  if (const CUresult result = box_operation(*node, copy)) return result;
  return add(out, graph, dependencies, count, std::move(copy));
}

CUresult cuGraphAddHostNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                            size_t count, const CUDA_HOST_NODE_PARAMS* node) {
  if (node == nullptr || node->fn == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, dependencies, count, HostOperation{node->fn, node->userData});
}

CUresult cuGraphAddEventRecordNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                   size_t count, CUevent handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto event = driver().events.find(handle);
  if (!event) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, dependencies, count, RecordOperation{event, {}});
}

CUresult cuGraphAddEventWaitNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                 size_t count, CUevent handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto event = driver().events.find(handle);
  if (!event) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, dependencies, count, WaitOperation{event, {}});
}

CUresult cuGraphAddChildGraphNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                  size_t count, CUgraph child) {
  std::shared_ptr<Graph> inner;
  if (const CUresult result = find_graph(child, inner)) return result;
  return add(out, graph, dependencies, count, ChildOperation{clone_graph(*inner)});
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS* out) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  if (out == nullptr || operation_of<KernelOperation>(handle, node) == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *out = kernel_parameters(*node);
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode handle, const CUDA_KERNEL_NODE_PARAMS* given) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  if (given == nullptr || operation_of<KernelOperation>(handle, node) == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  KernelOperation kernel;
  if (const CUresult result = kernel_operation(*given, kernel)) return result;
  node->operation = std::move(kernel);
  return CUDA_SUCCESS;
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS* given) {
  if (given == nullptr) return CUDA_ERROR_INVALID_VALUE;
  KernelOperation kernel;
  if (const CUresult result = kernel_operation(*given, kernel)) return result;
  return replace(exec, node, std::move(kernel));
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode handle, CUDA_MEMSET_NODE_PARAMS* out) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  const auto* fill = operation_of<FillOperation>(handle, node);
  if (out == nullptr || fill == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = fill->node;
  return CUDA_SUCCESS;
}

CUresult cuGraphMemsetNodeSetParams(CUgraphNode handle, const CUDA_MEMSET_NODE_PARAMS* given) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  auto* fill = operation_of<FillOperation>(handle, node);
  if (given == nullptr || fill == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_fill(*given)) return result;
  fill->node = *given;
  return CUDA_SUCCESS;
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMSET_NODE_PARAMS* given, CUcontext) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (given == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_fill(*given)) return result;
  return replace(exec, node, FillOperation{*given});
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode handle, CUDA_MEMCPY3D* out) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  const auto* copy = operation_of<CopyOperation>(handle, node);
  if (out == nullptr || copy == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = copy->as_given;
  return CUDA_SUCCESS;
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode handle, const CUDA_MEMCPY3D* given) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  auto* copy = operation_of<CopyOperation>(handle, node);
  if (given == nullptr || copy == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CopyOperation changed;
  if (const CUresult result = box_operation(*given, changed)) return result;
  *copy = std::move(changed);
  return CUDA_SUCCESS;
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMCPY3D* given, CUcontext) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (given == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CopyOperation changed;
  if (const CUresult result = box_operation(*given, changed)) return result;
  return replace(exec, node, std::move(changed));
}

CUresult cuGraphHostNodeGetParams(CUgraphNode handle, CUDA_HOST_NODE_PARAMS* out) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  const auto* host = operation_of<HostOperation>(handle, node);
  if (out == nullptr || host == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = {host->function, host->user};
  return CUDA_SUCCESS;
}

CUresult cuGraphHostNodeSetParams(CUgraphNode handle, const CUDA_HOST_NODE_PARAMS* given) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  auto* host = operation_of<HostOperation>(handle, node);
  if (given == nullptr || given->fn == nullptr || host == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *host = {given->fn, given->userData};
  return CUDA_SUCCESS;
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                      const CUDA_HOST_NODE_PARAMS* given) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (given == nullptr || given->fn == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return replace(exec, node, HostOperation{given->fn, given->userData});
}

CUresult cuGraphNodeSetEnabled(CUgraphExec exec_handle, CUgraphNode handle, unsigned enabled) {
  const std::lock_guard lock(capture_mutex());
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto exec = driver().graph_execs.find(exec_handle);
  if (!exec) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Graph> changed;
  if (const CUresult result = freeze(*exec->graph, changed)) return result;
  for (const auto& node : changed->nodes) {
    if (node->origin != reinterpret_cast<uint64_t>(handle)) continue;
    node->enabled = enabled != 0;
    exec->graph = std::move(changed);
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphNodeGetEnabled(CUgraphExec exec_handle, CUgraphNode handle, unsigned* enabled) {
  const std::lock_guard lock(capture_mutex());
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto exec = driver().graph_execs.find(exec_handle);
  if (!exec || enabled == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (const auto& node : exec->graph->nodes) {
    if (node->origin != reinterpret_cast<uint64_t>(handle)) continue;
    *enabled = node->enabled ? 1 : 0;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode handle, CUevent* event) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  const auto* record = operation_of<RecordOperation>(handle, node);
  if (event == nullptr || record == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *event = as_handle<CUevent>(record->event->id);
  return CUDA_SUCCESS;
}

CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode handle, CUevent* event) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  const auto* wait = operation_of<WaitOperation>(handle, node);
  if (event == nullptr || wait == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *event = as_handle<CUevent>(wait->event->id);
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu

// Nodes added one by one, what they do, and how that changes.
#include "softgpu/driver/graph_nodes.h"

#include <algorithm>

#include "generated/softgpu_api.h"
#include "softgpu/driver/copy.h"
#include "softgpu/driver/launch.h"

namespace vgpu::softgpu {

CUresult add_node_after(CUgraphNode* out, CUgraph handle, const CUgraphNode* dependencies,
                        size_t count, Operation operation) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  if (out == nullptr || (count != 0 && dependencies == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::shared_ptr<Node>> after;
  for (size_t i = 0; i < count; ++i) {
    auto node = driver().nodes.find(dependencies[i]);
    if (!node || node->graph.lock() != graph) return CUDA_ERROR_INVALID_VALUE;
    if (std::find(after.begin(), after.end(), node) != after.end()) return CUDA_ERROR_INVALID_VALUE;
    after.push_back(std::move(node));
  }
  *out = as_handle<CUgraphNode>(add_node(*graph, std::move(operation), std::move(after))->id);
  return CUDA_SUCCESS;
}

std::shared_ptr<Node> find_origin(const Graph& graph, CUgraphNode handle) {
  for (const auto& node : graph.nodes) {
    if (node->origin == reinterpret_cast<uint64_t>(handle)) return node;
    for (const auto& inner : inner_graphs(node->operation)) {
      if (auto found = find_origin(*inner, handle)) return found;
    }
  }
  return nullptr;
}

CUresult fill_kernel(const CUDA_KERNEL_NODE_PARAMS& node, KernelOperation& kernel) {
  const Current current;
  if (!current) return current.error();
  const auto context = node.ctx != nullptr ? find_context(node.ctx) : current.shared();
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

namespace api {
namespace {

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
  return add_node_after(out, graph, dependencies, count, EmptyOperation{});
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                 size_t count, const CUDA_KERNEL_NODE_PARAMS* node) {
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  KernelOperation kernel;
  if (const CUresult result = fill_kernel(*node, kernel)) return result;
  return add_node_after(out, graph, dependencies, count, std::move(kernel));
}

CUresult cuGraphAddMemsetNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                              size_t count, const CUDA_MEMSET_NODE_PARAMS* node, CUcontext) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_fill(*node)) return result;
  return add_node_after(out, graph, dependencies, count, FillOperation{*node});
}

CUresult cuGraphAddMemcpyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                              size_t count, const CUDA_MEMCPY3D* node, CUcontext) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CopyOperation copy;
  if (const CUresult result = box_operation(*node, copy)) return result;
  return add_node_after(out, graph, dependencies, count, std::move(copy));
}

CUresult cuGraphAddHostNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                            size_t count, const CUDA_HOST_NODE_PARAMS* node) {
  if (node == nullptr || node->fn == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add_node_after(out, graph, dependencies, count, HostOperation{node->fn, node->userData});
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
  auto* kernel = operation_of<KernelOperation>(handle, node);
  if (given == nullptr || kernel == nullptr) return CUDA_ERROR_INVALID_VALUE;
  KernelOperation changed = *kernel;  // its attributes stay
  if (const CUresult result = fill_kernel(*given, changed)) return result;
  *kernel = std::move(changed);
  return CUDA_SUCCESS;
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS* given) {
  if (given == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return change_operation<KernelOperation>(exec, node, [&](KernelOperation& kernel) {
    const auto before = kernel.function->module.lock();
    if (const CUresult result = fill_kernel(*given, kernel)) return result;
    const auto after = kernel.function->module.lock();
    return before && after && before->context != after->context ? CUDA_ERROR_INVALID_VALUE
                                                                : CUDA_SUCCESS;
  });
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
  return change_operation<FillOperation>(exec, node, [&](FillOperation& fill) {
    // Of a two-dimensional one only address and value may change.
    const CUDA_MEMSET_NODE_PARAMS& before = fill.node;
    if (before.height > 1 &&
        (before.width != given->width || before.height != given->height ||
         before.pitch != given->pitch || before.elementSize != given->elementSize)) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    fill.node = *given;
    return CUDA_SUCCESS;
  });
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
  return change_operation<CopyOperation>(exec, node, [&](CopyOperation& copy) {
    if (copy.as_given.srcMemoryType != given->srcMemoryType ||
        copy.as_given.dstMemoryType != given->dstMemoryType) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    copy = std::move(changed);
    return CUDA_SUCCESS;
  });
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
  return change_operation<HostOperation>(exec, node, [&](HostOperation& host) {
    host = {given->fn, given->userData};
    return CUDA_SUCCESS;
  });
}

}  // namespace api
}  // namespace vgpu::softgpu

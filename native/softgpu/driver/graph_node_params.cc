// The calls that take any kind of node.
#include <cstring>

#include "generated/softgpu_api.h"
#include "softgpu/driver/graph_nodes.h"
#include "softgpu/driver/per_thread.h"

namespace vgpu::softgpu::api {
namespace {

template <typename To, typename From>
To same_layout(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

CUDA_KERNEL_NODE_PARAMS kernel_of(const CUgraphNodeParams& node) {
  return same_layout<CUDA_KERNEL_NODE_PARAMS>(node.kernel);
}
CUDA_HOST_NODE_PARAMS host_of(const CUgraphNodeParams& node) {
  return same_layout<CUDA_HOST_NODE_PARAMS>(node.host);
}
CUDA_BATCH_MEM_OP_NODE_PARAMS values_of(const CUgraphNodeParams& node) {
  return same_layout<CUDA_BATCH_MEM_OP_NODE_PARAMS>(node.memOp);
}
// The newer form has a context behind the same fields.
CUDA_MEMSET_NODE_PARAMS memset_of(const CUgraphNodeParams& node) {
  const auto& set = node.memset;
  return {set.dst, set.pitch, set.value, set.elementSize, set.width, set.height};
}

}  // namespace

CUresult cuGraphAddNode_v2(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                           const CUgraphEdgeData* edges, size_t count, CUgraphNodeParams* node) {
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_edges(edges, count)) return result;
  switch (node->type) {
    case CU_GRAPH_NODE_TYPE_EMPTY:
      return api::cuGraphAddEmptyNode(out, graph, dependencies, count);
    case CU_GRAPH_NODE_TYPE_KERNEL: {
      const auto kernel = kernel_of(*node);
      return api::cuGraphAddKernelNode_v2(out, graph, dependencies, count, &kernel);
    }
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return api::cuGraphAddMemcpyNode(out, graph, dependencies, count, &node->memcpy.copyParams,
                                       node->memcpy.copyCtx);
    case CU_GRAPH_NODE_TYPE_MEMSET: {
      const auto set = memset_of(*node);
      return api::cuGraphAddMemsetNode(out, graph, dependencies, count, &set, node->memset.ctx);
    }
    case CU_GRAPH_NODE_TYPE_HOST: {
      const auto host = host_of(*node);
      return api::cuGraphAddHostNode(out, graph, dependencies, count, &host);
    }
    case CU_GRAPH_NODE_TYPE_GRAPH:
      return add_child_graph_node(out, graph, dependencies, count, node->graph);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return api::cuGraphAddEventRecordNode(out, graph, dependencies, count,
                                            node->eventRecord.event);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return api::cuGraphAddEventWaitNode(out, graph, dependencies, count, node->eventWait.event);
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC: {
      auto allocation = same_layout<CUDA_MEM_ALLOC_NODE_PARAMS>(node->alloc);
      const CUresult result =
          api::cuGraphAddMemAllocNode(out, graph, dependencies, count, &allocation);
      node->alloc.dptr = allocation.dptr;
      return result;
    }
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      return api::cuGraphAddMemFreeNode(out, graph, dependencies, count, node->free.dptr);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP: {
      const auto values = values_of(*node);
      return api::cuGraphAddBatchMemOpNode(out, graph, dependencies, count, &values);
    }
    case CU_GRAPH_NODE_TYPE_CONDITIONAL:
      return add_conditional_node(out, graph, dependencies, count, node->conditional);
    default:
      return unsupported("cuGraphAddNode for external semaphores");
  }
}

CUresult cuGraphAddNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                        size_t count, CUgraphNodeParams* node) {
  return api::cuGraphAddNode_v2(out, graph, dependencies, nullptr, count, node);
}

CUresult cuGraphNodeSetParams(CUgraphNode handle, CUgraphNodeParams* node) {
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  switch (node->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: {
      const auto kernel = kernel_of(*node);
      return api::cuGraphKernelNodeSetParams_v2(handle, &kernel);
    }
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return api::cuGraphMemcpyNodeSetParams(handle, &node->memcpy.copyParams);
    case CU_GRAPH_NODE_TYPE_MEMSET: {
      const auto set = memset_of(*node);
      return api::cuGraphMemsetNodeSetParams(handle, &set);
    }
    case CU_GRAPH_NODE_TYPE_HOST: {
      const auto host = host_of(*node);
      return api::cuGraphHostNodeSetParams(handle, &host);
    }
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return api::cuGraphEventRecordNodeSetEvent(handle, node->eventRecord.event);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return api::cuGraphEventWaitNodeSetEvent(handle, node->eventWait.event);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP: {
      const auto values = values_of(*node);
      return api::cuGraphBatchMemOpNodeSetParams(handle, &values);
    }
    default:
      return unsupported("cuGraphNodeSetParams for this kind of node");
  }
}

CUresult cuGraphExecNodeSetParams(CUgraphExec exec, CUgraphNode handle, CUgraphNodeParams* node) {
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  switch (node->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: {
      const auto kernel = kernel_of(*node);
      return api::cuGraphExecKernelNodeSetParams_v2(exec, handle, &kernel);
    }
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return api::cuGraphExecMemcpyNodeSetParams(exec, handle, &node->memcpy.copyParams,
                                                 node->memcpy.copyCtx);
    case CU_GRAPH_NODE_TYPE_MEMSET: {
      const auto set = memset_of(*node);
      return api::cuGraphExecMemsetNodeSetParams(exec, handle, &set, node->memset.ctx);
    }
    case CU_GRAPH_NODE_TYPE_HOST: {
      const auto host = host_of(*node);
      return api::cuGraphExecHostNodeSetParams(exec, handle, &host);
    }
    case CU_GRAPH_NODE_TYPE_GRAPH:
      return api::cuGraphExecChildGraphNodeSetParams(exec, handle, node->graph.graph);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return api::cuGraphExecEventRecordNodeSetEvent(exec, handle, node->eventRecord.event);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return api::cuGraphExecEventWaitNodeSetEvent(exec, handle, node->eventWait.event);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP: {
      const auto values = values_of(*node);
      return api::cuGraphExecBatchMemOpNodeSetParams(exec, handle, &values);
    }
    default:
      return unsupported("cuGraphExecNodeSetParams for this kind of node");
  }
}

namespace {

// The first form lacks kernel handle and context.
CUDA_KERNEL_NODE_PARAMS widened(const CUDA_KERNEL_NODE_PARAMS_v1& old) {
  CUDA_KERNEL_NODE_PARAMS now{};
  std::memcpy(&now, &old, sizeof old);
  return now;
}

}  // namespace

CUresult cuGraphAddKernelNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                              size_t count, const CUDA_KERNEL_NODE_PARAMS_v1* node) {
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto now = widened(*node);
  return api::cuGraphAddKernelNode_v2(out, graph, dependencies, count, &now);
}
CUresult cuGraphKernelNodeGetParams(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS_v1* out) {
  CUDA_KERNEL_NODE_PARAMS now{};
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = api::cuGraphKernelNodeGetParams_v2(handle, &now);
  if (result == CUDA_SUCCESS) std::memcpy(out, &now, sizeof *out);
  return result;
}
CUresult cuGraphKernelNodeSetParams(CUgraphNode handle, const CUDA_KERNEL_NODE_PARAMS_v1* node) {
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto now = widened(*node);
  return api::cuGraphKernelNodeSetParams_v2(handle, &now);
}
CUresult cuGraphExecKernelNodeSetParams(CUgraphExec exec, CUgraphNode handle,
                                        const CUDA_KERNEL_NODE_PARAMS_v1* node) {
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto now = widened(*node);
  return api::cuGraphExecKernelNodeSetParams_v2(exec, handle, &now);
}

}  // namespace vgpu::softgpu::api

#include "stub/graph_params.h"

#include <map>
#include <memory>
#include <mutex>

#include "generated/stub_api.h"
#include "stub/copy.h"
#include "stub/graph_host.h"
#include "stub/launch.h"
#include "stub/process.h"
#include "wire/calls.h"

namespace vgpu::stub {

void put_nodes(Call& call, const CUgraphNode* nodes, size_t count) {
  if (nodes == nullptr && count != 0) return call.fail(CUDA_ERROR_INVALID_VALUE);
  call.put(static_cast<uint32_t>(count));
  for (size_t i = 0; i < count; ++i) call.put(call.handle(HandleKind::kGraphNode, nodes[i]));
}

uint64_t begin_node(Call& call, CUgraph graph, const CUgraphNode* dependencies, size_t count) {
  const uint64_t id = process()->nodes.reserve(1);
  call.put(id);
  call.put(call.handle(HandleKind::kGraph, graph));
  put_nodes(call, dependencies, count);
  return id;
}

CUresult end_node(Call& call, uint64_t id, CUgraphNode* node) {
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  process()->nodes.add(id);
  *node = as_handle<CUgraphNode>(id);
  return CUDA_SUCCESS;
}

bool plain_edges(const CUgraphEdgeData* edges, size_t count) {
  for (size_t i = 0; edges != nullptr && i < count; ++i) {
    if (edges[i].from_port != 0 || edges[i].to_port != 0 || edges[i].type != 0) return false;
  }
  return true;
}

uint64_t context_id(CUcontext handle) {
  const Context* context = handle == nullptr ? this_thread().current() : process()->context(handle);
  return context == nullptr ? 0 : context->id.load();
}

NodeView& view_of(uint64_t node) {
  static std::mutex mutex;
  static auto* views = new std::map<uint64_t, std::unique_ptr<NodeView>>;
  const std::lock_guard lock(mutex);
  auto& view = (*views)[node];
  if (view == nullptr) view = std::make_unique<NodeView>();
  return *view;
}

CUresult check_memset(const CUDA_MEMSET_NODE_PARAMS& set) {
  if (set.width == 0 || set.height == 0) return CUDA_ERROR_INVALID_VALUE;
  const size_t bytes = (set.height - 1) * set.pitch + set.width * set.elementSize;
  return writable(set.dst, bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void put_memset(Call& call, CUcontext context, const CUDA_MEMSET_NODE_PARAMS& set) {
  call.put(context_id(context));
  call.put(static_cast<uint64_t>(set.dst));
  call.put(static_cast<uint64_t>(set.pitch));
  call.put(static_cast<uint32_t>(set.value));
  call.put(static_cast<uint32_t>(set.elementSize));
  call.put(static_cast<uint64_t>(set.width));
  call.put(static_cast<uint64_t>(set.height));
}

CUresult NodeWriter::put_kernel(Call& call, const CUDA_KERNEL_NODE_PARAMS_v3& node) {
  const CUfunction handle =
      node.func != nullptr ? node.func : as_handle<CUfunction>(as_id(node.kern));
  const Function* function = process()->function(handle);
  const Context* context = this_thread().current();
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const LaunchShape shape{{node.gridDimX, node.gridDimY, node.gridDimZ},
                          {node.blockDimX, node.blockDimY, node.blockDimZ},
                          node.sharedMemBytes};
  const CUresult result = check_shape(*context->device, *function, shape);
  if (result != CUDA_SUCCESS) return result;
  put_shape(call, as_id(handle), shape);
  return put_parameters(call, *function, node.kernelParams, node.extra);
}

CUresult NodeWriter::put_allocation(Call& call, const CUDA_MEM_ALLOC_NODE_PARAMS_v2& node) {
  const Device* device = process()->device(node.poolProps.location.id);
  if (node.bytesize == 0 || device == nullptr ||
      node.poolProps.location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
      node.poolProps.handleTypes != CU_MEM_HANDLE_TYPE_NONE ||
      (node.accessDescs == nullptr && node.accessDescCount != 0)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  wire::MemPoolProps props{};
  props.alloc_type = node.poolProps.allocType;
  props.location_type = node.poolProps.location.type;
  props.location_id = device->worker_ordinal;
  props.max_size = node.poolProps.maxSize;
  entry_ = add_host_entry({});
  call.put(entry_);
  call.put(props);
  call.put(static_cast<uint32_t>(node.accessDescCount));
  for (size_t i = 0; i < node.accessDescCount; ++i) {
    const CUmemAccessDesc& one = node.accessDescs[i];
    const Device* peer = process()->device(one.location.id);
    if (one.location.type != CU_MEM_LOCATION_TYPE_DEVICE || peer == nullptr) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    call.put(static_cast<uint32_t>(one.location.type));
    call.put(static_cast<int32_t>(peer->worker_ordinal));
    call.put(static_cast<uint32_t>(one.flags));
  }
  call.put(static_cast<uint64_t>(node.bytesize));
  return CUDA_SUCCESS;
}

CUresult NodeWriter::put_conditional(Call& call, const CUDA_CONDITIONAL_NODE_PARAMS& node) {
  constexpr unsigned kMost = 65536;
  if (node.size == 0 || node.size > kMost) return CUDA_ERROR_INVALID_VALUE;
  call.put(context_id(node.ctx));
  call.put(static_cast<uint64_t>(node.handle));
  call.put(static_cast<uint32_t>(node.type));
  call.put(static_cast<uint32_t>(node.size));
  for (unsigned i = 0; i < node.size; ++i) {
    Graph* body = process()->graphs.create([&](Graph& graph) {
      graph.context = call.context();
      graph.embedded = graph.conditional = true;
    });
    if (body == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    bodies_.push_back(body->id.load());
    call.put(bodies_.back());
  }
  return CUDA_SUCCESS;
}

CUresult NodeWriter::put(Call& call, const CUgraphNodeParams& node) {
  if (!call.ok()) return call.result();
  call.put(static_cast<uint32_t>(node.type));
  const auto event = [&](CUevent handle, bool recorded) {
    const uint64_t id = call.handle(HandleKind::kEvent, handle);
    call.put(id);
    if (call.ok() && recorded) process()->events.find(id)->in_graph = true;
    return call.result();
  };
  switch (node.type) {
    case CU_GRAPH_NODE_TYPE_EMPTY:
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return put_kernel(call, node.kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY: {
      wire::Copy3d copy{};
      const CUresult result = describe_graph_copy(node.memcpy.copyParams, copy);
      call.put(context_id(node.memcpy.copyCtx));
      call.put(copy);
      return result;
    }
    case CU_GRAPH_NODE_TYPE_MEMSET: {
      const auto& given = node.memset;
      const CUDA_MEMSET_NODE_PARAMS set{given.dst,         given.pitch, given.value,
                                        given.elementSize, given.width, given.height};
      put_memset(call, given.ctx, set);
      return check_memset(set);
    }
    case CU_GRAPH_NODE_TYPE_HOST:
      if (node.host.fn == nullptr) return CUDA_ERROR_INVALID_VALUE;
      entry_ = add_host_entry({.function = node.host.fn, .user = node.host.userData});
      call.put(entry_);
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_GRAPH:
      call.put(call.handle(HandleKind::kGraph, node.graph.graph));
      call.put(static_cast<uint32_t>(node.graph.ownership));
      return call.result();
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return event(node.eventRecord.event, true);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return event(node.eventWait.event, false);
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
      return put_allocation(call, node.alloc);
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      call.put(static_cast<uint64_t>(node.free.dptr));
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP: {
      constexpr unsigned kMost = 256;  // what drivers accept at once
      const auto& values = node.memOp;
      if (values.count > kMost || (values.count != 0 && values.paramArray == nullptr)) {
        return CUDA_ERROR_INVALID_VALUE;
      }
      call.put(context_id(values.ctx));
      call.array(values.paramArray, values.count, sizeof *values.paramArray);
      call.put(static_cast<uint32_t>(values.flags));
      return CUDA_SUCCESS;
    }
    case CU_GRAPH_NODE_TYPE_CONDITIONAL:
      return put_conditional(call, node.conditional);
    default:
      return unsupported("graph nodes of external semaphores");
  }
}

void NodeWriter::made(Call& call, CUgraphNodeParams& node, uint64_t id) {
  if (node.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) {
    node.alloc.dptr = call.get<uint64_t>();
    set_host_entry_address(entry_, node.alloc.dptr);
    Allocation allocation;
    allocation.base = node.alloc.dptr;
    allocation.size = node.alloc.bytesize;
    allocation.kind = AllocationKind::kGraph;
    allocation.owner = entry_;
    allocation.device = process()->device(node.alloc.poolProps.location.id);
    process()->allocations.add(allocation);
  }
  if (node.type == CU_GRAPH_NODE_TYPE_CONDITIONAL) {
    auto& graphs = view_of(id).graphs;
    graphs.clear();
    for (const uint64_t body : bodies_) graphs.push_back(as_handle<CUgraph>(body));
    node.conditional.phGraph_out = graphs.data();
  }
}

void NodeWriter::failed() {
  if (entry_ != 0) forget_host_entry(entry_);
  for (const uint64_t body : bodies_) process()->graphs.destroy(body);
}

namespace api {
namespace {

// `node` is the program's own structure when it gets something back.
CUresult add(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
             CUgraphNodeParams& node) {
  Call call(Opcode::cuGraphAddNode_v2);
  if (!call.ok()) return call.result();
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t id = begin_node(call, graph, dependencies, count);
  NodeWriter writer;
  CUresult result = writer.put(call, node);
  if (result == CUDA_SUCCESS) result = end_node(call, id, out);
  if (result == CUDA_SUCCESS) {
    writer.made(call, node, id);
  } else {
    writer.failed();
  }
  return result;
}

CUresult set(CUgraphNode handle, const CUgraphNodeParams& node) {
  Call call(Opcode::cuGraphNodeSetParams);
  if (!call.ok()) return call.result();
  call.put(call.handle(HandleKind::kGraphNode, handle));
  NodeWriter writer;
  CUresult result = writer.put(call, node);
  if (result == CUDA_SUCCESS) result = call.wait();
  if (result != CUDA_SUCCESS) writer.failed();
  return result;
}

CUresult set_in(CUgraphExec exec, CUgraphNode handle, const CUgraphNodeParams& node) {
  Call call(Opcode::cuGraphExecNodeSetParams);
  if (!call.ok()) return call.result();
  const uint64_t id = call.handle(HandleKind::kGraphExec, exec);
  call.put(id);
  call.put(call.handle(HandleKind::kGraphNode, handle));
  NodeWriter writer;
  CUresult result = writer.put(call, node);
  if (result == CUDA_SUCCESS) result = call.wait();
  if (result != CUDA_SUCCESS) writer.failed();
  return result;
}

CUgraphNodeParams of_type(CUgraphNodeType type) {
  CUgraphNodeParams node{};
  node.type = type;
  return node;
}
CUgraphNodeParams kernel_node(const CUDA_KERNEL_NODE_PARAMS& given) {
  CUgraphNodeParams node = of_type(CU_GRAPH_NODE_TYPE_KERNEL);
  static_assert(sizeof node.kernel == sizeof given);
  std::memcpy(&node.kernel, &given, sizeof given);
  return node;
}
// The first form lacks kernel handle and context.
CUgraphNodeParams kernel_node(const CUDA_KERNEL_NODE_PARAMS_v1& given) {
  CUgraphNodeParams node = of_type(CU_GRAPH_NODE_TYPE_KERNEL);
  std::memcpy(&node.kernel, &given, sizeof given);
  return node;
}
CUgraphNodeParams memcpy_node(const CUDA_MEMCPY3D& given, CUcontext context) {
  CUgraphNodeParams node = of_type(CU_GRAPH_NODE_TYPE_MEMCPY);
  node.memcpy.copyCtx = context;
  node.memcpy.copyParams = given;
  return node;
}
CUgraphNodeParams memset_node(const CUDA_MEMSET_NODE_PARAMS& given, CUcontext context) {
  CUgraphNodeParams node = of_type(CU_GRAPH_NODE_TYPE_MEMSET);
  node.memset = {given.dst,   given.pitch,  given.value, given.elementSize,
                 given.width, given.height, context};
  return node;
}
CUgraphNodeParams host_node(const CUDA_HOST_NODE_PARAMS& given) {
  CUgraphNodeParams node = of_type(CU_GRAPH_NODE_TYPE_HOST);
  node.host = {given.fn, given.userData};
  return node;
}
CUgraphNodeParams values_node(const CUDA_BATCH_MEM_OP_NODE_PARAMS& given) {
  CUgraphNodeParams node = of_type(CU_GRAPH_NODE_TYPE_BATCH_MEM_OP);
  node.memOp = {given.ctx, given.count, given.paramArray, given.flags};
  return node;
}
CUgraphNodeParams event_node(CUgraphNodeType type, CUevent event) {
  CUgraphNodeParams node = of_type(type);
  node.eventRecord.event = event;  // the same place in eventWait
  return node;
}
CUgraphNodeParams child_node(CUgraph graph) {
  CUgraphNodeParams node = of_type(CU_GRAPH_NODE_TYPE_GRAPH);
  node.graph.graph = graph;
  return node;
}

}  // namespace

CUresult cuGraphAddNode_v2(CUgraphNode* phGraphNode, CUgraph hGraph,
                           const CUgraphNode* dependencies, const CUgraphEdgeData* dependencyData,
                           size_t numDependencies, CUgraphNodeParams* nodeParams) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!plain_edges(dependencyData, numDependencies)) {
    return unsupported("cuGraphAddNode_v2 with edge data");
  }
  if (nodeParams->type == CU_GRAPH_NODE_TYPE_MEMCPY) {
    return api::cuGraphAddMemcpyNode(phGraphNode, hGraph, dependencies, numDependencies,
                                     &nodeParams->memcpy.copyParams, nodeParams->memcpy.copyCtx);
  }
  return add(phGraphNode, hGraph, dependencies, numDependencies, *nodeParams);
}
CUresult cuGraphAddNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                        size_t numDependencies, CUgraphNodeParams* nodeParams) {
  return api::cuGraphAddNode_v2(phGraphNode, hGraph, dependencies, nullptr, numDependencies,
                                nodeParams);
}
CUresult cuGraphNodeSetParams(CUgraphNode hNode, CUgraphNodeParams* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE : set(hNode, *nodeParams);
}
CUresult cuGraphExecNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                  CUgraphNodeParams* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE : set_in(hGraphExec, hNode, *nodeParams);
}

CUresult cuGraphAddKernelNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                              const CUgraphNode* dependencies, size_t numDependencies,
                              const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUDA_KERNEL_NODE_PARAMS wide{};
  std::memcpy(&wide, nodeParams, sizeof *nodeParams);
  return api::cuGraphAddKernelNode_v2(phGraphNode, hGraph, dependencies, numDependencies, &wide);
}
CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode hNode,
                                       const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE : set(hNode, kernel_node(*nodeParams));
}
CUresult cuGraphKernelNodeSetParams(CUgraphNode hNode,
                                    const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE : set(hNode, kernel_node(*nodeParams));
}
CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec hGraphExec, CUgraphNode hNode,
                                           const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE
                               : set_in(hGraphExec, hNode, kernel_node(*nodeParams));
}
CUresult cuGraphExecKernelNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE
                               : set_in(hGraphExec, hNode, kernel_node(*nodeParams));
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode hNode, const CUDA_MEMCPY3D* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE
                               : set(hNode, memcpy_node(*nodeParams, nullptr));
}
CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_MEMCPY3D* copyParams, CUcontext ctx) {
  return copyParams == nullptr ? CUDA_ERROR_INVALID_VALUE
                               : set_in(hGraphExec, hNode, memcpy_node(*copyParams, ctx));
}
CUresult cuGraphMemsetNodeSetParams(CUgraphNode hNode, const CUDA_MEMSET_NODE_PARAMS* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE
                               : set(hNode, memset_node(*nodeParams, nullptr));
}
CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_MEMSET_NODE_PARAMS* memsetParams,
                                        CUcontext ctx) {
  return memsetParams == nullptr ? CUDA_ERROR_INVALID_VALUE
                                 : set_in(hGraphExec, hNode, memset_node(*memsetParams, ctx));
}

CUresult cuGraphAddHostNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                            const CUgraphNode* dependencies, size_t numDependencies,
                            const CUDA_HOST_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUgraphNodeParams node = host_node(*nodeParams);
  return add(phGraphNode, hGraph, dependencies, numDependencies, node);
}
CUresult cuGraphHostNodeSetParams(CUgraphNode hNode, const CUDA_HOST_NODE_PARAMS* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE : set(hNode, host_node(*nodeParams));
}
CUresult cuGraphExecHostNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                      const CUDA_HOST_NODE_PARAMS* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE
                               : set_in(hGraphExec, hNode, host_node(*nodeParams));
}

CUresult cuGraphAddChildGraphNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                                  const CUgraphNode* dependencies, size_t numDependencies,
                                  CUgraph childGraph) {
  CUgraphNodeParams node = child_node(childGraph);
  return add(phGraphNode, hGraph, dependencies, numDependencies, node);
}
CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                            CUgraph childGraph) {
  return set_in(hGraphExec, hNode, child_node(childGraph));
}

CUresult cuGraphAddEventRecordNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                                   const CUgraphNode* dependencies, size_t numDependencies,
                                   CUevent event) {
  CUgraphNodeParams node = event_node(CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
  return add(phGraphNode, hGraph, dependencies, numDependencies, node);
}
CUresult cuGraphAddEventWaitNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                                 const CUgraphNode* dependencies, size_t numDependencies,
                                 CUevent event) {
  CUgraphNodeParams node = event_node(CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
  return add(phGraphNode, hGraph, dependencies, numDependencies, node);
}
CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode hNode, CUevent event) {
  return set(hNode, event_node(CU_GRAPH_NODE_TYPE_EVENT_RECORD, event));
}
CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode hNode, CUevent event) {
  return set(hNode, event_node(CU_GRAPH_NODE_TYPE_WAIT_EVENT, event));
}
CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode,
                                            CUevent event) {
  return set_in(hGraphExec, hNode, event_node(CU_GRAPH_NODE_TYPE_EVENT_RECORD, event));
}
CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode,
                                          CUevent event) {
  return set_in(hGraphExec, hNode, event_node(CU_GRAPH_NODE_TYPE_WAIT_EVENT, event));
}

CUresult cuGraphAddBatchMemOpNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                                  const CUgraphNode* dependencies, size_t numDependencies,
                                  const CUDA_BATCH_MEM_OP_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUgraphNodeParams node = values_node(*nodeParams);
  return add(phGraphNode, hGraph, dependencies, numDependencies, node);
}
CUresult cuGraphBatchMemOpNodeSetParams(CUgraphNode hNode,
                                        const CUDA_BATCH_MEM_OP_NODE_PARAMS* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE : set(hNode, values_node(*nodeParams));
}
CUresult cuGraphExecBatchMemOpNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                            const CUDA_BATCH_MEM_OP_NODE_PARAMS* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE
                               : set_in(hGraphExec, hNode, values_node(*nodeParams));
}

CUresult cuGraphAddMemAllocNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                                const CUgraphNode* dependencies, size_t numDependencies,
                                CUDA_MEM_ALLOC_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUgraphNodeParams node = of_type(CU_GRAPH_NODE_TYPE_MEM_ALLOC);
  static_assert(sizeof node.alloc == sizeof *nodeParams);
  std::memcpy(&node.alloc, nodeParams, sizeof *nodeParams);
  const CUresult result = add(phGraphNode, hGraph, dependencies, numDependencies, node);
  nodeParams->dptr = node.alloc.dptr;
  return result;
}
CUresult cuGraphAddMemFreeNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                               const CUgraphNode* dependencies, size_t numDependencies,
                               CUdeviceptr dptr) {
  CUgraphNodeParams node = of_type(CU_GRAPH_NODE_TYPE_MEM_FREE);
  node.free.dptr = dptr;
  return add(phGraphNode, hGraph, dependencies, numDependencies, node);
}

}  // namespace api
}  // namespace vgpu::stub

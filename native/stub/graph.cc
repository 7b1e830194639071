// Graphs. Ids of graphs are the client's; nodes get theirs from ranges that the client reserves.
#include <cstring>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/capture.h"
#include "stub/copy.h"
#include "stub/graph_params.h"
#include "stub/launch.h"
#include "stub/pending.h"
#include "stub/process.h"
#include "stub/shadow.h"
#include "stub/statistics.h"
#include "wire/calls.h"

namespace vgpu::stub::api {
namespace {

constexpr uint32_t kRoom = 1u << 16;

// A list of nodes under the two-call convention: a null list asks for the count.
CUresult list_nodes(Opcode opcode, HandleKind kind, uint64_t object, CUgraphNode* nodes,
                    size_t* count) {
  Call call(opcode);
  if (!call.ok()) return call.result();
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto room = nodes == nullptr ? 0u : static_cast<uint32_t>(std::min<size_t>(*count, kRoom));
  call.put(call.handle(kind, object));
  call.put(process()->nodes.reserve(room));
  call.put(room);
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  const auto total = call.get<uint64_t>();
  const auto came = std::min(call.get<uint32_t>(), room);
  for (uint32_t i = 0; i < came; ++i) {
    const auto id = call.get<uint64_t>();
    process()->nodes.add(id);
    nodes[i] = as_handle<CUgraphNode>(id);
  }
  for (size_t i = came; nodes != nullptr && i < *count; ++i) nodes[i] = nullptr;
  *count = nodes == nullptr ? total : came;
  return CUDA_SUCCESS;
}

void put_id_list(Call& call, const CUgraphNode* nodes, size_t count) {
  if (nodes == nullptr && count != 0) return call.fail(CUDA_ERROR_INVALID_VALUE);
  for (size_t i = 0; i < count; ++i) call.put(call.handle(HandleKind::kGraphNode, nodes[i]));
}

void clear_edges(CUgraphEdgeData* edges, const size_t* count) {
  if (edges != nullptr && count != nullptr) std::memset(edges, 0, *count * sizeof *edges);
}

}  // namespace

CUresult cuGraphCreate(CUgraph* phGraph, unsigned int flags) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (phGraph == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Call call(Opcode::cuGraphCreate);
  const uint64_t id = call.create(HandleKind::kGraph);
  call.put(id);
  call.put(flags);
  const CUresult result = call.finish();
  if (result == CUDA_SUCCESS) *phGraph = as_handle<CUgraph>(id);
  return result;
}

CUresult cuGraphDestroy(CUgraph hGraph) {
  Call call(Opcode::cuGraphDestroy);
  if (!call.ok()) return call.result();
  const Graph* graph = process()->graphs.find(hGraph);
  if (graph != nullptr && graph->embedded) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.destroy(HandleKind::kGraph, hGraph));
  return call.finish();
}

CUresult cuGraphClone(CUgraph* phGraphClone, CUgraph originalGraph) {
  Call call(Opcode::cuGraphClone);
  if (!call.ok()) return call.result();
  if (phGraphClone == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t id = call.create(HandleKind::kGraph);
  call.put(id);
  call.put(call.handle(HandleKind::kGraph, originalGraph));
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *phGraphClone = as_handle<CUgraph>(id);
  return result;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* phGraphExec, CUgraph hGraph,
                                     unsigned long long flags) {
  Call call(Opcode::cuGraphInstantiateWithFlags);
  if (!call.ok()) return call.result();
  if (phGraphExec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t id = call.create(HandleKind::kGraphExec);
  call.put(id);
  call.put(call.handle(HandleKind::kGraph, hGraph));
  call.put(static_cast<uint64_t>(flags));
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  GraphExec& exec = *process()->graph_execs.find(id);
  exec.flags = flags;
  exec.kinds = call.get<uint32_t>();
  *phGraphExec = as_handle<CUgraphExec>(id);
  return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithParams(CUgraphExec* phGraphExec, CUgraph hGraph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS* instantiateParams) {
  if (instantiateParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result =
      api::cuGraphInstantiateWithFlags(phGraphExec, hGraph, instantiateParams->flags);
  instantiateParams->hErrNode_out = nullptr;
  instantiateParams->result_out =
      result == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS : CUDA_GRAPH_INSTANTIATE_ERROR;
  return result;
}

CUresult cuGraphInstantiate_v2(CUgraphExec* phGraphExec, CUgraph hGraph, CUgraphNode* phErrorNode,
                               char* logBuffer, size_t bufferSize) {
  if (phErrorNode != nullptr) *phErrorNode = nullptr;
  if (logBuffer != nullptr && bufferSize != 0) logBuffer[0] = '\0';
  return api::cuGraphInstantiateWithFlags(phGraphExec, hGraph, 0);
}

CUresult cuGraphExecDestroy(CUgraphExec hGraphExec) {
  Call call(Opcode::cuGraphExecDestroy);
  if (!call.ok()) return call.result();
  call.put(call.destroy(HandleKind::kGraphExec, hGraphExec));
  return call.finish();
}

CUresult cuGraphExecGetFlags(CUgraphExec hGraphExec, cuuint64_t* flags) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  const GraphExec* exec = process()->graph_execs.find(hGraphExec);
  if (exec == nullptr || flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = exec->flags;
  return CUDA_SUCCESS;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec hGraphExec, CUgraph hGraph,
                              CUgraphExecUpdateResultInfo* resultInfo) {
  Call call(Opcode::cuGraphExecUpdate);
  if (!call.ok()) return call.result();
  if (resultInfo == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kGraphExec, hGraphExec));
  call.put(call.handle(HandleKind::kGraph, hGraph));
  call.put(process()->nodes.reserve(2));
  const CUresult result = call.wait();
  *resultInfo = {};
  resultInfo->result = static_cast<CUgraphExecUpdateResult>(call.get<uint32_t>());
  for (CUgraphNode* node : {&resultInfo->errorNode, &resultInfo->errorFromNode}) {
    const auto id = call.get<uint64_t>();
    if (id != 0) process()->nodes.add(id);
    *node = as_handle<CUgraphNode>(id);
  }
  if (result == CUDA_SUCCESS) {
    process()->graph_execs.find(hGraphExec)->kinds = call.get<uint32_t>();
  }
  if (result != CUDA_SUCCESS && resultInfo->result == CU_GRAPH_EXEC_UPDATE_SUCCESS) {
    resultInfo->result = CU_GRAPH_EXEC_UPDATE_ERROR;
  }
  return result;
}

CUresult cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode* hErrorNode_out,
                           CUgraphExecUpdateResult* updateResult_out) {
  CUgraphExecUpdateResultInfo info{};
  const CUresult result = api::cuGraphExecUpdate_v2(hGraphExec, hGraph, &info);
  if (hErrorNode_out != nullptr) *hErrorNode_out = info.errorNode;
  if (updateResult_out != nullptr) *updateResult_out = info.result;
  return result;
}

CUresult cuGraphUpload(CUgraphExec hGraphExec, CUstream hStream) {
  Call call(Opcode::cuGraphUpload);
  call.stream(hStream);
  if (!call.ok()) return call.result();
  call.put(call.handle(HandleKind::kGraphExec, hGraphExec));
  return call.finish();
}

CUresult cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream) {
  Call call(Opcode::cuGraphLaunch);
  call.stream(hStream);
  if (!call.ok()) return call.result();
  if (const CUresult result = push_shadows(call.ordered_by()); result != CUDA_SUCCESS)
    return result;
  call.put(call.handle(HandleKind::kGraphExec, hGraphExec));
  counters().launches.fetch_add(1, std::memory_order_relaxed);
  const GraphExec* exec = process()->graph_execs.find(hGraphExec);
  const uint32_t kinds = exec == nullptr ? 0 : exec->kinds.load();
  const CUresult result = (kinds & wire::kMemoryStays) != 0 ? call.wait() : call.finish();
  const bool captured = call.ordered_by()->capture.load() != nullptr;
  if (result == CUDA_SUCCESS && !captured && (kinds & wire::kInvolvesHost) != 0) {
    // Its host functions may write anywhere.
    add_pending_download(*call.ordered_by(), nullptr, SIZE_MAX, call.number());
  }
  return result;
}

CUresult cuGraphGetNodes(CUgraph hGraph, CUgraphNode* nodes, size_t* numNodes) {
  return list_nodes(Opcode::cuGraphGetNodes, HandleKind::kGraph, as_id(hGraph), nodes, numNodes);
}
CUresult cuGraphGetRootNodes(CUgraph hGraph, CUgraphNode* rootNodes, size_t* numRootNodes) {
  return list_nodes(Opcode::cuGraphGetRootNodes, HandleKind::kGraph, as_id(hGraph), rootNodes,
                    numRootNodes);
}
CUresult cuGraphNodeGetDependencies(CUgraphNode hNode, CUgraphNode* dependencies,
                                    size_t* numDependencies) {
  return list_nodes(Opcode::cuGraphNodeGetDependencies, HandleKind::kGraphNode, as_id(hNode),
                    dependencies, numDependencies);
}
CUresult cuGraphNodeGetDependentNodes(CUgraphNode hNode, CUgraphNode* dependentNodes,
                                      size_t* numDependentNodes) {
  return list_nodes(Opcode::cuGraphNodeGetDependentNodes, HandleKind::kGraphNode, as_id(hNode),
                    dependentNodes, numDependentNodes);
}
CUresult cuGraphNodeGetDependencies_v2(CUgraphNode hNode, CUgraphNode* dependencies,
                                       CUgraphEdgeData* edgeData, size_t* numDependencies) {
  const CUresult result = api::cuGraphNodeGetDependencies(hNode, dependencies, numDependencies);
  if (result == CUDA_SUCCESS) clear_edges(edgeData, numDependencies);
  return result;
}
CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode hNode, CUgraphNode* dependentNodes,
                                         CUgraphEdgeData* edgeData, size_t* numDependentNodes) {
  const CUresult result =
      api::cuGraphNodeGetDependentNodes(hNode, dependentNodes, numDependentNodes);
  if (result == CUDA_SUCCESS) clear_edges(edgeData, numDependentNodes);
  return result;
}

CUresult cuGraphGetEdges(CUgraph hGraph, CUgraphNode* from, CUgraphNode* to, size_t* numEdges) {
  Call call(Opcode::cuGraphGetEdges);
  if (!call.ok()) return call.result();
  if (numEdges == nullptr || (from == nullptr) != (to == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  const auto room =
      from == nullptr ? 0u : static_cast<uint32_t>(std::min<size_t>(*numEdges, kRoom));
  call.put(call.handle(HandleKind::kGraph, hGraph));
  call.put(process()->nodes.reserve(uint64_t{2} * room));
  call.put(room);
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  const auto total = call.get<uint64_t>();
  const auto came = std::min(call.get<uint32_t>(), room);
  for (CUgraphNode* list : {from, to}) {
    for (uint32_t i = 0; i < came; ++i) {
      const auto id = call.get<uint64_t>();
      process()->nodes.add(id);
      list[i] = as_handle<CUgraphNode>(id);
    }
  }
  *numEdges = from == nullptr ? total : came;
  return CUDA_SUCCESS;
}
CUresult cuGraphGetEdges_v2(CUgraph hGraph, CUgraphNode* from, CUgraphNode* to,
                            CUgraphEdgeData* edgeData, size_t* numEdges) {
  const CUresult result = api::cuGraphGetEdges(hGraph, from, to, numEdges);
  if (result == CUDA_SUCCESS) clear_edges(edgeData, numEdges);
  return result;
}

CUresult cuGraphDestroyNode(CUgraphNode hNode) {
  Call call(Opcode::cuGraphDestroyNode);
  if (!call.ok()) return call.result();
  call.put(call.handle(HandleKind::kGraphNode, hNode));
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) process()->nodes.remove(as_id(hNode));
  return result;
}

namespace {

CUresult change_edges(Opcode opcode, CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                      size_t numDependencies) {
  Call call(opcode);
  if (!call.ok()) return call.result();
  call.put(call.handle(HandleKind::kGraph, hGraph));
  call.put(static_cast<uint32_t>(numDependencies));
  put_id_list(call, from, numDependencies);
  put_id_list(call, to, numDependencies);
  return call.wait();
}

}  // namespace

CUresult cuGraphAddDependencies(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                size_t numDependencies) {
  return change_edges(Opcode::cuGraphAddDependencies, hGraph, from, to, numDependencies);
}
CUresult cuGraphRemoveDependencies(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                   size_t numDependencies) {
  return change_edges(Opcode::cuGraphRemoveDependencies, hGraph, from, to, numDependencies);
}
CUresult cuGraphRemoveDependencies_v2(CUgraph hGraph, const CUgraphNode* from,
                                      const CUgraphNode* to, const CUgraphEdgeData* edgeData,
                                      size_t numDependencies) {
  if (!plain_edges(edgeData, numDependencies))
    return unsupported("cuGraphRemoveDependencies_v2 with edge data");
  return api::cuGraphRemoveDependencies(hGraph, from, to, numDependencies);
}
CUresult cuGraphAddDependencies_v2(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData* edgeData, size_t numDependencies) {
  if (!plain_edges(edgeData, numDependencies))
    return unsupported("cuGraphAddDependencies_v2 with edge data");
  return api::cuGraphAddDependencies(hGraph, from, to, numDependencies);
}

CUresult cuGraphAddEmptyNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                             const CUgraphNode* dependencies, size_t numDependencies) {
  Call call(Opcode::cuGraphAddEmptyNode);
  if (!call.ok()) return call.result();
  if (phGraphNode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t id = begin_node(call, hGraph, dependencies, numDependencies);
  return end_node(call, id, phGraphNode);
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode* phGraphNode, CUgraph hGraph,
                                 const CUgraphNode* dependencies, size_t numDependencies,
                                 const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  Call call(Opcode::cuGraphAddKernelNode_v2);
  if (!call.ok()) return call.result();
  if (phGraphNode == nullptr || nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUfunction handle = nodeParams->func != nullptr
                                ? nodeParams->func
                                : as_handle<CUfunction>(as_id(nodeParams->kern));
  const Function* function = process()->function(handle);
  const Context* context = this_thread().current();
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const LaunchShape shape{{nodeParams->gridDimX, nodeParams->gridDimY, nodeParams->gridDimZ},
                          {nodeParams->blockDimX, nodeParams->blockDimY, nodeParams->blockDimZ},
                          nodeParams->sharedMemBytes};
  CUresult result = check_shape(*context->device, *function, shape);
  if (result != CUDA_SUCCESS) return result;
  const uint64_t id = begin_node(call, hGraph, dependencies, numDependencies);
  put_shape(call, as_id(handle), shape);
  result = put_parameters(call, *function, nodeParams->kernelParams, nodeParams->extra);
  return result == CUDA_SUCCESS ? end_node(call, id, phGraphNode) : result;
}

CUresult cuGraphAddMemsetNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                              const CUgraphNode* dependencies, size_t numDependencies,
                              const CUDA_MEMSET_NODE_PARAMS* memsetParams, CUcontext ctx) {
  Call call(Opcode::cuGraphAddMemsetNode);
  if (!call.ok()) return call.result();
  if (phGraphNode == nullptr || memsetParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_memset(*memsetParams); result != CUDA_SUCCESS) return result;
  const uint64_t id = begin_node(call, hGraph, dependencies, numDependencies);
  put_memset(call, ctx, *memsetParams);
  return end_node(call, id, phGraphNode);
}

CUresult cuGraphAddMemcpyNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                              const CUgraphNode* dependencies, size_t numDependencies,
                              const CUDA_MEMCPY3D* copyParams, CUcontext ctx) {
  Call call(Opcode::cuGraphAddMemcpyNode);
  if (!call.ok()) return call.result();
  if (phGraphNode == nullptr || copyParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::Copy3d copy{};
  if (const CUresult result = describe_graph_copy(*copyParams, copy); result != CUDA_SUCCESS) {
    return result;
  }
  const Graph* graph = process()->graphs.find(hGraph);
  const bool host = copy.source.memory_type == CU_MEMORYTYPE_HOST ||
                    copy.destination.memory_type == CU_MEMORYTYPE_HOST;
  if (host && graph != nullptr && graph->conditional) {
    return unsupported("host memory in the body of a conditional node");
  }
  const uint64_t id = begin_node(call, hGraph, dependencies, numDependencies);
  call.put(context_id(ctx));
  call.put(copy);
  return end_node(call, id, phGraphNode);
}

}  // namespace vgpu::stub::api

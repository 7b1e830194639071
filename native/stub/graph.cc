// Graphs. Ids of graphs are the client's; nodes get theirs from ranges that the client reserves.
#include <cstring>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/capture.h"
#include "stub/copy.h"
#include "stub/launch.h"
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

// u32 n, [u64]*n of existing nodes.
void put_nodes(Call& call, const CUgraphNode* nodes, size_t count) {
  if (nodes == nullptr && count != 0) return call.fail(CUDA_ERROR_INVALID_VALUE);
  call.put(static_cast<uint32_t>(count));
  for (size_t i = 0; i < count; ++i) call.put(call.handle(HandleKind::kGraphNode, nodes[i]));
}

void put_id_list(Call& call, const CUgraphNode* nodes, size_t count) {
  if (nodes == nullptr && count != 0) return call.fail(CUDA_ERROR_INVALID_VALUE);
  for (size_t i = 0; i < count; ++i) call.put(call.handle(HandleKind::kGraphNode, nodes[i]));
}

// The part that all cuGraphAdd...Node calls begin with; returns the new node's id.
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

bool plain(const CUgraphEdgeData* edges, size_t count) {
  for (size_t i = 0; edges != nullptr && i < count; ++i) {
    if (edges[i].from_port != 0 || edges[i].to_port != 0 || edges[i].type != 0) return false;
  }
  return true;
}

void clear_edges(CUgraphEdgeData* edges, const size_t* count) {
  if (edges != nullptr && count != nullptr) std::memset(edges, 0, *count * sizeof *edges);
}

uint64_t context_id(CUcontext handle) {
  const Context* context = handle == nullptr ? this_thread().current() : process()->context(handle);
  return context == nullptr ? 0 : context->id.load();
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
  process()->graph_execs.find(id)->flags = flags;
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
  const CUresult result = call.wait();
  *resultInfo = {};
  resultInfo->result = static_cast<CUgraphExecUpdateResult>(call.get<uint32_t>());
  if (result != CUDA_SUCCESS && resultInfo->result == CU_GRAPH_EXEC_UPDATE_SUCCESS) {
    resultInfo->result = CU_GRAPH_EXEC_UPDATE_ERROR;
  }
  return result;
}

CUresult cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode* hErrorNode_out,
                           CUgraphExecUpdateResult* updateResult_out) {
  CUgraphExecUpdateResultInfo info{};
  const CUresult result = api::cuGraphExecUpdate_v2(hGraphExec, hGraph, &info);
  if (hErrorNode_out != nullptr) *hErrorNode_out = nullptr;
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
  return call.finish();
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

CUresult cuGraphAddDependencies(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                size_t numDependencies) {
  Call call(Opcode::cuGraphAddDependencies);
  if (!call.ok()) return call.result();
  call.put(call.handle(HandleKind::kGraph, hGraph));
  call.put(static_cast<uint32_t>(numDependencies));
  put_id_list(call, from, numDependencies);
  put_id_list(call, to, numDependencies);
  return call.wait();
}
CUresult cuGraphAddDependencies_v2(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData* edgeData, size_t numDependencies) {
  if (!plain(edgeData, numDependencies))
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
  const CUDA_MEMSET_NODE_PARAMS& set = *memsetParams;
  if (set.width == 0 || set.height == 0) return CUDA_ERROR_INVALID_VALUE;
  const size_t bytes = (set.height - 1) * set.pitch + set.width * set.elementSize;
  if (!writable(set.dst, bytes)) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t id = begin_node(call, hGraph, dependencies, numDependencies);
  call.put(context_id(ctx));
  call.put(static_cast<uint64_t>(set.dst));
  call.put(static_cast<uint64_t>(set.pitch));
  call.put(static_cast<uint32_t>(set.value));
  call.put(static_cast<uint32_t>(set.elementSize));
  call.put(static_cast<uint64_t>(set.width));
  call.put(static_cast<uint64_t>(set.height));
  return end_node(call, id, phGraphNode);
}

CUresult cuGraphAddMemcpyNode(CUgraphNode* phGraphNode, CUgraph hGraph,
                              const CUgraphNode* dependencies, size_t numDependencies,
                              const CUDA_MEMCPY3D* copyParams, CUcontext ctx) {
  Call call(Opcode::cuGraphAddMemcpyNode);
  if (!call.ok()) return call.result();
  if (phGraphNode == nullptr || copyParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_MEMCPY3D& d = *copyParams;
  const auto on_device = [](CUmemorytype type, CUdeviceptr address) {
    return type == CU_MEMORYTYPE_DEVICE ||
           (type == CU_MEMORYTYPE_UNIFIED && process()->allocations.find(address));
  };
  if (!on_device(d.srcMemoryType, d.srcDevice) || !on_device(d.dstMemoryType, d.dstDevice)) {
    return unsupported("cuGraphAddMemcpyNode with host memory or arrays");
  }
  const auto end = [&](CUdeviceptr base, size_t pitch, size_t height, size_t x, size_t y,
                       size_t z) {
    wire::CopyEnd out{};
    out.memory_type = CU_MEMORYTYPE_DEVICE;
    out.pitch = pitch == 0 ? d.WidthInBytes + x : pitch;
    out.height = height == 0 ? d.Height + y : height;
    out.pointer = base + (z * out.height + y) * out.pitch + x;
    return out;
  };
  wire::Copy3d copy{};
  copy.source = end(d.srcDevice, d.srcPitch, d.srcHeight, d.srcXInBytes, d.srcY, d.srcZ);
  copy.destination = end(d.dstDevice, d.dstPitch, d.dstHeight, d.dstXInBytes, d.dstY, d.dstZ);
  copy.width_bytes = d.WidthInBytes;
  copy.height = d.Height;
  copy.depth = d.Depth;
  const uint64_t id = begin_node(call, hGraph, dependencies, numDependencies);
  call.put(context_id(ctx));
  call.put(copy);
  return end_node(call, id, phGraphNode);
}

}  // namespace vgpu::stub::api

// What nodes do, read back: the executor asks its driver, and what a node names of this process is
// put back in.
#include <cstring>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/graph_host.h"
#include "stub/graph_params.h"
#include "stub/process.h"
#include "wire/calls.h"

namespace vgpu::stub::api {
namespace {

// The reply's payload is the node's parameters.
CUresult ask(Call& call, CUgraphNode node, const void* out) {
  if (!call.ok()) return call.result();
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kGraphNode, node));
  return call.wait();
}

CUresult kernel_params(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS& out) {
  Call call(Opcode::cuGraphKernelNodeGetParams_v2);
  if (const CUresult result = ask(call, hNode, &out); result != CUDA_SUCCESS) return result;
  wire::LaunchHeader header{};
  if (const auto bytes = call.reply().take(wire::kLaunchHeaderBytes); call.reply().ok()) {
    std::memcpy(&header, bytes.data(), wire::kLaunchHeaderBytes);
  }
  const auto packed = call.reply().blob();
  const Function* function = process()->function(as_handle<CUfunction>(header.function));
  if (!call.reply().ok() || function == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  NodeView& view = view_of(as_id(hNode));
  view.bytes.assign(packed.begin(), packed.end());
  view.bytes.resize(std::max<size_t>(view.bytes.size(), function->parameter_bytes));
  view.pointers.clear();
  for (const auto& parameter : function->parameters) {
    view.pointers.push_back(view.bytes.data() + parameter.offset);
  }
  out = {};
  if (wire::handle_kind(header.function) == HandleKind::kKernel) {
    out.kern = as_handle<CUkernel>(header.function);
  }
  out.func = as_handle<CUfunction>(header.function);
  out.gridDimX = header.grid[0];
  out.gridDimY = header.grid[1];
  out.gridDimZ = header.grid[2];
  out.blockDimX = header.block[0];
  out.blockDimY = header.block[1];
  out.blockDimZ = header.block[2];
  out.sharedMemBytes = header.shared_bytes;
  out.kernelParams = view.pointers.data();
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return kernel_params(hNode, *nodeParams);
}
CUresult cuGraphKernelNodeGetParams(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUDA_KERNEL_NODE_PARAMS wide{};
  const CUresult result = kernel_params(hNode, wide);
  if (result == CUDA_SUCCESS) std::memcpy(nodeParams, &wide, sizeof *nodeParams);
  return result;
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode hNode, CUDA_MEMCPY3D* nodeParams) {
  Call call(Opcode::cuGraphMemcpyNodeGetParams);
  if (const CUresult result = ask(call, hNode, nodeParams); result != CUDA_SUCCESS) return result;
  call.get<uint64_t>();  // context
  const auto copy = call.get<wire::Copy3d>();
  if (!call.reply().ok()) return CUDA_ERROR_UNKNOWN;
  const wire::CopyEnd &from = copy.source, &to = copy.destination;
  if (from.memory_type == CU_MEMORYTYPE_HOST || to.memory_type == CU_MEMORYTYPE_HOST) {
    const bool reads = from.memory_type == CU_MEMORYTYPE_HOST;
    const auto entry = find_host_entry(reads ? from.pointer : to.pointer);
    if (!entry) return CUDA_ERROR_UNKNOWN;
    *nodeParams = entry->given;
    return CUDA_SUCCESS;
  }
  *nodeParams = {};
  nodeParams->srcMemoryType = static_cast<CUmemorytype>(from.memory_type);
  nodeParams->srcXInBytes = from.x_bytes;
  nodeParams->srcY = from.y;
  nodeParams->srcZ = from.z;
  nodeParams->srcLOD = from.lod;
  nodeParams->srcPitch = from.pitch;
  nodeParams->srcHeight = from.height;
  nodeParams->dstMemoryType = static_cast<CUmemorytype>(to.memory_type);
  nodeParams->dstXInBytes = to.x_bytes;
  nodeParams->dstY = to.y;
  nodeParams->dstZ = to.z;
  nodeParams->dstLOD = to.lod;
  nodeParams->dstPitch = to.pitch;
  nodeParams->dstHeight = to.height;
  if (from.memory_type == CU_MEMORYTYPE_ARRAY) {
    nodeParams->srcArray = as_handle<CUarray>(from.pointer);
  } else {
    nodeParams->srcDevice = from.pointer;
  }
  if (to.memory_type == CU_MEMORYTYPE_ARRAY) {
    nodeParams->dstArray = as_handle<CUarray>(to.pointer);
  } else {
    nodeParams->dstDevice = to.pointer;
  }
  nodeParams->WidthInBytes = copy.width_bytes;
  nodeParams->Height = copy.height;
  nodeParams->Depth = copy.depth;
  return CUDA_SUCCESS;
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode hNode, CUDA_MEMSET_NODE_PARAMS* nodeParams) {
  Call call(Opcode::cuGraphMemsetNodeGetParams);
  if (const CUresult result = ask(call, hNode, nodeParams); result != CUDA_SUCCESS) return result;
  call.get<uint64_t>();  // context
  nodeParams->dst = call.get<uint64_t>();
  nodeParams->pitch = call.get<uint64_t>();
  nodeParams->value = call.get<uint32_t>();
  nodeParams->elementSize = call.get<uint32_t>();
  nodeParams->width = call.get<uint64_t>();
  nodeParams->height = call.get<uint64_t>();
  return CUDA_SUCCESS;
}

CUresult cuGraphHostNodeGetParams(CUgraphNode hNode, CUDA_HOST_NODE_PARAMS* nodeParams) {
  Call call(Opcode::cuGraphHostNodeGetParams);
  if (const CUresult result = ask(call, hNode, nodeParams); result != CUDA_SUCCESS) return result;
  const auto entry = find_host_entry(call.get<uint64_t>());
  if (!entry) return CUDA_ERROR_UNKNOWN;
  *nodeParams = {entry->function, entry->user};
  return CUDA_SUCCESS;
}

namespace {

CUresult event_of(Opcode opcode, CUgraphNode node, CUevent* event) {
  Call call(opcode);
  if (const CUresult result = ask(call, node, event); result != CUDA_SUCCESS) return result;
  *event = as_handle<CUevent>(call.get<uint64_t>());
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode hNode, CUevent* event_out) {
  return event_of(Opcode::cuGraphEventRecordNodeGetEvent, hNode, event_out);
}
CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode hNode, CUevent* event_out) {
  return event_of(Opcode::cuGraphEventWaitNodeGetEvent, hNode, event_out);
}

CUresult cuGraphBatchMemOpNodeGetParams(CUgraphNode hNode,
                                        CUDA_BATCH_MEM_OP_NODE_PARAMS* nodeParams_out) {
  Call call(Opcode::cuGraphBatchMemOpNodeGetParams);
  if (const CUresult result = ask(call, hNode, nodeParams_out); result != CUDA_SUCCESS) {
    return result;
  }
  call.get<uint64_t>();  // context
  const auto steps = call.reply().array(sizeof(CUstreamBatchMemOpParams));
  const auto flags = call.get<uint32_t>();
  if (!call.reply().ok()) return CUDA_ERROR_UNKNOWN;
  NodeView& view = view_of(as_id(hNode));
  view.bytes.assign(steps.begin(), steps.end());
  const Context* current = this_thread().current();
  *nodeParams_out = {current == nullptr ? nullptr : as_handle<CUcontext>(current->id.load()),
                     static_cast<unsigned>(steps.size() / sizeof(CUstreamBatchMemOpParams)),
                     reinterpret_cast<CUstreamBatchMemOpParams*>(view.bytes.data()), flags};
  return CUDA_SUCCESS;
}

namespace {

// The program's ordinal of a worker's device; -1 when it does not see it.
int visible_ordinal(int32_t worker_ordinal) {
  for (const auto& device : process()->devices) {
    if (device->worker_ordinal == worker_ordinal) return device->ordinal;
  }
  return -1;
}

}  // namespace

CUresult cuGraphMemAllocNodeGetParams(CUgraphNode hNode, CUDA_MEM_ALLOC_NODE_PARAMS* params_out) {
  Call call(Opcode::cuGraphMemAllocNodeGetParams);
  if (const CUresult result = ask(call, hNode, params_out); result != CUDA_SUCCESS) return result;
  call.get<uint64_t>();  // entry
  const auto props = call.get<wire::MemPoolProps>();
  NodeView& view = view_of(as_id(hNode));
  view.access.clear();
  const auto count = call.get<uint32_t>();
  for (uint32_t i = 0; i < count && call.reply().ok(); ++i) {
    CUmemAccessDesc one{};
    one.location.type = static_cast<CUmemLocationType>(call.get<uint32_t>());
    one.location.id = visible_ordinal(call.get<int32_t>());
    one.flags = static_cast<CUmemAccess_flags>(call.get<uint32_t>());
    view.access.push_back(one);
  }
  *params_out = {};
  params_out->poolProps.allocType = static_cast<CUmemAllocationType>(props.alloc_type);
  params_out->poolProps.location.type = static_cast<CUmemLocationType>(props.location_type);
  params_out->poolProps.location.id = visible_ordinal(props.location_id);
  params_out->poolProps.maxSize = props.max_size;
  params_out->accessDescs = view.access.empty() ? nullptr : view.access.data();
  params_out->accessDescCount = view.access.size();
  params_out->bytesize = call.get<uint64_t>();
  params_out->dptr = call.get<uint64_t>();
  return call.reply().ok() ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

CUresult cuGraphMemFreeNodeGetParams(CUgraphNode hNode, CUdeviceptr* dptr_out) {
  Call call(Opcode::cuGraphMemFreeNodeGetParams);
  if (const CUresult result = ask(call, hNode, dptr_out); result != CUDA_SUCCESS) return result;
  *dptr_out = call.get<uint64_t>();
  return CUDA_SUCCESS;
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode hNode, CUgraph* phGraph) {
  Call call(Opcode::cuGraphChildGraphNodeGetGraph);
  if (!call.ok()) return call.result();
  if (phGraph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kGraphNode, hNode));
  const uint64_t fresh = call.create(HandleKind::kGraph);
  call.put(fresh);
  if (const CUresult result = call.wait(); result != CUDA_SUCCESS) return result;
  const auto id = call.get<uint64_t>();
  if (id != fresh) process()->graphs.destroy(fresh);
  if (Graph* graph = process()->graphs.find(id)) graph->embedded = true;
  *phGraph = as_handle<CUgraph>(id);
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeFindInClone(CUgraphNode* phNode, CUgraphNode hOriginalNode,
                                CUgraph hClonedGraph) {
  Call call(Opcode::cuGraphNodeFindInClone);
  if (!call.ok()) return call.result();
  if (phNode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kGraphNode, hOriginalNode));
  call.put(call.handle(HandleKind::kGraph, hClonedGraph));
  call.put(process()->nodes.reserve(1));
  if (const CUresult result = call.wait(); result != CUDA_SUCCESS) return result;
  const auto id = call.get<uint64_t>();
  process()->nodes.add(id);
  *phNode = as_handle<CUgraphNode>(id);
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
                                       CUkernelNodeAttrValue* value_out) {
  Call call(Opcode::cuGraphKernelNodeGetAttribute);
  if (!call.ok()) return call.result();
  if (value_out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kGraphNode, hNode));
  call.put(static_cast<uint32_t>(attr));
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *value_out = call.get<CUkernelNodeAttrValue>();
  return result;
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
                                       const CUkernelNodeAttrValue* value) {
  Call call(Opcode::cuGraphKernelNodeSetAttribute);
  if (!call.ok()) return call.result();
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kGraphNode, hNode));
  call.put(static_cast<uint32_t>(attr));
  call.put(*value);
  return call.wait();
}

}  // namespace vgpu::stub::api

// What nodes of graphs do: read back from the driver, as NodeParams travel.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "executor/handlers/graph_ids.h"
#include "executor/handlers/host_side.h"
#include "executor/handlers/support.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

// The node that a getter is about, if the driver has the getter.
template <typename Call>
CUresult read_node(Session& session, wire::Reader& in, Call call, CUgraphNode& node) {
  node = session.resolve<CUgraphNode>(in.get<uint64_t>());
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  return call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

// The client's id of a function, which may know it as a kernel of a library. 0: it does not know
// it.
uint64_t function_id(Session& session, const CUDA_KERNEL_NODE_PARAMS& node) {
  const HandleTable& handles = session.handles();
  for (const uint64_t handle :
       {reinterpret_cast<uint64_t>(node.func), reinterpret_cast<uint64_t>(node.kern)}) {
    if (const uint64_t id = handle == 0 ? 0 : handles.id_of(handle); id != 0) return id;
  }
  const auto call = session.driver().cuKernelGetFunction;
  if (call == nullptr) return 0;
  return handles.find_if(wire::HandleKind::kKernel, [&](uint64_t handle) {
    CUfunction function = nullptr;
    return call(&function, reinterpret_cast<CUkernel>(handle)) == CUDA_SUCCESS &&
           function == node.func;
  });
}

// LaunchHeader[36], u32 parameter bytes, bytes
CUresult put_kernel(Session& session, const CUDA_KERNEL_NODE_PARAMS& node, wire::Writer& out) {
  const auto layout = session.driver().cuFuncGetParamInfo;
  if (layout == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  const uint64_t id = function_id(session, node);
  if (id == 0) return CUDA_ERROR_NOT_SUPPORTED;
  const wire::LaunchHeader header{id,
                                  {node.gridDimX, node.gridDimY, node.gridDimZ},
                                  {node.blockDimX, node.blockDimY, node.blockDimZ},
                                  node.sharedMemBytes};
  std::vector<std::byte> packed;
  size_t offset = 0, size = 0;
  const CUfunction function =
      node.func != nullptr ? node.func : reinterpret_cast<CUfunction>(node.kern);
  for (size_t i = 0; layout(function, i, &offset, &size) == CUDA_SUCCESS; ++i) {
    if (node.kernelParams == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
    packed.resize(std::max(packed.size(), offset + size));
    std::memcpy(packed.data() + offset, node.kernelParams[i], size);
  }
  out.raw(&header, wire::kLaunchHeaderBytes);
  out.blob(packed.data(), packed.size());
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphKernelNodeGetParams_v2(Session& session, const Command&, wire::Reader& in,
                                       wire::Writer& out) {
  const auto call = session.driver().cuGraphKernelNodeGetParams_v2;
  CUgraphNode node = nullptr;
  CUDA_KERNEL_NODE_PARAMS params{};
  if (const CUresult result = read_node(session, in, call, node); result != CUDA_SUCCESS) {
    return result;
  }
  const CUresult result = call(node, &params);
  return result == CUDA_SUCCESS ? put_kernel(session, params, out) : result;
}

namespace {

// A host side is named by its entry.
template <typename Array>
bool put_end(Session& session, CUmemorytype type, const void* host, CUdeviceptr device, Array array,
             wire::CopyEnd& end) {
  end.memory_type = type;
  if (type == CU_MEMORYTYPE_HOST) {
    const auto entry = session.host_calls().find_staging(host);
    if (entry == nullptr) return false;
    end = {};
    end.memory_type = type;
    end.pointer = entry->id;
    return true;
  }
  if (type == CU_MEMORYTYPE_ARRAY) {
    end.pointer = session.handles().find_if(wire::HandleKind::kArray, [&](uint64_t handle) {
      return handle == reinterpret_cast<uint64_t>(array);
    });
    return end.pointer != 0;
  }
  end.pointer = device;
  return type == CU_MEMORYTYPE_DEVICE || type == CU_MEMORYTYPE_UNIFIED;
}

}  // namespace

CUresult cuGraphMemcpyNodeGetParams(Session& session, const Command&, wire::Reader& in,
                                    wire::Writer& out) {
  const auto call = session.driver().cuGraphMemcpyNodeGetParams;
  CUgraphNode node = nullptr;
  CUDA_MEMCPY3D copy{};
  if (const CUresult result = read_node(session, in, call, node); result != CUDA_SUCCESS) {
    return result;
  }
  if (const CUresult result = call(node, &copy); result != CUDA_SUCCESS) return result;
  wire::Copy3d sides{};
  sides.width_bytes = copy.WidthInBytes;
  sides.height = copy.Height;
  sides.depth = copy.Depth;
  sides.source = {0,
                  static_cast<uint32_t>(copy.srcLOD),
                  0,
                  copy.srcPitch,
                  copy.srcHeight,
                  copy.srcXInBytes,
                  copy.srcY,
                  copy.srcZ};
  sides.destination = {0,
                       static_cast<uint32_t>(copy.dstLOD),
                       0,
                       copy.dstPitch,
                       copy.dstHeight,
                       copy.dstXInBytes,
                       copy.dstY,
                       copy.dstZ};
  if (!put_end(session, copy.srcMemoryType, copy.srcHost, copy.srcDevice, copy.srcArray,
               sides.source) ||
      !put_end(session, copy.dstMemoryType, copy.dstHost, copy.dstDevice, copy.dstArray,
               sides.destination)) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  out.put(uint64_t{0});  // context
  out.put(sides);
  return CUDA_SUCCESS;
}

CUresult cuGraphMemsetNodeGetParams(Session& session, const Command&, wire::Reader& in,
                                    wire::Writer& out) {
  const auto call = session.driver().cuGraphMemsetNodeGetParams;
  CUgraphNode node = nullptr;
  CUDA_MEMSET_NODE_PARAMS set{};
  if (const CUresult result = read_node(session, in, call, node); result != CUDA_SUCCESS) {
    return result;
  }
  const CUresult result = call(node, &set);
  out.put(uint64_t{0});  // context
  out.put(static_cast<uint64_t>(set.dst));
  out.put(static_cast<uint64_t>(set.pitch));
  out.put(static_cast<uint32_t>(set.value));
  out.put(static_cast<uint32_t>(set.elementSize));
  out.put(static_cast<uint64_t>(set.width));
  out.put(static_cast<uint64_t>(set.height));
  return result;
}

CUresult cuGraphHostNodeGetParams(Session& session, const Command&, wire::Reader& in,
                                  wire::Writer& out) {
  const auto call = session.driver().cuGraphHostNodeGetParams;
  CUgraphNode node = nullptr;
  CUDA_HOST_NODE_PARAMS host{};
  if (const CUresult result = read_node(session, in, call, node); result != CUDA_SUCCESS) {
    return result;
  }
  const CUresult result = call(node, &host);
  const bool ours = result == CUDA_SUCCESS && host.fn == HostCalls::run_function;
  out.put(ours ? static_cast<HostEntry*>(host.userData)->id : uint64_t{0});
  return result;
}

namespace {

template <typename Call>
CUresult put_event(Session& session, wire::Reader& in, wire::Writer& out, Call call) {
  CUgraphNode node = nullptr;
  CUevent event = nullptr;
  if (const CUresult result = read_node(session, in, call, node); result != CUDA_SUCCESS) {
    return result;
  }
  const CUresult result = call(node, &event);
  out.put(session.handles().id_of(reinterpret_cast<uint64_t>(event)));
  return result;
}

}  // namespace

CUresult cuGraphEventRecordNodeGetEvent(Session& session, const Command&, wire::Reader& in,
                                        wire::Writer& out) {
  return put_event(session, in, out, session.driver().cuGraphEventRecordNodeGetEvent);
}
CUresult cuGraphEventWaitNodeGetEvent(Session& session, const Command&, wire::Reader& in,
                                      wire::Writer& out) {
  return put_event(session, in, out, session.driver().cuGraphEventWaitNodeGetEvent);
}

CUresult cuGraphBatchMemOpNodeGetParams(Session& session, const Command&, wire::Reader& in,
                                        wire::Writer& out) {
  const auto call = session.driver().cuGraphBatchMemOpNodeGetParams;
  CUgraphNode node = nullptr;
  CUDA_BATCH_MEM_OP_NODE_PARAMS values{};
  if (const CUresult result = read_node(session, in, call, node); result != CUDA_SUCCESS) {
    return result;
  }
  const CUresult result = call(node, &values);
  if (result != CUDA_SUCCESS) return result;
  out.put(uint64_t{0});  // context
  out.array(values.paramArray, values.count, sizeof(CUstreamBatchMemOpParams));
  out.put(static_cast<uint32_t>(values.flags));
  return result;
}

CUresult cuGraphMemAllocNodeGetParams(Session& session, const Command&, wire::Reader& in,
                                      wire::Writer& out) {
  const auto call = session.driver().cuGraphMemAllocNodeGetParams;
  CUgraphNode node = nullptr;
  CUDA_MEM_ALLOC_NODE_PARAMS params{};
  if (const CUresult result = read_node(session, in, call, node); result != CUDA_SUCCESS) {
    return result;
  }
  if (const CUresult result = call(node, &params); result != CUDA_SUCCESS) return result;
  wire::MemPoolProps props{};
  props.alloc_type = params.poolProps.allocType;
  props.location_type = params.poolProps.location.type;
  props.location_id = worker_ordinal(session, params.poolProps.location.id);
  props.max_size = params.poolProps.maxSize;
  out.put(uint64_t{0});  // entry
  out.put(props);
  out.put(static_cast<uint32_t>(params.accessDescCount));
  for (size_t i = 0; i < params.accessDescCount; ++i) {
    const CUmemAccessDesc& one = params.accessDescs[i];
    out.put(static_cast<uint32_t>(one.location.type));
    out.put(worker_ordinal(session, one.location.id));
    out.put(static_cast<uint32_t>(one.flags));
  }
  out.put(static_cast<uint64_t>(params.bytesize));
  out.put(static_cast<uint64_t>(params.dptr));
  return CUDA_SUCCESS;
}

CUresult cuGraphMemFreeNodeGetParams(Session& session, const Command&, wire::Reader& in,
                                     wire::Writer& out) {
  const auto call = session.driver().cuGraphMemFreeNodeGetParams;
  CUgraphNode node = nullptr;
  CUdeviceptr address = 0;
  if (const CUresult result = read_node(session, in, call, node); result != CUDA_SUCCESS) {
    return result;
  }
  const CUresult result = call(node, &address);
  out.put(static_cast<uint64_t>(address));
  return result;
}

CUresult cuGraphChildGraphNodeGetGraph(Session& session, const Command&, wire::Reader& in,
                                       wire::Writer& out) {
  const auto call = session.driver().cuGraphChildGraphNodeGetGraph;
  const auto node_id = in.get<uint64_t>();
  const auto fresh = in.get<uint64_t>();
  const auto node = session.resolve<CUgraphNode>(node_id);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUgraph graph = nullptr;
  const CUresult result = call(node, &graph);
  if (result != CUDA_SUCCESS) return result;
  const uint64_t id = GraphIds(session, fresh, 0, 0).graph(graph);
  if (id == 0) return CUDA_ERROR_INVALID_VALUE;
  if (id == fresh) session.own(node_id, id);  // it dies with the node
  out.put(id);
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeFindInClone(Session& session, const Command&, wire::Reader& in,
                                wire::Writer& out) {
  const auto original = session.resolve<CUgraphNode>(in.get<uint64_t>());
  const auto clone_id = in.get<uint64_t>();
  const auto clone = session.resolve<CUgraph>(clone_id);
  const auto fresh = in.get<uint64_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuGraphNodeFindInClone;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUgraphNode node = nullptr;
  const CUresult result = call(&node, original, clone);
  if (result != CUDA_SUCCESS) return result;
  out.put(GraphIds(session, 0, fresh, 1).node(node, clone_id));
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetAttribute(Session& session, const Command&, wire::Reader& in,
                                       wire::Writer& out) {
  const auto call = session.driver().cuGraphKernelNodeGetAttribute;
  CUgraphNode node = nullptr;
  if (const CUresult result = read_node(session, in, call, node); result != CUDA_SUCCESS) {
    return result;
  }
  CUkernelNodeAttrValue value{};
  const auto id = static_cast<CUkernelNodeAttrID>(in.get<uint32_t>());
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = call(node, id, &value);
  out.raw(&value, sizeof value);
  return result;
}

CUresult cuGraphKernelNodeSetAttribute(Session& session, const Command&, wire::Reader& in,
                                       wire::Writer&) {
  const auto call = session.driver().cuGraphKernelNodeSetAttribute;
  CUgraphNode node = nullptr;
  if (const CUresult result = read_node(session, in, call, node); result != CUDA_SUCCESS) {
    return result;
  }
  const auto id = static_cast<CUkernelNodeAttrID>(in.get<uint32_t>());
  const auto value = in.get<CUkernelNodeAttrValue>();
  return in.ok() ? call(node, id, &value) : CUDA_ERROR_INVALID_VALUE;
}

// The driver writes a file; its text travels.
CUresult cuGraphDebugDotPrint(Session& session, const Command&, wire::Reader& in,
                              wire::Writer& out) {
  const auto graph = session.resolve<CUgraph>(in.get<uint64_t>());
  const auto flags = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuGraphDebugDotPrint;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  char path[] = "/tmp/vgpu-graph-XXXXXX";
  const int file = ::mkstemp(path);
  if (file < 0) return CUDA_ERROR_OPERATING_SYSTEM;
  const CUresult result = call(graph, path, flags);
  ::close(file);
  std::string text;
  if (std::FILE* written = std::fopen(path, "r"); written != nullptr) {
    char part[4096];
    size_t size = 0;
    while ((size = std::fread(part, 1, sizeof part, written)) != 0) text.append(part, size);
    std::fclose(written);
  }
  ::unlink(path);
  out.text(text);
  return result;
}

}  // namespace vgpu::executor::handlers

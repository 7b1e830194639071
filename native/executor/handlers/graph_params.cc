#include "executor/handlers/graph_params.h"

#include <cstring>

#include "executor/handlers/graph_ids.h"
#include "executor/handlers/host_side.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

// 0 is no context: the driver takes the current one.
CUcontext read_context(Session& session, wire::Reader& in) {
  const auto id = in.get<uint64_t>();
  return id == 0 ? nullptr : session.resolve<CUcontext>(id);
}

}  // namespace

CUresult NodeRequest::read_memcpy(Session& session, wire::Reader& in) {
  CUDA_MEMCPY3D& copy = params.memcpy.copyParams;
  params.memcpy.copyCtx = read_context(session, in);
  const auto wanted = in.get<wire::Copy3d>();
  if (!in.ok() || !describe_copy(session, wanted, copy)) return CUDA_ERROR_INVALID_VALUE;
  return make_copy_entry(session, wanted, copy, entry);
}

CUresult NodeRequest::read_memset(Session& session, wire::Reader& in) {
  auto& set = params.memset;
  set.ctx = read_context(session, in);
  set.dst = in.get<uint64_t>();
  set.pitch = in.get<uint64_t>();
  set.value = in.get<uint32_t>();
  set.elementSize = in.get<uint32_t>();
  set.width = in.get<uint64_t>();
  set.height = in.get<uint64_t>();
  return CUDA_SUCCESS;
}

CUresult NodeRequest::read_values(Session& session, wire::Reader& in) {
  constexpr uint32_t kMost = 256;  // what drivers accept at once
  auto& values = params.memOp;
  values.ctx = read_context(session, in);
  const auto bytes = in.array(sizeof(CUstreamBatchMemOpParams));
  values.flags = in.get<uint32_t>();
  steps_.resize(bytes.size() / sizeof(CUstreamBatchMemOpParams));
  if (!in.ok() || steps_.size() > kMost) return CUDA_ERROR_INVALID_VALUE;
  if (!bytes.empty()) std::memcpy(steps_.data(), bytes.data(), bytes.size());
  values.count = static_cast<unsigned>(steps_.size());
  values.paramArray = steps_.data();
  return CUDA_SUCCESS;
}

CUresult NodeRequest::read_allocation(Session& session, wire::Reader& in) {
  memory_entry = in.get<uint64_t>();
  const auto wanted = in.get<wire::MemPoolProps>();
  auto& allocation = params.alloc;
  if (!read_access(session, in, access_)) return CUDA_ERROR_INVALID_VALUE;
  allocation.bytesize = in.get<uint64_t>();
  allocation.poolProps.allocType = static_cast<CUmemAllocationType>(wanted.alloc_type);
  allocation.poolProps.maxSize = wanted.max_size;
  if (!map_location(session, wanted.location_type, wanted.location_id,
                    allocation.poolProps.location)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  allocation.accessDescs = access_.empty() ? nullptr : access_.data();
  allocation.accessDescCount = access_.size();
  return CUDA_SUCCESS;
}

CUresult NodeRequest::read_conditional(Session& session, wire::Reader& in) {
  auto& conditional = params.conditional;
  conditional.ctx = read_context(session, in);
  conditional.handle = in.get<uint64_t>();
  conditional.type = static_cast<CUgraphConditionalNodeType>(in.get<uint32_t>());
  const auto ids = in.array(sizeof(uint64_t));
  bodies.resize(ids.size() / sizeof(uint64_t));
  if (!ids.empty()) std::memcpy(bodies.data(), ids.data(), ids.size());
  conditional.size = static_cast<unsigned>(bodies.size());
  return CUDA_SUCCESS;
}

CUresult NodeRequest::read(Session& session, wire::Reader& in) {
  params = {};
  params.type = static_cast<CUgraphNodeType>(in.get<uint32_t>());
  CUresult result = CUDA_SUCCESS;
  switch (params.type) {
    case CU_GRAPH_NODE_TYPE_EMPTY:
      break;
    case CU_GRAPH_NODE_TYPE_KERNEL: {
      if (!launch_.read_header(session, in) || !launch_.read_parameters(in)) {
        return CUDA_ERROR_INVALID_VALUE;
      }
      const CUlaunchConfig& shape = launch_.config;
      params.kernel = {launch_.function, shape.gridDimX,  shape.gridDimY,  shape.gridDimZ,
                       shape.blockDimX,  shape.blockDimY, shape.blockDimZ, shape.sharedMemBytes,
                       nullptr,          launch_.extra(), nullptr,         nullptr};
      break;
    }
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      result = read_memcpy(session, in);
      break;
    case CU_GRAPH_NODE_TYPE_MEMSET:
      result = read_memset(session, in);
      break;
    case CU_GRAPH_NODE_TYPE_HOST:
      entry = make_function_entry(session, in.get<uint64_t>());
      if (entry == nullptr) return CUDA_ERROR_INVALID_VALUE;
      params.host = {HostCalls::run_function, entry.get()};
      break;
    case CU_GRAPH_NODE_TYPE_GRAPH:
      params.graph.graph = session.resolve<CUgraph>(in.get<uint64_t>());
      params.graph.ownership = static_cast<CUgraphChildGraphNodeOwnership>(in.get<uint32_t>());
      break;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      event_ = {in.get<uint64_t>(), false};
      params.eventWait.event = session.resolve<CUevent>(event_.id);
      break;
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      event_ = {in.get<uint64_t>(), true};
      params.eventRecord.event = session.resolve<CUevent>(event_.id);
      break;
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
      result = read_allocation(session, in);
      break;
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      params.free.dptr = in.get<uint64_t>();
      break;
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
      result = read_values(session, in);
      break;
    case CU_GRAPH_NODE_TYPE_CONDITIONAL:
      result = read_conditional(session, in);
      break;
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (result == CUDA_SUCCESS && !in.ok()) return CUDA_ERROR_INVALID_VALUE;
  return result;
}

namespace {

// Memory of a graph counts from here to the end of the last graph that has it.
CUresult count_memory(Session& session, const NewNode& wanted, const NodeRequest& request) {
  const ContextState* context = session.context();
  const CUdeviceptr address = request.params.alloc.dptr;
  const auto entry = make_memory_entry(session, request.memory_entry, address);
  if (entry == nullptr || context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  session.allocations().add(address, request.params.alloc.bytesize, context->ordinal, 0,
                            request.memory_entry);
  session.give_to_graph(wanted.graph, *entry);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphAddNode_v2(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  const NewNode wanted = read_new_node(session, in);
  NodeRequest request(session);
  if (const CUresult result = request.read(in); result != CUDA_SUCCESS) return result;
  const auto call = session.driver().cuGraphAddNode_v2;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  const bool allocates = request.params.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC;
  const ContextState* context = session.context();
  const uint64_t bytes = allocates ? request.params.alloc.bytesize : 0;
  if (allocates) {
    if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    if (!session.allocations().reserve(context->ordinal, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  }
  CUgraphNode node = nullptr;
  CUresult result = call(&node, wanted.graph, wanted.dependencies.data(), nullptr,
                         wanted.dependencies.size(), &request.params);
  if (result != CUDA_SUCCESS && allocates) session.allocations().cancel(context->ordinal, bytes);
  if (result == CUDA_SUCCESS) request.keep();
  result = bind_node(session, wanted, result, node);
  if (result != CUDA_SUCCESS) return result;
  if (request.entry != nullptr) session.give_to_graph(wanted.graph, *request.entry);
  if (allocates) {
    out.put(static_cast<uint64_t>(request.params.alloc.dptr));
    return count_memory(session, wanted, request);
  }
  out.put(uint64_t{0});
  for (size_t i = 0; i < request.bodies.size(); ++i) {
    if (!session.bind(request.bodies[i], request.params.conditional.phGraph_out[i])) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    session.own(wanted.id, request.bodies[i]);
  }
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeSetParams(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto node = session.resolve<CUgraphNode>(in.get<uint64_t>());
  NodeRequest request(session);
  if (const CUresult result = request.read(in); result != CUDA_SUCCESS) return result;
  const auto call = session.driver().cuGraphNodeSetParams;
  const CUresult result = call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : call(node, &request.params);
  if (result == CUDA_SUCCESS) request.keep();
  return result;
}

namespace {

// Whether an instance may take on a child graph without another plan.
bool plain_child(Session& session, uint64_t exec, CUgraph child) {
  std::string why;
  const auto plan = session.host_plan(exec);
  const auto of_child = make_host_plan(session, child, why);
  return plan == nullptr && of_child != nullptr && of_child->items.empty() &&
         of_child->events.empty();
}

}  // namespace

CUresult cuGraphExecNodeSetParams(Session& session, const Command&, wire::Reader& in,
                                  wire::Writer&) {
  const auto exec_id = in.get<uint64_t>();
  const auto exec = session.resolve<CUgraphExec>(exec_id);
  const auto node = session.resolve<CUgraphNode>(in.get<uint64_t>());
  NodeRequest request(session);
  if (const CUresult result = request.read(in); result != CUDA_SUCCESS) return result;
  const auto call = session.driver().cuGraphExecNodeSetParams;
  if (request.params.type == CU_GRAPH_NODE_TYPE_GRAPH &&
      !plain_child(session, exec_id, request.params.graph.graph)) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  const CUresult result =
      call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : call(exec, node, &request.params);
  const auto plan = session.host_plan(exec_id);
  if (result == CUDA_SUCCESS) request.keep();
  if (result != CUDA_SUCCESS || plan == nullptr) return result;
  if (request.entry != nullptr) {
    session.set_host_plan(exec_id, with_entry(*plan, node, *request.entry));
  } else if (const auto event = request.event(); event.id != 0) {
    auto changed = std::make_shared<HostPlan>(*plan);
    changed->events.push_back(event);
    session.set_host_plan(exec_id, std::move(changed));
  }
  return result;
}

}  // namespace vgpu::executor::handlers

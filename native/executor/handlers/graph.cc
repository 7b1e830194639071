// Capture, and graphs as wholes. Every capture begins relaxed: the stub enforces the stricter
// modes.
#include "executor/handlers/graph_ids.h"
#include "executor/handlers/host_side.h"
#include "executor/handlers/support.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {

CUresult cuStreamBeginCapture_v2(Session& session, const Command& command, wire::Reader& in,
                                 wire::Writer&) {
  in.get<uint32_t>();
  const CUstream stream = session.stream(command.header.stream);
  ContextState* context = session.context();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const CUresult result =
      session.driver().cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED);
  if (result == CUDA_SUCCESS) ++context->capturing;
  return result;
}

CUresult cuStreamBeginCaptureToGraph(Session& session, const Command& command, wire::Reader& in,
                                     wire::Writer&) {
  const auto graph = session.resolve<CUgraph>(in.get<uint64_t>());
  const auto nodes = session.resolve_all<CUgraphNode>(in.array(sizeof(uint64_t)));
  const CUstream stream = session.stream(command.header.stream);
  ContextState* context = session.context();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const auto call = session.driver().cuStreamBeginCaptureToGraph;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  const CUresult result =
      call(stream, graph, nodes.data(), nullptr, nodes.size(), CU_STREAM_CAPTURE_MODE_RELAXED);
  if (result == CUDA_SUCCESS) ++context->capturing;
  return result;
}

CUresult cuStreamEndCapture(Session& session, const Command& command, wire::Reader& in,
                            wire::Writer& out) {
  const auto fresh = in.get<uint64_t>();
  const CUstream stream = session.stream(command.header.stream);
  ContextState* context = session.context();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  CUgraph graph = nullptr;
  const CUresult result = session.driver().cuStreamEndCapture(stream, &graph);
  const bool ended = result == CUDA_SUCCESS || result == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED ||
                     result == CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  if (ended && context != nullptr && context->capturing > 0) --context->capturing;
  uint64_t id = 0;
  if (result == CUDA_SUCCESS && graph != nullptr) {
    id = GraphIds(session, fresh, 0, 0).graph(graph);
    if (id == 0) return CUDA_ERROR_INVALID_VALUE;
  }
  out.put(id);
  return result;
}

CUresult cuStreamIsCapturing(Session& session, const Command& command, wire::Reader&,
                             wire::Writer& out) {
  const CUstream stream = session.stream(command.header.stream);
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  const CUresult result = session.driver().cuStreamIsCapturing(stream, &status);
  out.put(static_cast<uint32_t>(status));
  return result;
}

CUresult cuStreamGetCaptureInfo_v2(Session& session, const Command& command, wire::Reader& in,
                                   wire::Writer& out) {
  const auto fresh = in.get<uint64_t>();
  const auto first = in.get<uint64_t>();
  const auto room = in.get<uint32_t>();
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuStreamGetCaptureInfo_v2 == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  cuuint64_t capture = 0;
  CUgraph graph = nullptr;
  const CUgraphNode* nodes = nullptr;
  size_t count = 0;
  const CUresult result =
      session.driver().cuStreamGetCaptureInfo_v2(stream, &status, &capture, &graph, &nodes, &count);
  if (result != CUDA_SUCCESS || status != CU_STREAM_CAPTURE_STATUS_ACTIVE) count = 0;
  GraphIds ids(session, fresh, first, room);
  out.put(static_cast<uint32_t>(status));
  out.put(static_cast<uint64_t>(capture));
  out.put(graph == nullptr ? uint64_t{0} : ids.graph(graph));
  ids.put_nodes({nodes, count}, graph, out);
  out.put(uint32_t{0});  // edges
  return result;
}

CUresult cuStreamUpdateCaptureDependencies(Session& session, const Command& command,
                                           wire::Reader& in, wire::Writer&) {
  auto nodes = session.resolve_all<CUgraphNode>(in.array(sizeof(uint64_t)));
  const auto flags = in.get<uint32_t>();
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuStreamUpdateCaptureDependencies == nullptr)
    return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuStreamUpdateCaptureDependencies(stream, nodes.data(), nodes.size(),
                                                            flags);
}

CUresult cuGraphCreate(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto flags = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  CUgraph graph = nullptr;
  const CUresult result = session.driver().cuGraphCreate(&graph, flags);
  if (result == CUDA_SUCCESS && !session.bind(id, graph)) return CUDA_ERROR_INVALID_VALUE;
  return result;
}

CUresult cuGraphDestroy(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto graph = session.resolve<CUgraph>(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  session.forget(id);
  return session.driver().cuGraphDestroy(graph);
}

CUresult cuGraphClone(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto original = session.resolve<CUgraph>(in.get<uint64_t>());
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  CUgraph graph = nullptr;
  const CUresult result = session.driver().cuGraphClone(&graph, original);
  if (result == CUDA_SUCCESS && !session.bind(id, graph)) return CUDA_ERROR_INVALID_VALUE;
  return result;
}

CUresult cuGraphInstantiateWithFlags(Session& session, const Command&, wire::Reader& in,
                                     wire::Writer& out) {
  const auto id = in.get<uint64_t>();
  const auto graph = session.resolve<CUgraph>(in.get<uint64_t>());
  const auto flags = in.get<uint64_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuGraphInstantiateWithFlags == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUgraphExec exec = nullptr;
  CUresult result = session.driver().cuGraphInstantiateWithFlags(&exec, graph, flags);
  if (result != CUDA_SUCCESS) return result;
  result =
      session.bind(id, exec) ? plan_instance(session, id, graph, out) : CUDA_ERROR_INVALID_VALUE;
  if (result == CUDA_SUCCESS) return result;
  session.forget(id);
  session.driver().cuGraphExecDestroy(exec);
  return result;
}

CUresult cuGraphExecDestroy(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto exec = session.resolve<CUgraphExec>(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  session.forget(id);
  session.set_host_plan(id, nullptr);
  return session.driver().cuGraphExecDestroy(exec);
}

CUresult cuGraphExecUpdate(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  const auto exec_id = in.get<uint64_t>();
  const auto exec = session.resolve<CUgraphExec>(exec_id);
  const auto graph_id = in.get<uint64_t>();
  const auto graph = session.resolve<CUgraph>(graph_id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  // A client of the first minor version sends no ids for the nodes that an error may name.
  const uint64_t first = in.remaining() >= sizeof(uint64_t) ? in.get<uint64_t>() : 0;
  if (session.driver().cuGraphExecUpdate_v2 == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUgraphExecUpdateResultInfo info{};
  const CUresult result = session.driver().cuGraphExecUpdate_v2(exec, graph, &info);
  out.put(static_cast<uint32_t>(info.result));
  GraphIds ids(session, 0, first, first == 0 ? 0 : 2);
  for (const CUgraphNode node : {info.errorNode, info.errorFromNode}) {
    out.put(node == nullptr ? uint64_t{0} : ids.node(node, graph_id));
  }
  return result == CUDA_SUCCESS ? plan_instance(session, exec_id, graph, out) : result;
}

CUresult cuGraphLaunch(Session& session, const Command& command, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto exec = session.resolve<CUgraphExec>(id);
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  session.allocations().graph_launched();
  const auto plan = session.host_plan(id);
  if (plan != nullptr && plan->involves_host() && !session.capturing(command)) {
    return launch_with_host(session, command, exec, plan);
  }
  return session.driver().cuGraphLaunch(exec, stream);
}

}  // namespace vgpu::executor::handlers

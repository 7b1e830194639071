// Nodes of graphs: shown, and added one by one.
#include "executor/handlers/graph_ids.h"
#include "executor/handlers/host_side.h"
#include "executor/handlers/support.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

using List = CUresult (*)(CUgraph, CUgraphNode*, size_t*);
using Neighbours = CUresult (*)(CUgraphNode, CUgraphNode*, size_t*);

// u64 graph, u64 first node, u32 room -> u64 total, u32 n, [u64]*n
template <typename Handle, typename Call>
CUresult show(Session& session, wire::Reader& in, wire::Writer& out, Call call) {
  const auto id = in.get<uint64_t>();
  const auto of = session.resolve<Handle>(id);
  const auto first = in.get<uint64_t>();
  const auto room = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  size_t total = 0;
  CUresult result = call(of, nullptr, &total);
  if (result != CUDA_SUCCESS) return result;
  std::vector<CUgraphNode> nodes(std::min<size_t>(room, total));
  size_t count = nodes.size();
  if (count != 0) result = call(of, nodes.data(), &count);
  if (result != CUDA_SUCCESS) return result;
  nodes.resize(std::min(count, nodes.size()));
  CUgraph owner = nullptr;
  if constexpr (std::is_same_v<Handle, CUgraph>) owner = of;
  out.put(static_cast<uint64_t>(total));
  GraphIds(session, 0, first, room).put_nodes(nodes, owner, out);
  return CUDA_SUCCESS;
}

}  // namespace

NewNode read_new_node(Session& session, wire::Reader& in) {
  NewNode node;
  node.id = in.get<uint64_t>();
  node.graph_id = in.get<uint64_t>();
  node.graph = session.resolve<CUgraph>(node.graph_id);
  node.dependencies = session.resolve_all<CUgraphNode>(in.array(sizeof(uint64_t)));
  return node;
}

CUresult bind_node(Session& session, const NewNode& wanted, CUresult result, CUgraphNode node) {
  if (result != CUDA_SUCCESS) return result;
  if (!session.bind(wanted.id, node)) return CUDA_ERROR_INVALID_VALUE;
  session.own(wanted.graph_id, wanted.id);
  return CUDA_SUCCESS;
}

CUresult cuGraphGetNodes(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  return show<CUgraph>(session, in, out, session.driver().cuGraphGetNodes);
}

CUresult cuGraphGetRootNodes(Session& session, const Command&, wire::Reader& in,
                             wire::Writer& out) {
  return show<CUgraph>(session, in, out, session.driver().cuGraphGetRootNodes);
}

CUresult cuGraphNodeGetDependencies(Session& session, const Command&, wire::Reader& in,
                                    wire::Writer& out) {
  return show<CUgraphNode>(session, in, out, session.driver().cuGraphNodeGetDependencies);
}

CUresult cuGraphNodeGetDependentNodes(Session& session, const Command&, wire::Reader& in,
                                      wire::Writer& out) {
  return show<CUgraphNode>(session, in, out, session.driver().cuGraphNodeGetDependentNodes);
}

CUresult cuGraphGetEdges(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  const auto id = in.get<uint64_t>();
  const auto graph = session.resolve<CUgraph>(id);
  const auto first = in.get<uint64_t>();
  const auto room = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuGraphGetEdges;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  size_t total = 0;
  CUresult result = call(graph, nullptr, nullptr, &total);
  if (result != CUDA_SUCCESS) return result;
  size_t count = std::min<size_t>(room, total);
  std::vector<CUgraphNode> from(count);
  std::vector<CUgraphNode> to(count);
  if (count != 0) result = call(graph, from.data(), to.data(), &count);
  if (result != CUDA_SUCCESS) return result;
  GraphIds ids(session, 0, first, room);
  std::vector<uint64_t> from_ids;
  std::vector<uint64_t> to_ids;
  for (size_t i = 0; i < std::min(count, from.size()); ++i) {
    const uint64_t a = ids.node(from[i], id);
    const uint64_t b = ids.node(to[i], id);
    if (a == 0 || b == 0) break;
    from_ids.push_back(a);
    to_ids.push_back(b);
  }
  out.put(static_cast<uint64_t>(total));
  out.put(static_cast<uint32_t>(from_ids.size()));
  out.raw(from_ids.data(), from_ids.size() * sizeof(uint64_t));
  out.raw(to_ids.data(), to_ids.size() * sizeof(uint64_t));
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetType(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  const auto node = session.resolve<CUgraphNode>(in.get<uint64_t>());
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  const CUresult result = session.driver().cuGraphNodeGetType(node, &type);
  out.put(static_cast<uint32_t>(type));
  return result;
}

CUresult cuGraphDestroyNode(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto node = session.resolve<CUgraphNode>(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  session.forget(id);
  return session.driver().cuGraphDestroyNode(node);
}

CUresult cuGraphAddEmptyNode(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const NewNode wanted = read_new_node(session, in);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  CUgraphNode node = nullptr;
  const CUresult result = session.driver().cuGraphAddEmptyNode(
      &node, wanted.graph, wanted.dependencies.data(), wanted.dependencies.size());
  return bind_node(session, wanted, result, node);
}

namespace {

// u64 graph, u32 n, [u64 from]*n, [u64 to]*n
template <typename Call>
CUresult change_edges(Session& session, wire::Reader& in, Call call) {
  const auto graph = session.resolve<CUgraph>(in.get<uint64_t>());
  const uint64_t count = in.get<uint32_t>();
  const auto from = session.resolve_all<CUgraphNode>(in.take(count * sizeof(uint64_t)));
  const auto to = session.resolve_all<CUgraphNode>(in.take(count * sizeof(uint64_t)));
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  return call == nullptr ? CUDA_ERROR_NOT_SUPPORTED
                         : call(graph, from.data(), to.data(), from.size());
}

}  // namespace

CUresult cuGraphAddDependencies(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  return change_edges(session, in, session.driver().cuGraphAddDependencies);
}

CUresult cuGraphRemoveDependencies(Session& session, const Command&, wire::Reader& in,
                                   wire::Writer&) {
  return change_edges(session, in, session.driver().cuGraphRemoveDependencies);
}

CUresult cuGraphAddKernelNode_v2(Session& session, const Command&, wire::Reader& in,
                                 wire::Writer&) {
  const NewNode wanted = read_new_node(session, in);
  LaunchRequest launch;
  if (!launch.read_header(session, in) || !launch.read_parameters(in)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuGraphAddKernelNode_v2 == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUDA_KERNEL_NODE_PARAMS_v2 params{};
  params.func = launch.function;
  params.gridDimX = launch.config.gridDimX;
  params.gridDimY = launch.config.gridDimY;
  params.gridDimZ = launch.config.gridDimZ;
  params.blockDimX = launch.config.blockDimX;
  params.blockDimY = launch.config.blockDimY;
  params.blockDimZ = launch.config.blockDimZ;
  params.sharedMemBytes = launch.config.sharedMemBytes;
  params.extra = launch.extra();
  CUgraphNode node = nullptr;
  const CUresult result = session.driver().cuGraphAddKernelNode_v2(
      &node, wanted.graph, wanted.dependencies.data(), wanted.dependencies.size(), &params);
  return bind_node(session, wanted, result, node);
}

CUresult cuGraphAddMemsetNode(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const NewNode wanted = read_new_node(session, in);
  const auto context = session.resolve<CUcontext>(in.get<uint64_t>());
  CUDA_MEMSET_NODE_PARAMS params{};
  params.dst = in.get<uint64_t>();
  params.pitch = in.get<uint64_t>();
  params.value = in.get<uint32_t>();
  params.elementSize = in.get<uint32_t>();
  params.width = in.get<uint64_t>();
  params.height = in.get<uint64_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuGraphAddMemsetNode == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUgraphNode node = nullptr;
  const CUresult result =
      session.driver().cuGraphAddMemsetNode(&node, wanted.graph, wanted.dependencies.data(),
                                            wanted.dependencies.size(), &params, context);
  return bind_node(session, wanted, result, node);
}

CUresult cuGraphAddMemcpyNode(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const NewNode wanted = read_new_node(session, in);
  const auto context = session.resolve<CUcontext>(in.get<uint64_t>());
  const auto sides = in.get<wire::Copy3d>();
  CUDA_MEMCPY3D copy{};
  if (!in.ok() || !describe_copy(session, sides, copy)) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuGraphAddMemcpyNode == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  std::shared_ptr<HostEntry> entry;
  if (const CUresult made = make_copy_entry(session, sides, copy, entry); made != CUDA_SUCCESS) {
    return made;
  }
  CUgraphNode node = nullptr;
  const CUresult result = session.driver().cuGraphAddMemcpyNode(
      &node, wanted.graph, wanted.dependencies.data(), wanted.dependencies.size(), &copy, context);
  if (entry != nullptr && result == CUDA_SUCCESS) session.give_to_graph(wanted.graph, *entry);
  if (entry != nullptr && result != CUDA_SUCCESS) session.host_calls().discard(entry->id);
  return bind_node(session, wanted, result, node);
}

}  // namespace vgpu::executor::handlers

#include "softgpu/driver/graph.h"

#include <algorithm>
#include <map>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph_conditional.h"
#include "softgpu/driver/graph_memory.h"
#include "softgpu/driver/per_thread.h"

namespace vgpu::softgpu {

std::vector<std::shared_ptr<Graph>*> inner_places(Operation& operation) {
  std::vector<std::shared_ptr<Graph>*> places;
  if (auto* child = std::get_if<ChildOperation>(&operation)) places.push_back(&child->graph);
  if (auto* conditional = std::get_if<ConditionalOperation>(&operation)) {
    for (auto& body : conditional->bodies) places.push_back(&body);
  }
  return places;
}

std::vector<std::shared_ptr<Graph>> inner_graphs(const Operation& operation) {
  std::vector<std::shared_ptr<Graph>> graphs;
  for (const auto* place : inner_places(const_cast<Operation&>(operation))) {
    graphs.push_back(*place);
  }
  return graphs;
}

void adopt(const std::shared_ptr<Graph>& graph) {
  graph->embedded = true;
  if (graph->id == 0) driver().graphs.add(graph);
  for (const auto& node : graph->nodes) {
    if (node->id == 0) driver().nodes.add(node);
    for (const auto& inner : inner_graphs(node->operation)) adopt(inner);
  }
}

std::shared_ptr<Graph> make_graph() {
  auto graph = std::make_shared<Graph>();
  driver().graphs.add(graph);
  return graph;
}

std::shared_ptr<Node> add_node(Graph& graph, Operation operation,
                               std::vector<std::shared_ptr<Node>> after) {
  auto node = std::make_shared<Node>();
  node->operation = std::move(operation);
  node->after = std::move(after);
  node->graph = driver().graphs.find(graph.id);
  driver().nodes.add(node);
  graph.nodes.push_back(node);
  for (const auto& inner : inner_graphs(node->operation)) adopt(inner);
  return node;
}

namespace {

// Ends the handles of a node and of what it contains.
void drop_node(const Node& node) {
  driver().nodes.remove(as_handle<void*>(node.id));
  for (const auto& inner : inner_graphs(node.operation)) {
    driver().graphs.remove(as_handle<void*>(inner->id));
    drop_nodes(*inner);
  }
}

}  // namespace

void drop_nodes(Graph& graph) {
  for (const auto& node : graph.nodes) {
    drop_node(*node);
    node->after.clear();
  }
  graph.nodes.clear();
}

CUgraphNodeType node_type(const Operation& operation) {
  constexpr CUgraphNodeType kTypes[] = {
      CU_GRAPH_NODE_TYPE_EMPTY,      CU_GRAPH_NODE_TYPE_KERNEL,
      CU_GRAPH_NODE_TYPE_MEMCPY,     CU_GRAPH_NODE_TYPE_MEMSET,
      CU_GRAPH_NODE_TYPE_HOST,       CU_GRAPH_NODE_TYPE_EVENT_RECORD,
      CU_GRAPH_NODE_TYPE_WAIT_EVENT, CU_GRAPH_NODE_TYPE_BATCH_MEM_OP,
      CU_GRAPH_NODE_TYPE_GRAPH,      CU_GRAPH_NODE_TYPE_MEM_ALLOC,
      CU_GRAPH_NODE_TYPE_MEM_FREE,   CU_GRAPH_NODE_TYPE_CONDITIONAL};
  static_assert(std::size(kTypes) == std::variant_size_v<Operation>);
  return kTypes[operation.index()];
}

std::vector<std::shared_ptr<Node>> execution_order(const Graph& graph, bool& cycle) {
  std::map<const Node*, size_t> waiting;
  for (const auto& node : graph.nodes) waiting[node.get()] = node->after.size();
  std::vector<std::shared_ptr<Node>> order;
  std::vector<std::shared_ptr<Node>> left = graph.nodes;
  // Nodes are mostly created in execution order: few passes.
  std::set<const Node*> done;
  while (!left.empty()) {
    std::vector<std::shared_ptr<Node>> blocked;
    for (const auto& node : left) {
      const bool ready = std::all_of(node->after.begin(), node->after.end(),
                                     [&](const auto& one) { return done.contains(one.get()); });
      if (!ready) {
        blocked.push_back(node);
        continue;
      }
      done.insert(node.get());
      order.push_back(node);
    }
    if (blocked.size() == left.size()) {
      cycle = true;
      return {};
    }
    left = std::move(blocked);
  }
  cycle = false;
  return order;
}

std::shared_ptr<Graph> clone_graph(const Graph& graph) {
  auto copy = std::make_shared<Graph>(graph.user_objects);
  copy->conditionals = graph.conditionals;
  std::map<const Node*, std::shared_ptr<Node>> twin;
  for (const auto& node : graph.nodes) {
    auto one = std::make_shared<Node>();
    one->operation = node->operation;
    for (auto* inner : inner_places(one->operation)) *inner = clone_graph(**inner);
    one->enabled = node->enabled;
    one->origin = node->id != 0 ? node->id : node->origin;
    one->graph = copy;
    twin[node.get()] = one;
    copy->nodes.push_back(one);
  }
  for (const auto& node : graph.nodes) {
    for (const auto& before : node->after) twin[node.get()]->after.push_back(twin[before.get()]);
  }
  return copy;
}

void prepare_launch(Graph& graph) {
  for (const auto& node : graph.nodes) {
    if (auto* record = std::get_if<RecordOperation>(&node->operation)) {
      record->completion = std::make_shared<Completion>();
      const std::lock_guard lock(record->event->mutex);
      record->event->completion = record->completion;
      record->event->capture = nullptr;
    } else if (auto* wait = std::get_if<WaitOperation>(&node->operation)) {
      const std::lock_guard lock(wait->event->mutex);
      wait->completion = wait->event->completion;
    }
    for (const auto& inner : inner_graphs(node->operation)) prepare_launch(*inner);
  }
}

CUresult check_edges(const CUgraphEdgeData* edges, size_t count) {
  for (size_t i = 0; edges != nullptr && i < count; ++i) {
    if (edges[i].from_port != 0 || edges[i].to_port != 0 || edges[i].type != 0) {
      return unsupported("graph edges with data");
    }
  }
  return CUDA_SUCCESS;
}

CUresult find_graph(CUgraph handle, std::shared_ptr<Graph>& graph) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  graph = driver().graphs.find(handle);
  return graph ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult freeze(const Graph& graph, std::shared_ptr<Graph>& frozen) {
  frozen = clone_graph(graph);
  bool cycle = false;
  frozen->nodes = execution_order(*frozen, cycle);
  if (cycle) return CUDA_ERROR_INVALID_VALUE;
  for (const auto& node : frozen->nodes) {
    for (auto* place : inner_places(node->operation)) {
      const std::shared_ptr<Graph> inner = *place;
      if (const CUresult result = freeze(*inner, *place)) return result;
    }
  }
  return CUDA_SUCCESS;
}

namespace {

// A launch that was refused: who waits for its events must not wait for ever.
void abandon_launch(const Graph& graph) {
  for (const auto& node : graph.nodes) {
    const auto* record = std::get_if<RecordOperation>(&node->operation);
    if (record != nullptr && record->completion) record->completion->complete();
    for (const auto& inner : inner_graphs(node->operation)) abandon_launch(*inner);
  }
}

// Launches of one instance run one after the other, whatever streams they are in.
void wait_for_launch(const std::shared_ptr<Stream>& stream, const Fence& before) {
  if (before.stream == nullptr || before.stream == stream || before.reached()) return;
  submit(stream, [before] { before.wait(); }, Place::kStream, true);
}

}  // namespace

namespace api {
namespace {

bool has_event_nodes(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const auto& node) {
    const auto inner = inner_graphs(node->operation);
    return std::holds_alternative<RecordOperation>(node->operation) ||
           std::holds_alternative<WaitOperation>(node->operation) ||
           std::any_of(inner.begin(), inner.end(),
                       [](const auto& graph) { return has_event_nodes(*graph); });
  });
}

CUresult instantiate(CUgraphExec* out, CUgraph handle, unsigned flags) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  constexpr unsigned kFlags =
      CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |
      CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
  if ((flags & ~kFlags) != 0) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH) != 0) {
    return unsupported("graph launches from the device");
  }
  if (!graph->instance.expired() && has_memory_nodes(*graph)) return CUDA_ERROR_INVALID_VALUE;
  auto exec = std::make_shared<GraphExec>();
  exec->flags = flags;
  if (const CUresult result = freeze(*graph, exec->graph)) return result;
  graph->instance = exec;
  *out = as_handle<CUgraphExec>(driver().graph_execs.add(exec));
  return CUDA_SUCCESS;
}

using Nodes = std::vector<std::shared_ptr<Node>>;

CUresult give_nodes(const Nodes& nodes, CUgraphNode* out, size_t* count) {
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (out == nullptr) {
    *count = nodes.size();
    return CUDA_SUCCESS;
  }
  for (size_t i = 0; i < *count; ++i) {
    out[i] = i < nodes.size() ? as_handle<CUgraphNode>(nodes[i]->id) : nullptr;
  }
  *count = std::min(*count, nodes.size());
  return CUDA_SUCCESS;
}

CUresult give_edges(CUgraph handle, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* data,
                    size_t* count) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  if (count == nullptr || (from == nullptr) != (to == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  size_t total = 0;
  for (const auto& node : graph->nodes) {
    for (const auto& before : node->after) {
      if (from != nullptr && total < *count) {
        from[total] = as_handle<CUgraphNode>(before->id);
        to[total] = as_handle<CUgraphNode>(node->id);
        if (data != nullptr) data[total] = {};
      }
      ++total;
    }
  }
  *count = from == nullptr ? total : std::min(*count, total);
  return CUDA_SUCCESS;
}

CUresult dependencies_of(CUgraphNode handle, CUgraphNode* out, CUgraphEdgeData* data, size_t* count,
                         bool dependents) {
  const std::lock_guard lock(capture_mutex());
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto node = driver().nodes.find(handle);
  const auto graph = node ? node->graph.lock() : nullptr;
  if (!graph) return CUDA_ERROR_INVALID_VALUE;
  Nodes list;
  if (!dependents) {
    list = node->after;
  } else {
    for (const auto& one : graph->nodes) {
      if (std::find(one->after.begin(), one->after.end(), node) != one->after.end()) {
        list.push_back(one);
      }
    }
  }
  const CUresult result = give_nodes(list, out, count);
  if (result == CUDA_SUCCESS && out != nullptr && data != nullptr) {
    std::fill(data, data + *count, CUgraphEdgeData{});
  }
  return result;
}

CUresult connect(CUgraph handle, const CUgraphNode* from, const CUgraphNode* to,
                 const CUgraphEdgeData* edges, size_t count, bool add) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  if (const CUresult result = check_edges(edges, count)) return result;
  if (!add && count != 0 && has_memory_nodes(*graph)) return CUDA_ERROR_NOT_SUPPORTED;
  if (count != 0 && (from == nullptr || to == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; ++i) {
    const auto first = driver().nodes.find(from[i]);
    const auto second = driver().nodes.find(to[i]);
    if (!first || !second || first == second || first->graph.lock() != graph ||
        second->graph.lock() != graph) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const auto found = std::find(second->after.begin(), second->after.end(), first);
    if ((found != second->after.end()) == add) return CUDA_ERROR_INVALID_VALUE;
    if (add) {
      second->after.push_back(first);
    } else {
      second->after.erase(found);
    }
  }
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphCreate(CUgraph* out, unsigned flags) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  *out = as_handle<CUgraph>(make_graph()->id);
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph handle) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  if (graph->embedded) return CUDA_ERROR_INVALID_VALUE;
  drop_nodes(*graph);
  driver().graphs.remove(handle);
  return CUDA_SUCCESS;
}

CUresult cuGraphClone(CUgraph* out, CUgraph handle) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (has_memory_nodes(*graph) || !graph->conditionals.empty()) return CUDA_ERROR_NOT_SUPPORTED;
  const auto copy = clone_graph(*graph);
  adopt(copy);
  copy->embedded = false;
  *out = as_handle<CUgraph>(copy->id);
  return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* out, CUgraph graph, unsigned long long flags) {
  return instantiate(out, graph, static_cast<unsigned>(flags));
}
CUresult cuGraphInstantiateWithParams(CUgraphExec* out, CUgraph graph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS* parameters) {
  if (parameters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = instantiate(out, graph, static_cast<unsigned>(parameters->flags));
  parameters->hErrNode_out = nullptr;
  parameters->result_out =
      result == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS : CUDA_GRAPH_INSTANTIATE_ERROR;
  if (result != CUDA_SUCCESS) return result;
  if ((parameters->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) != 0) {
    return api::cuGraphUpload(*out, parameters->hUploadStream);
  }
  return CUDA_SUCCESS;
}
CUresult cuGraphInstantiate_v2(CUgraphExec* out, CUgraph graph, CUgraphNode* error, char* log,
                               size_t size) {
  if (error != nullptr) *error = nullptr;
  if (log != nullptr && size != 0) *log = '\0';
  return instantiate(out, graph, 0);
}

CUresult cuGraphExecDestroy(CUgraphExec handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  return driver().graph_execs.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphExecGetFlags(CUgraphExec handle, cuuint64_t* flags) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto exec = driver().graph_execs.find(handle);
  if (!exec || flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = exec->flags;
  return CUDA_SUCCESS;
}

CUresult cuGraphUpload(CUgraphExec handle, CUstream stream_handle) {
  const Current current;
  if (!current) return current.error();
  if (!driver().graph_execs.find(handle)) return CUDA_ERROR_INVALID_VALUE;
  return find_stream(current.shared(), stream_handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
  const Current current;
  if (!current) return current.error();
  const auto stream = find_stream(current.shared(), stream_handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  const auto exec = driver().graph_execs.find(handle);
  if (!exec) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Graph> graph;
  {
    const std::lock_guard lock(capture_mutex());
    graph = exec->graph;
    if (stream->capture && has_memory_nodes(*graph)) {
      return unsupported("capture of a launch of a graph with memory nodes");
    }
    if (stream->capture || has_event_nodes(*graph)) {
      // Event nodes carry the completion of one launch, so each launch has its copy.
      std::shared_ptr<Graph> own;
      if (const CUresult result = freeze(*graph, own)) return result;
      graph = std::move(own);
    }
    if (!stream->capture) {
      const bool automatic = (exec->flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH) != 0;
      if (const CUresult result = claim_memory(*graph, automatic, stream)) return result;
      prepare_launch(*graph);
      wait_for_launch(stream, exec->last);
    }
  }
  Fence done;
  const CUresult result = issue(stream, ChildOperation{graph, !stream->capture}, &done);
  if (result != CUDA_SUCCESS) {
    abandon_launch(*graph);
    return result;
  }
  const std::lock_guard lock(capture_mutex());
  exec->last = done;
  return CUDA_SUCCESS;
}

CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  return give_nodes(graph->nodes, nodes, count);
}

CUresult cuGraphGetRootNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  Nodes roots;
  std::copy_if(graph->nodes.begin(), graph->nodes.end(), std::back_inserter(roots),
               [](const auto& node) { return node->after.empty(); });
  return give_nodes(roots, nodes, count);
}

CUresult cuGraphGetEdges(CUgraph graph, CUgraphNode* from, CUgraphNode* to, size_t* count) {
  return give_edges(graph, from, to, nullptr, count);
}
CUresult cuGraphGetEdges_v2(CUgraph graph, CUgraphNode* from, CUgraphNode* to,
                            CUgraphEdgeData* data, size_t* count) {
  return give_edges(graph, from, to, data, count);
}
CUresult cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode* out, size_t* count) {
  return dependencies_of(node, out, nullptr, count, false);
}
CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode* out, CUgraphEdgeData* data,
                                       size_t* count) {
  return dependencies_of(node, out, data, count, false);
}
CUresult cuGraphNodeGetDependentNodes(CUgraphNode node, CUgraphNode* out, size_t* count) {
  return dependencies_of(node, out, nullptr, count, true);
}
CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode* out, CUgraphEdgeData* data,
                                         size_t* count) {
  return dependencies_of(node, out, data, count, true);
}
CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                size_t count) {
  return connect(graph, from, to, nullptr, count, true);
}
CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData* edges, size_t count) {
  return connect(graph, from, to, edges, count, true);
}
CUresult cuGraphRemoveDependencies(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                   size_t count) {
  return connect(graph, from, to, nullptr, count, false);
}
CUresult cuGraphRemoveDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                      const CUgraphEdgeData* edges, size_t count) {
  return connect(graph, from, to, edges, count, false);
}

CUresult cuGraphNodeGetType(CUgraphNode handle, CUgraphNodeType* type) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto node = driver().nodes.find(handle);
  if (!node || type == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *type = node_type(node->operation);
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroyNode(CUgraphNode handle) {
  const std::lock_guard lock(capture_mutex());
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto node = driver().nodes.find(handle);
  const auto graph = node ? node->graph.lock() : nullptr;
  if (!graph) return CUDA_ERROR_INVALID_VALUE;
  if (has_memory_nodes(*graph)) return CUDA_ERROR_NOT_SUPPORTED;
  drop_node(*node);
  for (const auto& one : graph->nodes) std::erase(one->after, node);
  std::erase(graph->nodes, node);
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu

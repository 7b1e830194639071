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

namespace api {

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

// The nodes and edges of a graph: lists of them, and edges that come and go.
#include <algorithm>
#include <iterator>
#include <vector>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph.h"
#include "softgpu/driver/graph_memory.h"

namespace vgpu::softgpu::api {
namespace {

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

}  // namespace vgpu::softgpu::api

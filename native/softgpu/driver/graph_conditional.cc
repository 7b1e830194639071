#include "softgpu/driver/graph_conditional.h"

#include <map>
#include <mutex>

#include "generated/softgpu_api.h"
#include "softgpu/driver/graph_nodes.h"

namespace vgpu::softgpu {
namespace {

// By handle; kernels look here, so that instances may outlive the graph.
struct Handles {
  std::mutex mutex;  // guards all below
  uint64_t serial = 0;
  std::map<uint64_t, std::weak_ptr<Conditional>> known;
};
Handles& handles() {
  static auto* one = new Handles;
  return *one;
}

std::shared_ptr<Conditional> find_conditional(uint64_t handle) {
  const std::lock_guard lock(handles().mutex);
  const auto found = handles().known.find(handle);
  return found == handles().known.end() ? nullptr : found->second.lock();
}

}  // namespace

bool set_conditional(uint64_t handle, uint32_t value) {
  const auto conditional = find_conditional(handle);
  if (conditional) conditional->value = value;
  return conditional != nullptr;
}

void reset_conditionals(const Graph& graph) {
  for (const auto& one : graph.conditionals) {
    if (one->assign_initial) one->value = one->initial;
  }
  for (const auto& node : graph.nodes) {
    for (const auto& inner : inner_graphs(node->operation)) reset_conditionals(*inner);
  }
}

CUresult add_conditional_node(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                              size_t count, CUDA_CONDITIONAL_NODE_PARAMS& given) {
  const std::lock_guard lock(capture_mutex());
  const bool fits = given.type == CU_GRAPH_COND_TYPE_WHILE ? given.size == 1
                    : given.type == CU_GRAPH_COND_TYPE_IF  ? given.size == 1 || given.size == 2
                                                           : given.size > 0 && given.size <= 65536;
  ConditionalOperation operation;
  operation.condition = find_conditional(given.handle);
  operation.type = given.type;
  if (!operation.condition || !fits || given.type > CU_GRAPH_COND_TYPE_SWITCH) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (unsigned i = 0; i < given.size; ++i) operation.bodies.push_back(std::make_shared<Graph>());
  if (const CUresult result =
          add_node_after(out, graph, dependencies, count, std::move(operation))) {
    return result;
  }
  const auto node = driver().nodes.find(*out);
  for (const auto& body : inner_graphs(node->operation)) {
    node->body_handles.push_back(as_handle<CUgraph>(body->id));
  }
  given.phGraph_out = node->body_handles.data();
  return CUDA_SUCCESS;
}

namespace api {

CUresult cuGraphConditionalHandleCreate(CUgraphConditionalHandle* out, CUgraph handle, CUcontext,
                                        unsigned initial, unsigned flags) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  if (out == nullptr || (flags & ~unsigned{CU_GRAPH_COND_ASSIGN_DEFAULT}) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  auto conditional = std::make_shared<Conditional>();
  conditional->initial = initial;
  conditional->assign_initial = flags == CU_GRAPH_COND_ASSIGN_DEFAULT;
  graph->conditionals.push_back(conditional);
  const std::lock_guard handles_lock(handles().mutex);
  std::erase_if(handles().known, [](const auto& one) { return one.second.expired(); });
  conditional->id = ++handles().serial;
  handles().known[conditional->id] = conditional;
  *out = conditional->id;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu

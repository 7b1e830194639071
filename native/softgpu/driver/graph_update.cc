#include "softgpu/driver/graph_update.h"

#include <algorithm>
#include <map>

#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph_memory.h"

namespace vgpu::softgpu {
namespace {

using Result = CUgraphExecUpdateResult;

Result compare(const KernelOperation& before, const KernelOperation& after) {
  const auto from = before.function->module.lock(), to = after.function->module.lock();
  if (from && to && from->context != to->context) {
    return CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE;
  }
  return before.cooperative == after.cooperative ? CU_GRAPH_EXEC_UPDATE_SUCCESS
                                                 : CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED;
}

const Device* device_of(uint64_t address) {
  const auto found = driver().allocations.find(address);
  return found && !found->on_host() ? found->device : nullptr;
}

Result compare(const CopyOperation& before, const CopyOperation& after) {
  const CUDA_MEMCPY3D &a = before.as_given, &b = after.as_given;
  const bool same = a.srcMemoryType == b.srcMemoryType && a.dstMemoryType == b.dstMemoryType &&
                    device_of(before.source) == device_of(after.source) &&
                    device_of(before.destination) == device_of(after.destination);
  return same ? CU_GRAPH_EXEC_UPDATE_SUCCESS : CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
}

Result compare(const FillOperation& before, const FillOperation& after) {
  const CUDA_MEMSET_NODE_PARAMS &a = before.node, &b = after.node;
  const bool flat = a.height <= 1 && b.height <= 1;
  const bool same = device_of(a.dst) == device_of(b.dst) &&
                    (flat || (a.width == b.width && a.height == b.height && a.pitch == b.pitch &&
                              a.elementSize == b.elementSize));
  return same ? CU_GRAPH_EXEC_UPDATE_SUCCESS : CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
}

// The memory of a node stays: what the new graph allocates lies elsewhere.
Result compare(const AllocateOperation& before, const AllocateOperation& after) {
  return before.memory == after.memory ? CU_GRAPH_EXEC_UPDATE_SUCCESS
                                       : CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
}
Result compare(const FreeOperation& before, const FreeOperation& after) {
  return before.memory == after.memory ? CU_GRAPH_EXEC_UPDATE_SUCCESS
                                       : CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
}
Result compare(const ConditionalOperation& before, const ConditionalOperation& after) {
  const bool same = before.condition == after.condition && before.type == after.type &&
                    before.bodies.size() == after.bodies.size();
  return same ? CU_GRAPH_EXEC_UPDATE_SUCCESS : CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
}
template <typename T>
Result compare(const T&, const T&) {
  return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

Result compare_operations(const Operation& before, const Operation& after) {
  return std::visit(
      [&](const auto& one) { return compare(one, std::get<std::decay_t<decltype(one)>>(after)); },
      before);
}

}  // namespace

bool compare_for_update(const Graph& before, const Graph& after,
                        CUgraphExecUpdateResultInfo& info) {
  const auto fail = [&](Result why, const Node* node, const Node* from = nullptr) {
    info.result = why;
    info.errorNode = node == nullptr ? nullptr : as_handle<CUgraphNode>(node->origin);
    info.errorFromNode = from == nullptr ? nullptr : as_handle<CUgraphNode>(from->origin);
    return false;
  };
  if (before.nodes.size() != after.nodes.size()) {
    return fail(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, nullptr);
  }
  std::map<const Node*, const Node*> pair;  // node of `after` -> node of `before`
  for (size_t i = 0; i < after.nodes.size(); ++i) {
    const Node &a = *before.nodes[i], &b = *after.nodes[i];
    pair[&b] = &a;
    if (a.operation.index() != b.operation.index()) {
      return fail(CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED, &b);
    }
    if (a.after.size() != b.after.size()) {
      return fail(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, &b);
    }
    for (const auto& from : b.after) {
      const bool found = std::any_of(a.after.begin(), a.after.end(), [&](const auto& one) {
        return one.get() == pair[from.get()];
      });
      if (!found) return fail(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, &b, from.get());
    }
    const Result result = compare_operations(a.operation, b.operation);
    if (result != CU_GRAPH_EXEC_UPDATE_SUCCESS) return fail(result, &b);
    const auto inner = inner_graphs(a.operation), inner_after = inner_graphs(b.operation);
    for (size_t k = 0; k < inner.size(); ++k) {
      if (!compare_for_update(*inner[k], *inner_after[k], info)) return false;
    }
  }
  return true;
}

void keep_origins(const Graph& before, Graph& after) {
  for (size_t i = 0; i < after.nodes.size(); ++i) {
    after.nodes[i]->origin = before.nodes[i]->origin;
    after.nodes[i]->enabled = before.nodes[i]->enabled;
    const auto inner = inner_graphs(before.nodes[i]->operation);
    const auto inner_after = inner_graphs(after.nodes[i]->operation);
    for (size_t k = 0; k < inner.size(); ++k) keep_origins(*inner[k], *inner_after[k]);
  }
}

}  // namespace vgpu::softgpu

// Nodes that record events, wait for them, and read or write single values.
#include "generated/softgpu_api.h"
#include "softgpu/driver/graph_nodes.h"
#include "softgpu/driver/stream.h"

namespace vgpu::softgpu::api {
namespace {

CUresult find_event(CUevent handle, std::shared_ptr<Event>& event) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  event = driver().events.find(handle);
  return event ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// Record and wait nodes are alike.
template <typename T>
CUresult add(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
             CUevent handle) {
  std::shared_ptr<Event> event;
  if (const CUresult result = find_event(handle, event)) return result;
  return add_node_after(out, graph, dependencies, count, T{event, {}});
}

template <typename T>
CUresult get(CUgraphNode handle, CUevent* event) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  const auto* operation = operation_of<T>(handle, node);
  if (event == nullptr || operation == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *event = as_handle<CUevent>(operation->event->id);
  return CUDA_SUCCESS;
}

template <typename T>
CUresult set(CUgraphNode handle, CUevent event_handle) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Event> event;
  std::shared_ptr<Node> node;
  if (const CUresult result = find_event(event_handle, event)) return result;
  auto* operation = operation_of<T>(handle, node);
  if (operation == nullptr) return CUDA_ERROR_INVALID_VALUE;
  operation->event = event;
  return CUDA_SUCCESS;
}

template <typename T>
CUresult set_in_instance(CUgraphExec exec, CUgraphNode handle, CUevent event_handle) {
  std::shared_ptr<Event> event;
  if (const CUresult result = find_event(event_handle, event)) return result;
  return change_operation<T>(exec, handle, [&](T& operation) {
    operation.event = event;
    return CUDA_SUCCESS;
  });
}

CUresult value_operation(const CUDA_BATCH_MEM_OP_NODE_PARAMS& given, ValueOperation& operation) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (given.flags != 0 || given.count > 256 || (given.count != 0 && given.paramArray == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (unsigned i = 0; i < given.count; ++i) {
    if (const CUresult result = check_value_step(given.paramArray[i])) return result;
  }
  operation.context = reinterpret_cast<uint64_t>(given.ctx);
  operation.steps.assign(given.paramArray, given.paramArray + given.count);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphAddEventRecordNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                   size_t count, CUevent event) {
  return add<RecordOperation>(out, graph, dependencies, count, event);
}
CUresult cuGraphAddEventWaitNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                 size_t count, CUevent event) {
  return add<WaitOperation>(out, graph, dependencies, count, event);
}
CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode node, CUevent* event) {
  return get<RecordOperation>(node, event);
}
CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode node, CUevent* event) {
  return get<WaitOperation>(node, event);
}
CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode node, CUevent event) {
  return set<RecordOperation>(node, event);
}
CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode node, CUevent event) {
  return set<WaitOperation>(node, event);
}
CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event) {
  return set_in_instance<RecordOperation>(exec, node, event);
}
CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event) {
  return set_in_instance<WaitOperation>(exec, node, event);
}

CUresult cuGraphAddBatchMemOpNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                  size_t count, const CUDA_BATCH_MEM_OP_NODE_PARAMS* given) {
  if (given == nullptr) return CUDA_ERROR_INVALID_VALUE;
  ValueOperation operation;
  if (const CUresult result = value_operation(*given, operation)) return result;
  return add_node_after(out, graph, dependencies, count, std::move(operation));
}

CUresult cuGraphBatchMemOpNodeGetParams(CUgraphNode handle, CUDA_BATCH_MEM_OP_NODE_PARAMS* out) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  auto* operation = operation_of<ValueOperation>(handle, node);
  if (out == nullptr || operation == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = {as_handle<CUcontext>(operation->context), static_cast<unsigned>(operation->steps.size()),
          operation->steps.data(), 0};
  return CUDA_SUCCESS;
}

CUresult cuGraphBatchMemOpNodeSetParams(CUgraphNode handle,
                                        const CUDA_BATCH_MEM_OP_NODE_PARAMS* given) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  auto* operation = operation_of<ValueOperation>(handle, node);
  if (given == nullptr || operation == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return value_operation(*given, *operation);
}

CUresult cuGraphExecBatchMemOpNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                            const CUDA_BATCH_MEM_OP_NODE_PARAMS* given) {
  if (given == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return change_operation<ValueOperation>(
      exec, node, [&](ValueOperation& operation) { return value_operation(*given, operation); });
}

}  // namespace vgpu::softgpu::api

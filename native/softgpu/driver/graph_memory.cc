#include "softgpu/driver/graph_memory.h"

#include <algorithm>
#include <map>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph_nodes.h"

namespace vgpu::softgpu {
namespace {

uint64_t charged(size_t bytes) { return (bytes + kMemoryUnit - 1) / kMemoryUnit * kMemoryUnit; }

struct Usage {
  uint64_t used = 0, used_high = 0, reserved = 0, reserved_high = 0;
};
struct Books {
  std::mutex mutex;  // guards usage
  std::map<const Device*, Usage> usage;
  // By address; guarded by capture_mutex().
  std::map<uint64_t, std::weak_ptr<GraphMemory>> known;
  std::map<uint64_t, std::shared_ptr<GraphMemory>> live;  // outlives its graph until it is freed
};
Books& books() {
  static auto* one = new Books;
  return *one;
}

std::shared_ptr<GraphMemory> find_memory(uint64_t address) {
  const auto found = books().known.find(address);
  return found == books().known.end() ? nullptr : found->second.lock();
}

CUresult make_memory(Device& device, uint64_t graph, CUDA_MEM_ALLOC_NODE_PARAMS parameters,
                     std::shared_ptr<GraphMemory>& memory) {
  memory = std::make_shared<GraphMemory>(device, graph);
  memory->access.assign(parameters.accessDescs,
                        parameters.accessDescs + parameters.accessDescCount);
  auto grants = std::make_shared<Grants>();
  (*grants)[device.ordinal] = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  for (const CUmemAccessDesc& one : memory->access) {
    const Device* peer = find_device(one.location.id);
    if (one.location.type != CU_MEM_LOCATION_TYPE_DEVICE || peer == nullptr) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    if (peer != &device) (*grants)[peer->ordinal] = one.flags;
  }
  const Allocation description{.kind = MemoryKind::kGraph, .grants = grants, .present = false};
  if (const CUresult result = allocate_device(device, parameters.bytesize, kMemoryUnit, description,
                                              &memory->address)) {
    return result;
  }
  parameters.dptr = memory->address;
  parameters.accessDescs = memory->access.empty() ? nullptr : memory->access.data();
  memory->parameters = parameters;
  books().known[memory->address] = memory;
  const std::lock_guard lock(books().mutex);
  Usage& usage = books().usage[&device];
  usage.reserved += charged(parameters.bytesize);
  usage.reserved_high = std::max(usage.reserved_high, usage.reserved);
  return CUDA_SUCCESS;
}

// The free node that is about to be added to `graph`. Requires capture_mutex().
CUresult claim_free(uint64_t address, uint64_t graph, FreeOperation& free) {
  free.memory = find_memory(address);
  if (!free.memory || free.memory->freed_by != 0) return CUDA_ERROR_INVALID_VALUE;
  free.memory->freed_by = graph;
  return CUDA_SUCCESS;
}

void release(GraphMemory& memory) {
  memory.live = false;
  books().live.erase(memory.address);
}

template <typename Visit>
void each_operation(const Graph& graph, Visit visit) {
  for (const auto& node : graph.nodes) {
    visit(node->operation);
    if (const auto* child = std::get_if<ChildOperation>(&node->operation)) {
      each_operation(*child->graph, visit);
    }
  }
}

}  // namespace

GraphMemory::~GraphMemory() {
  if (address == 0) return;
  disappear();
  {
    const std::lock_guard lock(books().mutex);
    books().usage[&device].reserved -= charged(parameters.bytesize);
  }
  const std::lock_guard lock(capture_mutex());
  books().known.erase(address);
  if (const auto removed = driver().allocations.remove(address)) release_memory(*removed);
}

void GraphMemory::appear() {
  driver().allocations.set_present(address, true);
  const std::lock_guard lock(books().mutex);
  Usage& usage = books().usage[&device];
  usage.used += charged(parameters.bytesize);
  usage.used_high = std::max(usage.used_high, usage.used);
}

void GraphMemory::disappear() {
  const auto found = driver().allocations.find(address);
  if (!found || !found->present) return;
  driver().allocations.set_present(address, false);
  const std::lock_guard lock(books().mutex);
  books().usage[&device].used -= charged(parameters.bytesize);
}

CUresult capture_allocation(Stream& stream, Device& device, size_t bytes, CUdeviceptr* address) {
  const std::lock_guard lock(capture_mutex());
  if (!stream.capture) return CUDA_ERROR_UNKNOWN;
  if (stream.capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  CUDA_MEM_ALLOC_NODE_PARAMS parameters{};
  parameters.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  parameters.poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, device.ordinal};
  parameters.bytesize = bytes;
  AllocateOperation operation;
  if (const CUresult result =
          make_memory(device, stream.capture->graph->id, parameters, operation.memory)) {
    return result;
  }
  *address = operation.memory->address;
  return capture_operation(stream, std::move(operation));
}

CUresult capture_free(Stream& stream, uint64_t address) {
  const std::lock_guard lock(capture_mutex());
  if (!stream.capture) return CUDA_ERROR_UNKNOWN;
  if (stream.capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  FreeOperation operation;
  if (const CUresult result = claim_free(address, stream.capture->graph->id, operation)) {
    return result;
  }
  return capture_operation(stream, std::move(operation));
}

CUresult free_graph_memory(Context& context, uint64_t address) {
  std::shared_ptr<GraphMemory> memory;
  {
    const std::lock_guard lock(capture_mutex());
    memory = find_memory(address);
    if (!memory || !memory->live) return CUDA_ERROR_INVALID_VALUE;
    release(*memory);
  }
  const CUresult result = synchronize(context);
  memory->disappear();
  return result;
}

CUresult free_graph_memory_async(const std::shared_ptr<Stream>& stream, uint64_t address) {
  std::shared_ptr<GraphMemory> memory;
  {
    const std::lock_guard lock(capture_mutex());
    memory = find_memory(address);
    if (!memory || !memory->live) return CUDA_ERROR_INVALID_VALUE;
    release(*memory);
  }
  submit(stream, [memory] { memory->disappear(); }, Place::kCallerIfIdle, true);
  return CUDA_SUCCESS;
}

bool has_memory_nodes(const Graph& graph) {
  bool found = false;
  each_operation(graph, [&](const Operation& operation) {
    found |= std::holds_alternative<AllocateOperation>(operation) ||
             std::holds_alternative<FreeOperation>(operation);
  });
  return found;
}

CUresult claim_memory(const Graph& graph, bool automatic_free,
                      const std::shared_ptr<Stream>& stream) {
  std::map<uint64_t, std::shared_ptr<GraphMemory>> made, freed, left;
  each_operation(graph, [&](const Operation& operation) {
    if (const auto* allocate = std::get_if<AllocateOperation>(&operation)) {
      made.emplace(allocate->memory->address, allocate->memory);
    } else if (const auto* free = std::get_if<FreeOperation>(&operation)) {
      freed.emplace(free->memory->address, free->memory);
    }
  });
  for (const auto& [address, memory] : freed) {
    if (!made.contains(address) && !memory->live) return CUDA_ERROR_INVALID_VALUE;
  }
  for (const auto& [address, memory] : made) {
    if (freed.contains(address)) continue;
    if (memory->live && !automatic_free) return CUDA_ERROR_INVALID_VALUE;
    left.emplace(address, memory);
  }
  for (const auto& [address, memory] : freed) release(*memory);
  for (const auto& [address, memory] : left) {
    if (memory->live) {
      submit(stream, [memory] { memory->disappear(); }, Place::kCallerIfIdle, true);
    }
    memory->live = true;
    books().live[address] = memory;
  }
  return CUDA_SUCCESS;
}

namespace api {
namespace {

CUresult find_usage(CUdevice ordinal, const void* value, Device** device) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  *device = find_device(ordinal);
  if (*device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  return value == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

// The graph of a new memory node: embedded graphs take none.
CUresult find_own_graph(CUgraph handle, std::shared_ptr<Graph>& graph) {
  if (const CUresult result = find_graph(handle, graph)) return result;
  return graph->embedded ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphAddMemAllocNode(CUgraphNode* out, CUgraph handle, const CUgraphNode* dependencies,
                                size_t count, CUDA_MEM_ALLOC_NODE_PARAMS* given) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_own_graph(handle, graph)) return result;
  if (out == nullptr || given == nullptr || given->bytesize == 0 ||
      (given->accessDescCount != 0 && given->accessDescs == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const CUmemPoolProps& pool = given->poolProps;
  Device* device = find_device(pool.location.id);
  if (pool.allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
      pool.location.type != CU_MEM_LOCATION_TYPE_DEVICE || device == nullptr ||
      pool.handleTypes != CU_MEM_HANDLE_TYPE_NONE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  AllocateOperation operation;
  if (const CUresult result = make_memory(*device, graph->id, *given, operation.memory)) {
    return result;
  }
  const uint64_t address = operation.memory->address;
  const CUresult result = add_node_after(out, handle, dependencies, count, std::move(operation));
  if (result == CUDA_SUCCESS) given->dptr = address;
  return result;
}

CUresult cuGraphMemAllocNodeGetParams(CUgraphNode handle, CUDA_MEM_ALLOC_NODE_PARAMS* out) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  const auto* allocate = operation_of<AllocateOperation>(handle, node);
  if (out == nullptr || allocate == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = allocate->memory->parameters;
  return CUDA_SUCCESS;
}

CUresult cuGraphAddMemFreeNode(CUgraphNode* out, CUgraph handle, const CUgraphNode* dependencies,
                               size_t count, CUdeviceptr address) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_own_graph(handle, graph)) return result;
  FreeOperation operation;
  if (const CUresult result = claim_free(address, graph->id, operation)) return result;
  const auto memory = operation.memory;
  const CUresult result = add_node_after(out, handle, dependencies, count, std::move(operation));
  if (result != CUDA_SUCCESS) memory->freed_by = 0;
  return result;
}

CUresult cuGraphMemFreeNodeGetParams(CUgraphNode handle, CUdeviceptr* out) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  const auto* free = operation_of<FreeOperation>(handle, node);
  if (out == nullptr || free == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = free->memory->address;
  return CUDA_SUCCESS;
}

// Nothing is kept for graphs that are gone.
CUresult cuDeviceGraphMemTrim(CUdevice ordinal) {
  Device* device = nullptr;
  return find_usage(ordinal, &device, &device);
}

CUresult cuDeviceGetGraphMemAttribute(CUdevice ordinal, CUgraphMem_attribute attribute,
                                      void* value) {
  Device* device = nullptr;
  if (const CUresult result = find_usage(ordinal, value, &device)) return result;
  const std::lock_guard lock(books().mutex);
  const Usage& usage = books().usage[device];
  auto& out = *static_cast<cuuint64_t*>(value);
  switch (attribute) {
    case CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT:
      out = usage.used;
      return CUDA_SUCCESS;
    case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH:
      out = usage.used_high;
      return CUDA_SUCCESS;
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT:
      out = usage.reserved;
      return CUDA_SUCCESS;
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH:
      out = usage.reserved_high;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuDeviceSetGraphMemAttribute(CUdevice ordinal, CUgraphMem_attribute attribute,
                                      void* value) {
  Device* device = nullptr;
  if (const CUresult result = find_usage(ordinal, value, &device)) return result;
  if (*static_cast<const cuuint64_t*>(value) != 0) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(books().mutex);
  Usage& usage = books().usage[device];
  switch (attribute) {
    case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH:
      usage.used_high = usage.used;
      return CUDA_SUCCESS;
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH:
      usage.reserved_high = usage.reserved;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

}  // namespace api
}  // namespace vgpu::softgpu

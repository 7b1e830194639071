// Memory that graphs allocate and free. Its address is fixed when the allocation node is made; it
// is there from the launch of that node to whatever frees it: a node, a stream, or cuMemFree.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "softgpu/driver/stream.h"

namespace vgpu::softgpu {

struct Device;
struct Graph;
struct GraphExec;

struct GraphMemory {
  GraphMemory(Device& device, uint64_t graph) : device(device), graph(graph) {}
  ~GraphMemory();
  GraphMemory(const GraphMemory&) = delete;
  GraphMemory& operator=(const GraphMemory&) = delete;

  Device& device;
  const uint64_t graph;  // the handle of the graph with the allocation node
  uint64_t address = 0;
  CUDA_MEM_ALLOC_NODE_PARAMS parameters{};
  std::vector<CUmemAccessDesc> access;
  // Guarded by capture_mutex().
  uint64_t freed_by = 0;  // the graph with its free node, 0: none
  bool live = false;      // launched and not freed, in the order of submission

  // What the nodes do when a launch reaches them.
  void appear();
  void disappear();
};

// Under capture an allocation becomes a node, and so does a free.
CUresult capture_allocation(Stream& stream, Device& device, size_t bytes, CUdeviceptr* address);
CUresult capture_free(Stream& stream, uint64_t address);
// Of what a launch left behind. CUDA_ERROR_INVALID_VALUE when no launch did.
CUresult free_graph_memory(Context& context, uint64_t address);
CUresult free_graph_memory_async(const std::shared_ptr<Stream>& stream, uint64_t address);

// Whether a graph, or one that it contains, has memory nodes. Requires capture_mutex().
bool has_memory_nodes(const Graph& graph);
// Before a launch: refuses it when its memory is still there, or what it frees is not; with
// automatic frees, gives back first. Requires capture_mutex().
CUresult claim_memory(const Graph& graph, bool automatic_free,
                      const std::shared_ptr<Stream>& stream);

}  // namespace vgpu::softgpu

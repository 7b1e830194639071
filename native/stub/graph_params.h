// What the graph calls share: lists of nodes, and the parameters of a node as they travel
// (NodeParams in wire/calls.h).
#pragma once

#include <cuda.h>

#include <cstdint>
#include <vector>

#include "stub/call.h"

namespace vgpu::stub {

// u32 n, [u64]*n of existing nodes.
void put_nodes(Call& call, const CUgraphNode* nodes, size_t count);
// The part that all cuGraphAdd...Node calls begin with; returns the new node's id.
uint64_t begin_node(Call& call, CUgraph graph, const CUgraphNode* dependencies, size_t count);
CUresult end_node(Call& call, uint64_t id, CUgraphNode* node);
// Edges with data are not served.
bool plain_edges(const CUgraphEdgeData* edges, size_t count);
// 0 when there is none.
uint64_t context_id(CUcontext handle);

// Writes the parameters; what they name of this process becomes host entries.
class NodeWriter {
 public:
  CUresult put(Call& call, const CUgraphNodeParams& node);
  // The node was made.
  void made(Call& call, CUgraphNodeParams& node, uint64_t id);
  // It was not.
  void failed();

 private:
  CUresult put_kernel(Call& call, const CUDA_KERNEL_NODE_PARAMS_v3& node);
  CUresult put_allocation(Call& call, const CUDA_MEM_ALLOC_NODE_PARAMS_v2& node);
  CUresult put_conditional(Call& call, const CUDA_CONDITIONAL_NODE_PARAMS& node);

  uint64_t entry_ = 0;
  std::vector<uint64_t> bodies_;
};

// What a getter hands out as pointers: lives until the next getter of the same node.
struct NodeView {
  std::vector<std::byte> bytes;
  std::vector<void*> pointers;
  std::vector<CUgraph> graphs;
  std::vector<CUmemAccessDesc> access;
};
NodeView& view_of(uint64_t node);

// A memset node's fields as they travel.
void put_memset(Call& call, CUcontext context, const CUDA_MEMSET_NODE_PARAMS& set);
CUresult check_memset(const CUDA_MEMSET_NODE_PARAMS& set);

}  // namespace vgpu::stub

// Ids for graphs and nodes that the driver shows: what was shown before keeps its id, the others
// take the fresh ids that the client put into the record.
#pragma once

#include <cuda.h>

#include <span>
#include <vector>

#include "executor/session.h"

namespace vgpu::executor::handlers {

class GraphIds {
 public:
  // `fresh_graph`: one id, or 0; `first_node`: `room` ids from there on.
  GraphIds(Session& session, uint64_t fresh_graph, uint64_t first_node, uint32_t room)
      : session_(session), fresh_graph_(fresh_graph), next_node_(first_node), room_(room) {}

  // 0 when there is no id left, or the client's are not valid.
  uint64_t graph(CUgraph graph) {
    const auto handle = reinterpret_cast<uint64_t>(graph);
    if (const uint64_t known = session_.handles().id_of(handle); known != 0) return known;
    return session_.bind(fresh_graph_, graph) ? fresh_graph_ : 0;
  }
  uint64_t node(CUgraphNode node, uint64_t owner) {
    const auto handle = reinterpret_cast<uint64_t>(node);
    if (const uint64_t known = session_.handles().id_of(handle); known != 0) return known;
    if (room_ == 0) return 0;
    --room_;
    const uint64_t id = next_node_++;
    if (!session_.bind(id, node)) return 0;
    if (owner != 0) session_.own(owner, id);
    return id;
  }
  // u32 n, [u64 node]*n; what has no room any more is left out.
  void put_nodes(std::span<const CUgraphNode> nodes, CUgraph graph, wire::Writer& out) {
    const uint64_t owner = session_.handles().id_of(reinterpret_cast<uint64_t>(graph));
    std::vector<uint64_t> ids;
    for (const CUgraphNode one : nodes) {
      const uint64_t id = node(one, owner);
      if (id == 0) break;
      ids.push_back(id);
    }
    out.array(ids.data(), ids.size(), sizeof(uint64_t));
  }

 private:
  Session& session_;
  uint64_t fresh_graph_;
  uint64_t next_node_;
  uint32_t room_;
};

struct NewNode {
  uint64_t id = 0;
  uint64_t graph_id = 0;
  CUgraph graph = nullptr;
  std::vector<CUgraphNode> dependencies;
};

// u64 node, u64 graph, u32 n, [u64 dependency]*n
NewNode read_new_node(Session& session, wire::Reader& in);
CUresult bind_node(Session& session, const NewNode& wanted, CUresult result, CUgraphNode node);

}  // namespace vgpu::executor::handlers

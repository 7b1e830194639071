// The parameters of a node of any kind, as they travel (NodeParams in wire/calls.h).
#pragma once

#include <cuda.h>

#include <memory>
#include <vector>

#include "executor/handlers/support.h"

namespace vgpu::executor::handlers {

class NodeRequest {
 public:
  explicit NodeRequest(Session& session) : session_(session) {}
  ~NodeRequest() {
    if (entry != nullptr && !kept_) session_.host_calls().discard(entry->id);
  }
  NodeRequest(const NodeRequest&) = delete;
  NodeRequest& operator=(const NodeRequest&) = delete;
  // CUDA_SUCCESS, or why the node cannot be made. Entries are made here.
  CUresult read(wire::Reader& in) { return read(session_, in); }
  // The driver has a node that names the entry.
  void keep() { kept_ = true; }

  CUgraphNodeParams params{};
  std::shared_ptr<HostEntry> entry;  // of the client, if the node needs one
  uint64_t memory_entry = 0;         // of an allocation: made once it has its address
  std::vector<uint64_t> bodies;      // ids for the graphs of a conditional node
  // Of an event node; id 0 for others.
  [[nodiscard]] Resource event() const { return event_; }

 private:
  CUresult read(Session& session, wire::Reader& in);
  CUresult read_memcpy(Session& session, wire::Reader& in);
  CUresult read_memset(Session& session, wire::Reader& in);
  CUresult read_values(Session& session, wire::Reader& in);
  CUresult read_allocation(Session& session, wire::Reader& in);
  CUresult read_conditional(Session& session, wire::Reader& in);

  Session& session_;
  bool kept_ = false;
  Resource event_;
  LaunchRequest launch_;
  std::vector<CUmemAccessDesc> access_;
  std::vector<CUstreamBatchMemOpParams> steps_;
};

}  // namespace vgpu::executor::handlers

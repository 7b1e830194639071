// Nodes of graphs that reach into the client.
#pragma once

#include <cuda.h>

#include "executor/session.h"
#include "wire/calls.h"

namespace vgpu::executor::handlers {

// The entry of a host function that a node calls. Null: the client's number is taken.
std::shared_ptr<HostEntry> make_function_entry(Session& session, uint64_t id);
// For a copy with a host side that is a host entry: makes the entry and its staging memory, and
// points the copy at it. CUDA_SUCCESS with a null entry when there is no host side.
CUresult make_copy_entry(Session& session, const wire::Copy3d& wanted, CUDA_MEMCPY3D& copy,
                         std::shared_ptr<HostEntry>& entry);
// Memory that a graph allocates, counted until no graph has it any more.
std::shared_ptr<HostEntry> make_memory_entry(Session& session, uint64_t id, uint64_t address);
// The graph that the record's stream is captured to.
CUgraph captured_graph(Session& session, const Command& command);
// Bytes of a packed host side; 0 when the product overflows.
uint64_t packed_size(const wire::Copy3d& copy);

// Fills in what launches of the instance need; says so to the client (wire::InstanceKinds).
CUresult plan_instance(Session& session, uint64_t exec, CUgraph graph, wire::Writer& out);
// A launch that involves the client.
CUresult launch_with_host(Session& session, const Command& command, CUgraphExec exec,
                          std::shared_ptr<const HostPlan> plan);

}  // namespace vgpu::executor::handlers

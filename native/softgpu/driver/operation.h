// One unit of work, in a stream or as a node of a graph.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "softgpu/driver/stream.h"
#include "softgpu/ptx/engine.h"

namespace vgpu::softgpu {

struct Function;
struct Event;
struct Graph;
struct GraphMemory;
struct Conditional;
struct Allocation;
class Completion;

struct KernelOperation {
  std::shared_ptr<Function> function;
  ptx::Dim3 grid, block, cluster{0, 0, 0};
  uint32_t shared_bytes = 0;
  bool cooperative = false;
  std::vector<std::byte> parameters;
  std::vector<CUlaunchAttribute> attributes;
};
struct CopyOperation {
  CUDA_MEMCPY3D as_given{};  // for the getters of graph nodes
  uint64_t source = 0, destination = 0;
  size_t source_pitch = 0, source_slice = 0;
  size_t destination_pitch = 0, destination_slice = 0;
  size_t width = 0, height = 1, depth = 1;
  std::shared_ptr<std::vector<std::byte>> staged;  // pageable source, captured at the call
};
struct FillOperation {
  CUDA_MEMSET_NODE_PARAMS node{};
};
struct HostOperation {
  CUhostFn function = nullptr;
  void* user = nullptr;
};
struct RecordOperation {
  std::shared_ptr<Event> event;
  std::shared_ptr<Completion> completion;  // made at submission
};
struct WaitOperation {
  std::shared_ptr<Event> event;
  std::shared_ptr<Completion> completion;  // null: nothing to wait for
};
struct ValueOperation {  // cuStreamWaitValue, cuStreamWriteValue
  std::vector<CUstreamBatchMemOpParams> steps;
  uint64_t context = 0;  // as given for a graph node
};
struct EmptyOperation {};
struct ChildOperation {
  std::shared_ptr<Graph> graph;
  bool launch = false;  // the launch of an instance, not a node
};
struct AllocateOperation {
  std::shared_ptr<GraphMemory> memory;
};
struct FreeOperation {
  std::shared_ptr<GraphMemory> memory;
};
struct ConditionalOperation {
  std::shared_ptr<Conditional> condition;
  CUgraphConditionalNodeType type = CU_GRAPH_COND_TYPE_IF;
  std::vector<std::shared_ptr<Graph>> bodies;
};
using Operation =
    std::variant<EmptyOperation, KernelOperation, CopyOperation, FillOperation, HostOperation,
                 RecordOperation, WaitOperation, ValueOperation, ChildOperation, AllocateOperation,
                 FreeOperation, ConditionalOperation>;

// Does it now, on this thread. Faults are reported to the context.
void perform(const Operation& operation, Context& context);
// Puts it into the stream, or into the graph that the stream is captured to.
CUresult issue(const std::shared_ptr<Stream>& stream, Operation operation, Fence* fence = nullptr);
// issue() and wait for it.
CUresult issue_and_wait(const std::shared_ptr<Stream>& stream, Operation operation);

}  // namespace vgpu::softgpu

#include "softgpu/driver/operation.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph_conditional.h"
#include "softgpu/driver/graph_memory.h"
#include "softgpu/driver/launch.h"

namespace vgpu::softgpu {
namespace {

// Operations up to this size are done on the calling thread when nothing is before them: cheaper
// than waking the stream's thread.
constexpr size_t kInlineBytes = size_t{256} << 10;
constexpr auto kPoll = std::chrono::microseconds(20);

// Device memory that is written here counts as written for the check of kernels' reads.
void note_row(uint64_t destination, uint64_t source, size_t bytes) {
  if (Shadow* shadow = driver().shadow.get()) shadow->copy(destination, source, bytes);
}

void do_copy(const CopyOperation& copy) {
  const auto* source =
      copy.staged ? copy.staged->data() : reinterpret_cast<const std::byte*>(copy.source);
  auto* destination = reinterpret_cast<std::byte*>(copy.destination);
  if (copy.height == 1 && copy.depth == 1) {
    std::memmove(destination, source, copy.width);
    note_row(copy.destination, reinterpret_cast<uint64_t>(source), copy.width);
    return;
  }
  for (size_t z = 0; z < copy.depth; ++z) {
    for (size_t y = 0; y < copy.height; ++y) {
      std::byte* const to = destination + z * copy.destination_slice + y * copy.destination_pitch;
      const std::byte* const from = source + z * copy.source_slice + y * copy.source_pitch;
      std::memmove(to, from, copy.width);
      note_row(reinterpret_cast<uint64_t>(to), reinterpret_cast<uint64_t>(from), copy.width);
    }
  }
}

void do_fill(const CUDA_MEMSET_NODE_PARAMS& node) {
  auto* row = reinterpret_cast<std::byte*>(node.dst);
  for (size_t y = 0; y < node.height; ++y, row += node.pitch) {
    note_row(reinterpret_cast<uint64_t>(row), 0, node.width * node.elementSize);
    switch (node.elementSize) {
      case 1:
        std::memset(row, static_cast<int>(node.value & 0xff), node.width);
        break;
      case 2: {
        auto* words = reinterpret_cast<uint16_t*>(row);
        std::fill(words, words + node.width, static_cast<uint16_t>(node.value));
        break;
      }
      default: {
        auto* words = reinterpret_cast<uint32_t*>(row);
        std::fill(words, words + node.width, node.value);
      }
    }
  }
}

template <typename T>
bool satisfied(uint64_t address, uint64_t wanted, unsigned flags) {
  const T value = __atomic_load_n(reinterpret_cast<const T*>(address), __ATOMIC_ACQUIRE);
  const T want = static_cast<T>(wanted);
  switch (flags & 3) {
    case CU_STREAM_WAIT_VALUE_GEQ:
      return static_cast<std::make_signed_t<T>>(value - want) >= 0;
    case CU_STREAM_WAIT_VALUE_EQ:
      return value == want;
    case CU_STREAM_WAIT_VALUE_AND:
      return (value & want) != 0;
    default:
      return static_cast<T>(~(value | want)) != 0;
  }
}

void do_value(const CUstreamBatchMemOpParams& step, const Context& context) {
  note_row(step.writeValue.address, 0, 8);
  switch (step.operation) {
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
      while (context.fault == CUDA_SUCCESS &&
             !satisfied<uint32_t>(step.waitValue.address, step.waitValue.value,
                                  step.waitValue.flags)) {
        std::this_thread::sleep_for(kPoll);
      }
      break;
    case CU_STREAM_MEM_OP_WAIT_VALUE_64:
      while (context.fault == CUDA_SUCCESS &&
             !satisfied<uint64_t>(step.waitValue.address, step.waitValue.value64,
                                  step.waitValue.flags)) {
        std::this_thread::sleep_for(kPoll);
      }
      break;
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
      __atomic_store_n(reinterpret_cast<uint32_t*>(step.writeValue.address),
                       static_cast<uint32_t>(step.writeValue.value), __ATOMIC_RELEASE);
      break;
    case CU_STREAM_MEM_OP_WRITE_VALUE_64:
      __atomic_store_n(reinterpret_cast<uint64_t*>(step.writeValue.address),
                       step.writeValue.value64, __ATOMIC_RELEASE);
      break;
    default:
      break;
  }
}

struct Performer {
  Context& context;

  void operator()(const EmptyOperation&) const {}
  void operator()(const KernelOperation& kernel) const { run_kernel(kernel, context); }
  void operator()(const CopyOperation& copy) const { do_copy(copy); }
  void operator()(const FillOperation& fill) const { do_fill(fill.node); }
  void operator()(const HostOperation& host) const {
    context.output.flush();
    host.function(host.user);
  }
  void operator()(const RecordOperation& record) const {
    if (record.completion) record.completion->complete();
  }
  void operator()(const WaitOperation& wait) const {
    if (wait.completion) wait.completion->wait();
  }
  void operator()(const ValueOperation& value) const {
    for (const auto& step : value.steps) do_value(step, context);
  }
  void operator()(const ChildOperation& child) const {
    if (child.launch) reset_conditionals(*child.graph);
    perform_nodes(*child.graph);
  }
  void operator()(const AllocateOperation& allocate) const { allocate.memory->appear(); }
  void operator()(const FreeOperation& free) const { free.memory->disappear(); }
  void operator()(const ConditionalOperation& node) const {
    const auto value = [&] { return node.condition->value.load(); };
    switch (node.type) {
      case CU_GRAPH_COND_TYPE_IF:
        if (value() != 0) {
          perform_nodes(*node.bodies[0]);
        } else if (node.bodies.size() > 1) {
          perform_nodes(*node.bodies[1]);
        }
        break;
      case CU_GRAPH_COND_TYPE_WHILE:
        while (value() != 0 && context.fault == CUDA_SUCCESS) perform_nodes(*node.bodies[0]);
        break;
      default:
        if (value() < node.bodies.size()) perform_nodes(*node.bodies[value()]);
    }
  }
  void perform_nodes(const Graph& graph) const {
    for (const auto& node : graph.nodes) {
      // Event nodes run even after a fault: someone waits for them.
      const bool always = std::holds_alternative<RecordOperation>(node->operation);
      if (!node->enabled || (!always && context.fault != CUDA_SUCCESS)) continue;
      perform(node->operation, context);
    }
  }
};

bool is_short(const Operation& operation) {
  if (const auto* copy = std::get_if<CopyOperation>(&operation)) {
    return copy->width * copy->height * copy->depth <= kInlineBytes;
  }
  if (const auto* fill = std::get_if<FillOperation>(&operation)) {
    return fill->node.width * fill->node.height * fill->node.elementSize <= kInlineBytes;
  }
  return false;
}

bool can_wait_inline(const Operation& operation) {
  return std::holds_alternative<CopyOperation>(operation) ||
         std::holds_alternative<FillOperation>(operation);
}

CUresult issue_at(const std::shared_ptr<Stream>& stream, Operation operation, Place place,
                  Fence* fence) {
  if (const CUresult result = check_legacy(*stream)) return result;
  if (any_capture()) {
    const std::lock_guard lock(capture_mutex());
    if (stream->capture) return capture_operation(*stream, std::move(operation));
  }
  Context& context = *stream->context;
  if (const CUresult failed = context.state()) return failed;
  const bool always = std::holds_alternative<ChildOperation>(operation);
  const Fence done = submit(
      stream,
      [&context, operation = std::make_shared<Operation>(std::move(operation))] {
        perform(*operation, context);
      },
      place, always);
  if (fence != nullptr) *fence = done;
  if (driver().config.launch_blocking) return finish(done, context);
  return CUDA_SUCCESS;
}

}  // namespace

void perform(const Operation& operation, Context& context) {
  std::visit(Performer{context}, operation);
}

CUresult issue(const std::shared_ptr<Stream>& stream, Operation operation, Fence* fence) {
  const Place place = is_short(operation) ? Place::kCallerIfIdle : Place::kStream;
  return issue_at(stream, std::move(operation), place, fence);
}

CUresult issue_and_wait(const std::shared_ptr<Stream>& stream, Operation operation) {
  Fence fence;
  const Place place = can_wait_inline(operation) ? Place::kCallerIfIdle : Place::kStream;
  if (const CUresult result = issue_at(stream, std::move(operation), place, &fence)) return result;
  return finish(fence, *stream->context);
}

}  // namespace vgpu::softgpu

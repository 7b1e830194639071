// cuGraphDebugDotPrint: a graph as text for Graphviz.
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <string>

#include "generated/softgpu_api.h"
#include "softgpu/driver/graph_memory.h"
#include "softgpu/driver/graph_nodes.h"

namespace vgpu::softgpu::api {
namespace {

std::string hexadecimal(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%" PRIx64, value);
  return text;
}

std::string size_text(const ptx::Dim3& size) {
  return std::to_string(size.x) + "," + std::to_string(size.y) + "," + std::to_string(size.z);
}

struct Label {
  std::string operator()(const EmptyOperation&) const { return "EMPTY"; }
  std::string operator()(const KernelOperation& kernel) const {
    return "KERNEL\\n" + kernel.function->kernel().name + "<<<(" + size_text(kernel.grid) + "),(" +
           size_text(kernel.block) + ")," + std::to_string(kernel.shared_bytes) + ">>>";
  }
  std::string operator()(const CopyOperation& copy) const {
    return std::string("MEMCPY\\n") + hexadecimal(copy.source) + " to " +
           hexadecimal(copy.destination) + ", " + std::to_string(copy.width) + "x" +
           std::to_string(copy.height) + "x" + std::to_string(copy.depth) + " bytes";
  }
  std::string operator()(const FillOperation& fill) const {
    return std::string("MEMSET\\n") + hexadecimal(fill.node.dst) + ", value " +
           std::to_string(fill.node.value) + ", " + std::to_string(fill.node.width) + "x" +
           std::to_string(fill.node.height) + " elements of " +
           std::to_string(fill.node.elementSize);
  }
  std::string operator()(const HostOperation& host) const {
    return std::string("HOST\\n") + hexadecimal(reinterpret_cast<uint64_t>(host.function));
  }
  std::string operator()(const RecordOperation& record) const {
    return std::string("EVENT_RECORD\\n") + hexadecimal(record.event->id);
  }
  std::string operator()(const WaitOperation& wait) const {
    return std::string("EVENT_WAIT\\n") + hexadecimal(wait.event->id);
  }
  std::string operator()(const ValueOperation& value) const {
    return std::string("BATCH_MEM_OP\\n") + std::to_string(value.steps.size()) + " operations";
  }
  std::string operator()(const ChildOperation&) const { return "GRAPH"; }
  std::string operator()(const AllocateOperation& allocate) const {
    return std::string("MEM_ALLOC\\n") + hexadecimal(allocate.memory->address) + ", " +
           std::to_string(allocate.memory->parameters.bytesize) + " bytes";
  }
  std::string operator()(const FreeOperation& free) const {
    return std::string("MEM_FREE\\n") + hexadecimal(free.memory->address);
  }
  std::string operator()(const ConditionalOperation& node) const {
    constexpr const char* kTypes[] = {"IF", "WHILE", "SWITCH"};
    return std::string("CONDITIONAL\\n") + kTypes[node.type];
  }
};

void print_graph(std::FILE* file, const Graph& graph) {
  const auto number = static_cast<unsigned long long>(graph.id);
  std::fprintf(file, "subgraph cluster_%llu {\nlabel=\"graph_%llu\"\n", number, number);
  for (const auto& node : graph.nodes) {
    std::fprintf(file, "\"graph_%llu_node_%llu\"[shape=box label=\"%s\"];\n", number,
                 static_cast<unsigned long long>(node->id),
                 std::visit(Label{}, node->operation).c_str());
    for (const auto& before : node->after) {
      std::fprintf(file, "\"graph_%llu_node_%llu\" -> \"graph_%llu_node_%llu\";\n", number,
                   static_cast<unsigned long long>(before->id), number,
                   static_cast<unsigned long long>(node->id));
    }
    for (const auto& inner : inner_graphs(node->operation)) print_graph(file, *inner);
  }
  std::fputs("}\n", file);
}

}  // namespace

CUresult cuGraphDebugDotPrint(CUgraph handle, const char* path, unsigned) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Graph> graph;
  if (const CUresult result = find_graph(handle, graph)) return result;
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) return CUDA_ERROR_OPERATING_SYSTEM;
  std::fputs("digraph dot {\n", file);
  print_graph(file, *graph);
  std::fputs("}\n", file);
  return std::fclose(file) == 0 ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

}  // namespace vgpu::softgpu::api

// Graphs, their nodes, instances, and stream capture.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "softgpu/driver/operation.h"

namespace vgpu::softgpu {

struct GraphExec;

struct Node {
  uint64_t id = 0;
  std::weak_ptr<Graph> graph;
  Operation operation;
  std::vector<std::shared_ptr<Node>> after;
  bool enabled = true;
  uint64_t origin = 0;                    // of a clone: the node it was made from
  std::vector<void*> parameter_pointers;  // what the getter of a kernel node hands out
  std::vector<CUgraph> body_handles;      // what a conditional node hands out
};

// The references to user objects that a graph holds; copies hold their own, the end gives them
// back.
class HeldObjects {
 public:
  HeldObjects() = default;
  HeldObjects(const HeldObjects& other);
  HeldObjects& operator=(const HeldObjects&) = delete;
  ~HeldObjects();
  void hold(uint64_t object, uint64_t count) { held_[object] += count; }
  bool drop(uint64_t object, uint64_t count);

 private:
  std::map<uint64_t, uint64_t> held_;
};

struct Graph {
  Graph() = default;
  explicit Graph(const HeldObjects& objects) : user_objects(objects) {}

  uint64_t id = 0;
  HeldObjects user_objects;
  // All below is guarded by capture_mutex().
  std::vector<std::shared_ptr<Node>> nodes;  // in order of creation
  bool embedded = false;                     // belongs to a node: the program may not destroy it
  std::vector<std::shared_ptr<Conditional>> conditionals;
  std::weak_ptr<GraphExec> instance;  // the newest: graphs with memory nodes have one at a time
};

struct GraphExec {
  uint64_t id = 0;
  unsigned flags = 0;
  std::shared_ptr<Graph> graph;  // a private copy, nodes in execution order
  Fence last;                    // of its newest launch: they do not overlap
};

struct Capture {
  uint64_t number = 0;  // cuStreamGetCaptureInfo's id
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::thread::id thread;
  std::shared_ptr<Graph> graph;
  bool own_graph = true;  // made for it: ends with a capture that fails
  bool invalidated = false;
  Stream* origin = nullptr;
  std::vector<std::weak_ptr<Stream>> streams;  // all that joined
};

// One mutex for graphs and captures: both are set-up work, not the hot path.
std::recursive_mutex& capture_mutex();
bool any_capture();  // cheap: whether any stream of the process captures

std::shared_ptr<Node> add_node(Graph& graph, Operation operation,
                               std::vector<std::shared_ptr<Node>> after);
std::shared_ptr<Graph> make_graph();
// Gives the graph of a node, its nodes and theirs handles.
void adopt(const std::shared_ptr<Graph>& graph);
// A private copy; event nodes and kernel parameters included.
std::shared_ptr<Graph> clone_graph(const Graph& graph);
// Nodes so that each comes after its dependencies; empty with `cycle` when they form a cycle.
std::vector<std::shared_ptr<Node>> execution_order(const Graph& graph, bool& cycle);
void drop_nodes(Graph& graph);
// Edges with data (programmatic launches) are refused.
CUresult check_edges(const CUgraphEdgeData* edges, size_t count);
CUresult find_graph(CUgraph handle, std::shared_ptr<Graph>& graph);
// A private copy whose nodes stand in execution order, children included.
CUresult freeze(const Graph& graph, std::shared_ptr<Graph>& frozen);
CUgraphNodeType node_type(const Operation& operation);
// The graphs that a node contains.
std::vector<std::shared_ptr<Graph>> inner_graphs(const Operation& operation);
// The same places, to be filled with copies.
std::vector<std::shared_ptr<Graph>*> inner_places(Operation& operation);

// CUDA_SUCCESS, or the error of a call that is not allowed while the calling thread is under a
// capture of its mode; the capture is then invalidated.
CUresult check_unsafe_call();
// A stream operation under capture: becomes a node.
CUresult capture_operation(Stream& stream, Operation operation);
// The legacy stream may not be used while a blocking stream of its context captures: work ends that
// capture, a question about the stream does not.
enum class LegacyUse { kWork, kQuestion };
CUresult check_legacy(const Stream& stream, LegacyUse use = LegacyUse::kWork);
CUresult capture_record(Stream& stream, Event& event);
CUresult capture_wait(const std::shared_ptr<Stream>& stream, Event& event);
// Makes fresh completions for the event nodes of one launch.
void prepare_launch(Graph& graph);

}  // namespace vgpu::softgpu

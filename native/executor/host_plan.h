// When the host memory of a graph is read and written during a launch.
//
//   before the launch           sources that no host function of the graph comes before
//   before a host function      destinations of copies that come before it
//   after a host function       sources of copies that come behind it
//   after the launch            all destinations
//
// So a host function sees what was copied out before it, and what it writes is what is copied in
// behind it; no node is added to the program's graph for that.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "executor/host_calls.h"
#include "executor/scheduler.h"

namespace vgpu::executor {

class Session;

struct HostPlan {
  struct Item {
    CUgraphNode node = nullptr;  // of the graph that was instantiated
    HostEntry::Kind kind = HostEntry::Kind::kFunction;
    uint64_t entry = 0;
    uint64_t begin = 0, end = 0;
    bool first = false;                 // a source that is read before the launch
    bool enabled = true;                // a copy node that is switched off touches nothing
    std::vector<size_t> before, after;  // of a function: destinations, sources
  };
  std::vector<Item> items;       // each behind what comes before it
  std::vector<Resource> events;  // recorded and waited for
  bool memory_stays = false;     // memory that it allocates or frees outlives a launch

  [[nodiscard]] bool involves_host() const { return !items.empty(); }
  [[nodiscard]] uint32_t kinds() const {
    return (involves_host() ? wire::kInvolvesHost : 0u) | (memory_stays ? wire::kMemoryStays : 0u);
  }
  [[nodiscard]] HostCalls::Actions before_launch() const;
};

// One launch of a plan. A destination is fetched once for each copy: a function that was shown it
// may have changed it since.
class PlanRun {
 public:
  explicit PlanRun(std::shared_ptr<const HostPlan> plan) : plan_(std::move(plan)) {}
  HostCalls::Actions around_function(uint64_t entry);
  HostCalls::Actions after_launch();

 private:
  void fetch(size_t item, HostCalls::Actions& actions);

  std::shared_ptr<const HostPlan> plan_;
  std::set<size_t> fetched_;
  std::map<uint64_t, size_t> calls_;  // of each function: a child graph may be there twice
};

// Null with the reason when the graph needs an order that a plan cannot give.
std::shared_ptr<HostPlan> make_host_plan(Session& session, CUgraph graph, std::string& why);
// The same plan with another entry at a node.
std::shared_ptr<HostPlan> with_entry(const HostPlan& plan, CUgraphNode node,
                                     const HostEntry& entry);
std::shared_ptr<HostPlan> with_enabled(const HostPlan& plan, CUgraphNode node, bool enabled);

}  // namespace vgpu::executor

#include "executor/host_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "executor/session.h"

namespace vgpu::executor {
namespace {

using Kind = HostEntry::Kind;
using Action = wire::HostAction;

// A graph laid flat: a child graph stands between two vertices of its own.
class Flat {
 public:
  explicit Flat(Session& session) : session_(session), driver_(session.driver()) {}

  // False when the driver refuses to show the graph.
  bool add(CUgraph graph, int begin, int end) {
    const std::vector<CUgraphNode> nodes = nodes_of(graph);
    std::map<CUgraphNode, std::pair<int, int>> place;  // first and last vertex of each
    for (const CUgraphNode node : nodes) {
      const int first = vertex(node);
      int last = first;
      if (CUgraph child = child_of(node); child != nullptr) {
        last = vertex(nullptr);
        if (!add(child, first, last)) return false;
      }
      place[node] = {first, last};
      if (begin >= 0) before_[first].push_back(begin);
      if (end >= 0) before_[end].push_back(last);
    }
    if (begin >= 0 && nodes.empty()) before_[end].push_back(begin);
    size_t count = 0;
    if (driver_.cuGraphGetEdges(graph, nullptr, nullptr, &count) != CUDA_SUCCESS) return false;
    std::vector<CUgraphNode> from(count), to(count);
    if (count != 0 &&
        driver_.cuGraphGetEdges(graph, from.data(), to.data(), &count) != CUDA_SUCCESS) {
      return false;
    }
    for (size_t i = 0; i < count; ++i) {
      before_[place[to[i]].first].push_back(place[from[i]].second);
    }
    return true;
  }

  // By vertex: whether its work is done when that of `of` begins.
  [[nodiscard]] std::vector<bool> before(int of) const {
    std::vector<int> open = before_[of];
    std::vector<bool> seen(before_.size());
    while (!open.empty()) {
      const int one = open.back();
      open.pop_back();
      if (seen[one]) continue;
      seen[one] = true;
      open.insert(open.end(), before_[one].begin(), before_[one].end());
    }
    return seen;
  }
  [[nodiscard]] const std::vector<CUgraphNode>& nodes() const { return nodes_; }

 private:
  int vertex(CUgraphNode node) {
    nodes_.push_back(node);
    before_.emplace_back();
    return static_cast<int>(nodes_.size()) - 1;
  }
  std::vector<CUgraphNode> nodes_of(CUgraph graph) const {
    size_t count = 0;
    if (driver_.cuGraphGetNodes(graph, nullptr, &count) != CUDA_SUCCESS) return {};
    std::vector<CUgraphNode> nodes(count);
    if (count != 0) driver_.cuGraphGetNodes(graph, nodes.data(), &count);
    return nodes;
  }
  CUgraph child_of(CUgraphNode node) const {
    CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
    CUgraph child = nullptr;
    if (driver_.cuGraphNodeGetType(node, &type) != CUDA_SUCCESS) return nullptr;
    if (type != CU_GRAPH_NODE_TYPE_GRAPH) return nullptr;
    if (driver_.cuGraphChildGraphNodeGetGraph == nullptr ||
        driver_.cuGraphChildGraphNodeGetGraph(node, &child) != CUDA_SUCCESS) {
      return nullptr;
    }
    return child;
  }

  Session& session_;
  const DriverTable& driver_;
  std::vector<CUgraphNode> nodes_;  // null: the end of a child graph
  std::vector<std::vector<int>> before_;
};

std::shared_ptr<HostEntry> entry_of(Session& session, CUgraphNode node, CUgraphNodeType type) {
  const DriverTable& driver = session.driver();
  if (type == CU_GRAPH_NODE_TYPE_HOST && driver.cuGraphHostNodeGetParams != nullptr) {
    CUDA_HOST_NODE_PARAMS host{};
    if (driver.cuGraphHostNodeGetParams(node, &host) != CUDA_SUCCESS) return nullptr;
    if (host.fn != HostCalls::run_function) return nullptr;
    return session.host_calls().find(static_cast<HostEntry*>(host.userData)->id);
  }
  if (type == CU_GRAPH_NODE_TYPE_MEMCPY && driver.cuGraphMemcpyNodeGetParams != nullptr) {
    CUDA_MEMCPY3D copy{};
    if (driver.cuGraphMemcpyNodeGetParams(node, &copy) != CUDA_SUCCESS) return nullptr;
    if (copy.srcMemoryType == CU_MEMORYTYPE_HOST)
      return session.host_calls().find_staging(copy.srcHost);
    if (copy.dstMemoryType == CU_MEMORYTYPE_HOST)
      return session.host_calls().find_staging(copy.dstHost);
  }
  return nullptr;
}

void add_event(Session& session, CUgraphNode node, CUgraphNodeType type, HostPlan& plan) {
  const DriverTable& driver = session.driver();
  const bool record = type == CU_GRAPH_NODE_TYPE_EVENT_RECORD;
  if (!record && type != CU_GRAPH_NODE_TYPE_WAIT_EVENT) return;
  const auto get =
      record ? driver.cuGraphEventRecordNodeGetEvent : driver.cuGraphEventWaitNodeGetEvent;
  CUevent event = nullptr;
  if (get == nullptr || get(node, &event) != CUDA_SUCCESS) return;
  const uint64_t id = session.handles().id_of(reinterpret_cast<uint64_t>(event));
  if (id != 0) plan.events.push_back({id, record});
}

// Addresses that the graph allocates and does not free, or frees and does not allocate.
void toggle_memory(Session& session, CUgraphNode node, CUgraphNodeType type,
                   std::set<CUdeviceptr>& loose) {
  const DriverTable& driver = session.driver();
  CUdeviceptr address = 0;
  if (type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && driver.cuGraphMemAllocNodeGetParams != nullptr) {
    CUDA_MEM_ALLOC_NODE_PARAMS params{};
    if (driver.cuGraphMemAllocNodeGetParams(node, &params) == CUDA_SUCCESS) address = params.dptr;
  } else if (type == CU_GRAPH_NODE_TYPE_MEM_FREE && driver.cuGraphMemFreeNodeGetParams != nullptr) {
    driver.cuGraphMemFreeNodeGetParams(node, &address);
  }
  if (address != 0 && !loose.insert(address).second) loose.erase(address);
}

bool overlap(const HostPlan::Item& a, const HostPlan::Item& b) {
  return a.begin < b.end && b.begin < a.end;
}

// What a function is shown, and what is read again after it. `precedes(a, b)`: by item.
template <typename Precedes>
void connect(HostPlan& plan, Precedes precedes) {
  auto& items = plan.items;
  for (size_t i = 0; i < items.size(); ++i) {
    items[i].first = items[i].kind == Kind::kSource;
    for (size_t k = 0; k < items.size(); ++k) {
      if (items[i].kind == Kind::kFunction && items[k].kind == Kind::kDestination &&
          precedes(k, i)) {
        items[i].before.push_back(k);
      }
    }
  }
  for (size_t i = 0; i < items.size(); ++i) {
    for (size_t k = 0; k < items.size(); ++k) {
      if (items[i].kind == Kind::kSource && items[k].kind == Kind::kFunction && precedes(k, i)) {
        items[i].first = false;
        items[k].after.push_back(i);
      }
    }
  }
}

// A source that reads what a destination wrote must have a function between them, where both are
// refreshed.
template <typename Precedes>
bool is_possible(const HostPlan& plan, Precedes precedes) {
  const auto& items = plan.items;
  for (size_t i = 0; i < items.size(); ++i) {
    for (size_t k = 0; k < items.size(); ++k) {
      const bool chained = items[i].kind == Kind::kDestination && items[k].kind == Kind::kSource &&
                           overlap(items[i], items[k]) && precedes(i, k);
      if (!chained) continue;
      const bool seen = std::any_of(items.begin(), items.end(), [&](const HostPlan::Item& one) {
        return std::find(one.before.begin(), one.before.end(), i) != one.before.end() &&
               std::find(one.after.begin(), one.after.end(), k) != one.after.end();
      });
      if (!seen) return false;
    }
  }
  return true;
}

// Positions of items so that each comes behind what precedes it.
template <typename Precedes>
std::vector<size_t> sorted(size_t count, Precedes precedes) {
  std::vector<size_t> order;
  std::vector<bool> placed(count);
  while (order.size() < count) {
    for (size_t i = 0; i < count; ++i) {
      bool ready = !placed[i];
      for (size_t k = 0; k < count && ready; ++k) ready = placed[k] || k == i || !precedes(k, i);
      if (!ready) continue;
      placed[i] = true;
      order.push_back(i);
    }
  }
  return order;
}

}  // namespace

std::shared_ptr<HostPlan> make_host_plan(Session& session, CUgraph graph, std::string& why) {
  auto plan = std::make_shared<HostPlan>();
  Flat flat(session);
  if (!flat.add(graph, -1, -1)) return plan;
  std::vector<int> at;  // the vertex of each item
  std::set<CUdeviceptr> loose;
  for (size_t i = 0; i < flat.nodes().size(); ++i) {
    const CUgraphNode node = flat.nodes()[i];
    CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
    if (node == nullptr || session.driver().cuGraphNodeGetType(node, &type) != CUDA_SUCCESS)
      continue;
    add_event(session, node, type, *plan);
    toggle_memory(session, node, type, loose);
    const auto entry = entry_of(session, node, type);
    if (!entry) continue;
    plan->items.push_back(
        {node, entry->kind, entry->id, entry->begin, entry->end, false, true, {}, {}});
    at.push_back(static_cast<int>(i));
  }
  plan->memory_stays = !loose.empty();
  std::vector<std::vector<bool>> before;
  for (const int vertex : at) before.push_back(flat.before(vertex));
  const std::vector<size_t> order =
      sorted(at.size(), [&](size_t a, size_t b) { return bool{before[b][at[a]]}; });
  std::vector<HostPlan::Item> items;
  for (const size_t one : order) items.push_back(plan->items[one]);
  plan->items = std::move(items);
  const auto precedes = [&](size_t a, size_t b) { return bool{before[order[b]][at[order[a]]]}; };
  connect(*plan, precedes);
  if (is_possible(*plan, precedes)) return plan;
  why = "a graph that copies to host memory and from there back";
  return nullptr;
}

std::shared_ptr<HostPlan> with_entry(const HostPlan& plan, CUgraphNode node,
                                     const HostEntry& entry) {
  auto changed = std::make_shared<HostPlan>(plan);
  for (HostPlan::Item& item : changed->items) {
    if (item.node != node) continue;
    item.entry = entry.id;
    item.begin = entry.begin;
    item.end = entry.end;
  }
  return changed;
}

std::shared_ptr<HostPlan> with_enabled(const HostPlan& plan, CUgraphNode node, bool enabled) {
  auto changed = std::make_shared<HostPlan>(plan);
  for (HostPlan::Item& item : changed->items) {
    if (item.node == node) item.enabled = enabled;
  }
  return changed;
}

HostCalls::Actions HostPlan::before_launch() const {
  HostCalls::Actions actions;
  for (const Item& item : items) {
    if (item.first && item.enabled) actions.emplace_back(Action::kSendSource, item.entry);
  }
  return actions;
}

void PlanRun::fetch(size_t item, HostCalls::Actions& actions) {
  const HostPlan::Item& one = plan_->items[item];
  if (one.enabled && fetched_.insert(item).second) {
    actions.emplace_back(Action::kFetchDestination, one.entry);
  }
}

HostCalls::Actions PlanRun::around_function(uint64_t entry) {
  const auto& items = plan_->items;
  size_t nth = calls_[entry]++;
  HostCalls::Actions actions;
  const HostPlan::Item* item = nullptr;
  for (size_t i = 0; i < items.size() && item == nullptr; ++i) {
    if (items[i].kind == Kind::kFunction && items[i].entry == entry && nth-- == 0) item = &items[i];
  }
  if (item != nullptr) {
    for (const size_t k : item->before) fetch(k, actions);
  }
  actions.emplace_back(Action::kRunFunction, entry);
  if (item != nullptr) {
    for (const size_t k : item->after) {
      if (items[k].enabled) actions.emplace_back(Action::kSendSource, items[k].entry);
    }
  }
  return actions;
}

HostCalls::Actions PlanRun::after_launch() {
  HostCalls::Actions actions;
  for (size_t i = 0; i < plan_->items.size(); ++i) {
    if (plan_->items[i].kind == Kind::kDestination) fetch(i, actions);
  }
  return actions;
}

}  // namespace vgpu::executor

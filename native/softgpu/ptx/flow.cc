#include "softgpu/ptx/flow.h"

#include <algorithm>

namespace vgpu::softgpu::ptx {
namespace {

bool ends_block(const Statement& statement) {
  const std::string_view base = base_of(statement.opcode);
  return base == "bra" || base == "brx" || base == "ret" || base == "exit";
}

bool falls_through(const Statement& statement) {
  return !ends_block(statement) || statement.guard != kNone;
}

// Immediate dominators of the reversed graph (Cooper, Harvey, Kennedy: "A Simple, Fast Dominance
// Algorithm"), rooted at a virtual block behind every end of the function.
class PostDominators {
 public:
  explicit PostDominators(std::vector<Block>& blocks) : blocks_(blocks) {}

  void compute() {
    const auto root = static_cast<uint32_t>(blocks_.size());
    order_from_ends();
    meet_.assign(blocks_.size() + 1, kNone);
    meet_[root] = root;
    for (bool changed = true; changed;) {
      changed = false;
      for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
        uint32_t best = blocks_[*it].next.empty() ? root : kNone;
        for (const uint32_t next : blocks_[*it].next) {
          if (meet_[next] != kNone) best = best == kNone ? next : intersect(best, next);
        }
        if (best != kNone && meet_[*it] != best) {
          meet_[*it] = best;
          changed = true;
        }
      }
    }
    for (uint32_t i = 0; i < root; ++i) blocks_[i].meet = meet_[i] == root ? kNone : meet_[i];
  }

 private:
  // Postorder of the reversed graph from the virtual end, without recursion.
  void order_from_ends() {
    const auto root = static_cast<uint32_t>(blocks_.size());
    rank_.assign(blocks_.size() + 1, 0);
    std::vector<bool> seen(blocks_.size(), false);
    std::vector<std::pair<uint32_t, size_t>> stack;
    for (uint32_t end = 0; end < root; ++end) {
      if (!blocks_[end].next.empty() || seen[end]) continue;
      stack.emplace_back(end, 0);
      seen[end] = true;
      while (!stack.empty()) {
        auto& [block, at] = stack.back();
        if (at < blocks_[block].before.size()) {
          const uint32_t before = blocks_[block].before[at++];
          if (!seen[before]) {
            seen[before] = true;
            stack.emplace_back(before, 0);
          }
          continue;
        }
        rank_[block] = static_cast<uint32_t>(order_.size());
        order_.push_back(block);
        stack.pop_back();
      }
    }
    rank_[root] = static_cast<uint32_t>(order_.size());
  }

  uint32_t intersect(uint32_t a, uint32_t b) const {
    while (a != b) {
      while (rank_[a] < rank_[b]) a = meet_[a];
      while (rank_[b] < rank_[a]) b = meet_[b];
    }
    return a;
  }

  std::vector<Block>& blocks_;
  std::vector<uint32_t> order_, rank_, meet_;
};

}  // namespace

std::string_view base_of(std::string_view opcode) { return opcode.substr(0, opcode.find('.')); }

bool has_modifier(std::string_view opcode, std::string_view modifier) {
  for (size_t at = opcode.find('.'); at != std::string_view::npos;) {
    const size_t end = opcode.find('.', at + 1);
    if (opcode.substr(at + 1, end == std::string_view::npos ? end : end - at - 1) == modifier) {
      return true;
    }
    at = end;
  }
  return false;
}

Flow build_flow(const Body& body) {
  Flow flow;
  const auto count = static_cast<uint32_t>(body.statements.size());
  std::vector<bool> leader(count + 1, false);
  leader[0] = true;
  for (uint32_t i = 0; i < count; ++i) {
    const Statement& statement = body.statements[i];
    for (const uint32_t target : statement.targets) leader[target] = true;
    if (ends_block(statement)) leader[i + 1] = true;
  }
  flow.block_of.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    if (leader[i]) flow.blocks.push_back({.first = i});
    flow.blocks.back().last = i;
    flow.block_of[i] = static_cast<uint32_t>(flow.blocks.size()) - 1;
  }
  for (uint32_t i = 0; i < flow.blocks.size(); ++i) {
    const Statement& last = body.statements[flow.blocks[i].last];
    auto& next = flow.blocks[i].next;
    for (const uint32_t target : last.targets) next.push_back(flow.block_of[target]);
    if (falls_through(last) && flow.blocks[i].last + 1 < count) next.push_back(i + 1);
    std::sort(next.begin(), next.end());
    next.erase(std::unique(next.begin(), next.end()), next.end());
    for (const uint32_t block : next) flow.blocks[block].before.push_back(i);
  }
  PostDominators(flow.blocks).compute();
  return flow;
}

}  // namespace vgpu::softgpu::ptx

// Register rows by linear scan over live intervals.
#include <algorithm>
#include <queue>

#include "softgpu/ptx/flow.h"

namespace vgpu::softgpu::ptx {
namespace {

bool has_result(const Statement& statement) {
  if (statement.operands.empty() || statement.operands[0].is(Operand::Kind::kAddress)) return false;
  const std::string_view base = base_of(statement.opcode);
  if (base == "bar" || base == "barrier") return has_modifier(statement.opcode, "red");
  return base != "bra" && base != "brx" && base != "nanosleep" && base != "call" &&
         base != "stackrestore";
}

template <class See>
void visit(const Operand& operand, bool definition, See& see) {
  if (operand.is(Operand::Kind::kRegister)) {
    see(operand.reg, definition);
    return;
  }
  if (operand.is(Operand::Kind::kAddress)) definition = false;
  for (const Operand& part : operand.parts) visit(part, definition, see);
}

template <class See>
void visit_statement(const Statement& statement, See see) {
  if (statement.guard != kNone) see(statement.guard, false);
  const bool result = has_result(statement);
  for (size_t i = result ? 1 : 0; i < statement.operands.size(); ++i) {
    // The first list of a call, when two are there or the callee follows it, holds the results.
    visit(statement.operands[i], false, see);
  }
  if (base_of(statement.opcode) == "call" && !statement.operands.empty() &&
      statement.operands[0].is(Operand::Kind::kList)) {
    visit(statement.operands[0], true, see);
  }
  if (!result) return;
  // A guarded result keeps the old value in some lanes.
  if (statement.guard != kNone) visit(statement.operands[0], false, see);
  visit(statement.operands[0], true, see);
}

struct Interval {
  uint32_t first = kNone, last = 0;
  void extend(uint32_t at) {
    first = std::min(first, at);
    last = std::max(last, at);
  }
};

class Bits {
 public:
  explicit Bits(size_t count) : words_((count + 63) / 64) {}
  void set(uint32_t i) { words_[i / 64] |= uint64_t{1} << (i % 64); }
  [[nodiscard]] bool test(uint32_t i) const { return (words_[i / 64] >> (i % 64) & 1) != 0; }
  // this |= other & ~without; true when it grew.
  bool add(const Bits& other, const Bits& without) {
    bool grew = false;
    for (size_t i = 0; i < words_.size(); ++i) {
      const uint64_t value = words_[i] | (other.words_[i] & ~without.words_[i]);
      grew |= value != words_[i];
      words_[i] = value;
    }
    return grew;
  }
  template <class See>
  void each(See&& see) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      for (uint64_t word = words_[i]; word != 0; word &= word - 1) {
        see(static_cast<uint32_t>(i * 64 + static_cast<size_t>(__builtin_ctzll(word))));
      }
    }
  }

 private:
  std::vector<uint64_t> words_;
};

class Liveness {
 public:
  Liveness(const Body& body, const Flow& flow) : body_(body), flow_(flow) {}

  std::vector<Interval> intervals() {
    std::vector<Interval> result(body_.registers.size());
    number_globals(result);
    if (flow_.blocks.size() * globals_.size() > kMostBits) {
      // A row for each, all along: absurd texts must not fill memory with sets of live registers.
      for (const uint32_t reg : globals_) {
        result[reg] = {0, static_cast<uint32_t>(body_.statements.size())};
      }
      return result;
    }
    solve();
    for (uint32_t b = 0; b < flow_.blocks.size(); ++b) {
      in_[b].each([&](uint32_t i) { result[globals_[i]].extend(flow_.blocks[b].first); });
      for (const uint32_t next : flow_.blocks[b].next) {
        in_[next].each([&](uint32_t i) { result[globals_[i]].extend(flow_.blocks[b].last); });
      }
    }
    return result;
  }

 private:
  static constexpr size_t kMostBits = size_t{1} << 31;

  // Only registers that several blocks mention, or one before it writes them, need data flow.
  void number_globals(std::vector<Interval>& result) {
    std::vector<uint32_t> home(body_.registers.size(), kNone);
    std::vector<uint8_t> global(body_.registers.size(), 0);
    for (uint32_t i = 0; i < body_.statements.size(); ++i) {
      const uint32_t block = flow_.block_of[i];
      visit_statement(body_.statements[i], [&](uint32_t reg, bool definition) {
        result[reg].extend(i);
        if (home[reg] == kNone && !definition) global[reg] = 1;
        if (home[reg] != kNone && home[reg] != block) global[reg] = 1;
        home[reg] = block;
      });
    }
    number_.assign(body_.registers.size(), kNone);
    for (uint32_t reg = 0; reg < global.size(); ++reg) {
      if (global[reg] == 0) continue;
      number_[reg] = static_cast<uint32_t>(globals_.size());
      globals_.push_back(reg);
    }
  }

  void solve() {
    const size_t blocks = flow_.blocks.size();
    in_.assign(blocks, Bits(globals_.size()));
    std::vector<Bits> defined(blocks, Bits(globals_.size()));
    for (uint32_t b = 0; b < blocks; ++b) {
      for (uint32_t i = flow_.blocks[b].first; i <= flow_.blocks[b].last; ++i) {
        visit_statement(body_.statements[i], [&](uint32_t reg, bool definition) {
          const uint32_t number = number_[reg];
          if (number == kNone) return;
          if (definition) {
            defined[b].set(number);
          } else if (!defined[b].test(number)) {
            in_[b].set(number);
          }
        });
      }
    }
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t b = blocks; b-- > 0;) {
        for (const uint32_t next : flow_.blocks[b].next) {
          if (next != b) changed |= in_[b].add(in_[next], defined[b]);
        }
      }
    }
  }

  const Body& body_;
  const Flow& flow_;
  std::vector<uint32_t> number_, globals_;
  std::vector<Bits> in_;
};

}  // namespace

uint32_t row_bytes(Type type) {
  if (type == Type::kPred) return 4;
  switch (size_of(type)) {
    case 16:
      return 512;
    case 8:
      return 256;
    case 4:
      return 128;
    default:
      return 64;
  }
}

void visit_registers(const Statement& statement, const std::function<void(uint32_t, bool)>& see) {
  visit_statement(statement, see);
}

Rows assign_rows(const Body& body, const Flow& flow, const std::vector<bool>& elsewhere) {
  const std::vector<Interval> intervals = Liveness(body, flow).intervals();
  std::vector<uint32_t> order;
  for (uint32_t reg = 0; reg < intervals.size(); ++reg) {
    if (intervals[reg].first != kNone && !elsewhere[reg]) order.push_back(reg);
  }
  std::sort(order.begin(), order.end(), [&](uint32_t x, uint32_t y) {
    return std::pair(intervals[x].first, x) < std::pair(intervals[y].first, y);
  });
  Rows rows;
  rows.offset.assign(body.registers.size(), kNone);
  struct Class {
    using Ending = std::pair<uint32_t, uint32_t>;  // last statement, place
    std::priority_queue<Ending, std::vector<Ending>, std::greater<>> busy;
    std::vector<uint32_t> free;
    uint32_t count = 0;
  };
  constexpr uint32_t kSizes[] = {4, 64, 128, 256, 512};
  Class classes[5];
  const auto class_of = [&](uint32_t reg) {
    const uint32_t bytes = row_bytes(body.registers[reg]);
    return static_cast<size_t>(std::find(std::begin(kSizes), std::end(kSizes), bytes) - kSizes);
  };
  std::vector<uint32_t> place(body.registers.size(), 0);
  for (const uint32_t reg : order) {
    Class& rows_of = classes[class_of(reg)];
    while (!rows_of.busy.empty() && rows_of.busy.top().first < intervals[reg].first) {
      rows_of.free.push_back(rows_of.busy.top().second);
      rows_of.busy.pop();
    }
    if (rows_of.free.empty()) {
      place[reg] = rows_of.count++;
    } else {
      place[reg] = rows_of.free.back();
      rows_of.free.pop_back();
    }
    rows_of.busy.emplace(intervals[reg].last, place[reg]);
  }
  uint32_t base[5];
  for (size_t i = 0; i < 5; ++i) {
    base[i] = rows.bytes;
    rows.bytes = (rows.bytes + classes[i].count * kSizes[i] + 63) / 64 * 64;
  }
  for (const uint32_t reg : order) {
    const size_t c = class_of(reg);
    rows.offset[reg] = base[c] + place[reg] * kSizes[c];
  }
  return rows;
}

}  // namespace vgpu::softgpu::ptx

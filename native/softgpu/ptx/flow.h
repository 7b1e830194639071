// Control flow of a body: basic blocks, where diverged lanes meet again, and which registers share
// a row.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "softgpu/ptx/syntax.h"

namespace vgpu::softgpu::ptx {

inline constexpr uint32_t kNone = UINT32_MAX;

struct Block {
  uint32_t first = 0, last = 0;  // statements [first, last]
  std::vector<uint32_t> next;
  std::vector<uint32_t> before;
  uint32_t meet = kNone;  // immediate post-dominator; kNone: the function's end
};

struct Flow {
  std::vector<Block> blocks;
  std::vector<uint32_t> block_of;  // per statement
};

Flow build_flow(const Body& body);

// The base opcode: `ld` of `ld.global.u32`.
std::string_view base_of(std::string_view opcode);
bool has_modifier(std::string_view opcode, std::string_view modifier);

// Register rows: the byte offset of each virtual register; registers whose lives do not overlap
// share one. Rows of masked-off lanes are untouched, so a life is that of one lane.
struct Rows {
  std::vector<uint32_t> offset;  // kNone when never used
  uint32_t bytes = 0;
};
// Registers marked in `elsewhere` get none.
Rows assign_rows(const Body& body, const Flow& flow, const std::vector<bool>& elsewhere);

// Calls see(register, whether it is written) for each register that a statement names; a register
// that keeps its old value in some lanes is read as well.
void visit_registers(const Statement& statement, const std::function<void(uint32_t, bool)>& see);

uint32_t row_bytes(Type type);

}  // namespace vgpu::softgpu::ptx

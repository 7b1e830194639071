// Device functions: frames, the .param ABI, and what the driver provides under reserved names.
#include <algorithm>
#include <cstring>

#include "softgpu/ptx/block.h"
#include "softgpu/ptx/cluster.h"
#include "softgpu/ptx/decode.h"
#include "softgpu/ptx/print.h"

namespace vgpu::softgpu::ptx {
namespace {

constexpr uint32_t kMostDepth = 4096;
constexpr size_t kMostFrameBytes = size_t{512} << 20;  // registers and parameters of a warp's calls

// One word of a lane in a frame's parameter area.
std::byte* parameter(std::byte* area, uint32_t offset, int lane) {
  return area + size_t{offset / 4} * 4 * kLanes + static_cast<size_t>(lane) * 4 + offset % 4;
}

void copy_piece(std::byte* to, const std::byte* from, const CallInfo::Piece& piece, uint32_t mask) {
  const uint32_t words = (piece.bytes + 3) / 4;
  for (uint32_t k = 0; k < words; ++k) {
    auto* d = reinterpret_cast<uint32_t*>(to + size_t{piece.to / 4 + k} * 4 * kLanes);
    const auto* s =
        reinterpret_cast<const uint32_t*>(from + size_t{piece.from / 4 + k} * 4 * kLanes);
    for (int i = 0; i < kLanes; ++i) d[i] = (mask >> i & 1) != 0 ? s[i] : d[i];
  }
}

uint64_t argument(const Warp& w, const CallInfo& info, size_t index, int lane) {
  uint64_t value = 0;
  const CallInfo::Piece& piece = info.arguments[index];
  for (uint32_t k = 0; k < std::min(piece.bytes, 8u); k += 4) {
    std::memcpy(reinterpret_cast<std::byte*>(&value) + k,
                parameter(w.frame->params, piece.from + k, lane), 4);
  }
  return value;
}

void set_result(const Warp& w, const CallInfo& info, int lane, uint64_t value) {
  if (info.results.empty()) return;
  const CallInfo::Piece& piece = info.results[0];
  for (uint32_t k = 0; k < std::min(piece.bytes, 8u); k += 4) {
    std::memcpy(parameter(w.frame->params, piece.to + k, lane),
                reinterpret_cast<const std::byte*>(&value) + k, 4);
  }
}

size_t wanted_arguments(Builtin builtin) {
  if (builtin == Builtin::kAssertFail) return 5;
  return builtin == Builtin::kPrintf || builtin == Builtin::kSetConditional ? 2 : 1;
}

const Instr* call_builtin(Warp& w, const Instr* in, const CallInfo& info) {
  const auto builtin = static_cast<Builtin>(info.builtin);
  const size_t wanted = wanted_arguments(builtin);
  if (info.arguments.size() < wanted) {
    return w.fault(in, FaultKind::kIllegalInstruction, __builtin_ctz(w.mask),
                   "a reserved function called with too few arguments");
  }
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const uint64_t first = argument(w, info, 0, lane);
    switch (builtin) {
      case Builtin::kPrintf: {
        std::string text;
        const int count = format_printf(w, lane, first, argument(w, info, 1, lane), text);
        if (w.run->launch->print) w.run->launch->print(std::move(text));
        set_result(w, info, lane, static_cast<uint64_t>(static_cast<int64_t>(count)));
        break;
      }
      case Builtin::kMalloc: {
        const auto& allocate = w.run->launch->allocate;
        set_result(w, info, lane, allocate ? allocate(first) : 0);
        break;
      }
      case Builtin::kFree:
        if (first != 0 && w.run->launch->release) w.run->launch->release(first);
        break;
      case Builtin::kAssertFail: {
        std::string text = format_assertion(w, lane, first, argument(w, info, 1, lane),
                                            argument(w, info, 2, lane), argument(w, info, 3, lane));
        if (w.run->launch->complain) w.run->launch->complain(std::move(text));
        break;
      }
      case Builtin::kSetConditional: {
        const auto& set = w.run->launch->set_conditional;
        const auto value = static_cast<uint32_t>(argument(w, info, 1, lane));
        if (!set || !set(first, value)) {
          return w.fault(in, FaultKind::kIllegalInstruction, lane,
                         "cudaGraphSetConditional with a handle that is none");
        }
        break;
      }
      case Builtin::kNone:
        break;
    }
  }
  if (builtin != Builtin::kAssertFail) return in + 1;
  return w.fault(in, FaultKind::kAssert, __builtin_ctz(w.mask), "assertion failed");
}

}  // namespace

const Instr* Warp::call(const Instr* in, const CallInfo& info, Function* callee, uint32_t callers) {
  const Code* code = callee == nullptr ? nullptr : callee->code.get();
  if (code == nullptr || code->index >= run->pools.size() || run->pools[code->index] == nullptr) {
    return fault(in, FaultKind::kIllegalInstruction, __builtin_ctz(callers),
                 "call of something that is no function of the module");
  }
  if (info.bytes > code->param_bytes) {
    return fault(in, FaultKind::kIllegalInstruction, __builtin_ctz(callers),
                 "call of a function that does not fit the prototype");
  }
  account(in + 1);
  const uint32_t top = (stack_top(*frame, callers) + 15) / 16 * 16;
  const bool deep = frame->depth >= kMostDepth || frame_bytes > kMostFrameBytes;
  if (deep || top + code->local_bytes > local_stride) {
    if (deep || code->local_bytes != 0) {
      return fault(in, FaultKind::kStackOverflow, __builtin_ctz(callers), "stack overflow");
    }
  }
  if (callers != mask) {  // indirect: the others come back to this instruction
    ready.push_back({in, mask & ~callers, node, frame, Wait::kNone, 0, 0});
  }
  Node* home = new_node();
  home->pc = in + 1;
  home->frame = frame;
  home->parent = node;
  home->expected = callers;
  home->call = true;
  home->info = &info;
  frames.push_back(new_frame(*code, frame, top));
  Frame* made = frames.back().get();
  made->home = home;
  home->callee = made;
  for (const CallInfo::Piece& piece : info.arguments) {
    copy_piece(made->params, frame->params, piece, ~0u);
  }
  load({code->instrs.data(), callers, home, made, Wait::kNone, 0, 0});
  return code->instrs.data();
}

const Instr* Warp::return_from(const Instr* in) {
  account(in + 1);
  Node* home = frame->home;
  if (home == nullptr) return leave(mask, in + 1);
  for (const CallInfo::Piece& piece : home->info->results) {
    copy_piece(home->frame->params, frame->params, piece, mask);
  }
  home->arrived |= mask;
  if (home->arrived != home->expected) {
    stop = Stop::kSwitch;
    return nullptr;
  }
  const Split next{home->pc, home->expected, home->parent, home->frame, Wait::kNone, 0, 0};
  free_frame(home->callee);
  remove(home);
  load(next);
  return next.pc;
}

namespace handlers {

const Instr* call(Warp& w, const Instr* in) {
  const auto& info = *static_cast<const CallInfo*>(in->data);
  if (info.builtin >= 0) return call_builtin(w, in, info);
  if (info.callee != nullptr) return w.call(in, info, info.callee, w.mask);
  const uint64_t* targets = w.row<uint64_t>(info.target);
  const uint64_t first = targets[__builtin_ctz(w.mask)];
  uint32_t same = 0;
  for (int i = 0; i < kLanes; ++i) same |= static_cast<uint32_t>(targets[i] == first) << i;
  return w.call(in, info, w.run->module->function_at(first), same & w.mask);
}

namespace {

std::vector<uint32_t>& stack_of(Frame& frame) {
  if (frame.stack.empty()) frame.stack.assign(kLanes, frame.local_end);
  return frame.stack;
}

void set_word(const Warp& w, const Instr* in, int lane, uint64_t value) {
  if (in->mods == 8) {
    w.row<uint64_t>(in->d)[lane] = value;
  } else {
    w.row<uint32_t>(in->d)[lane] = static_cast<uint32_t>(value);
  }
}
uint64_t word_of(const Warp& w, const Instr* in, int lane) {
  return in->mods == 8 ? w.row<uint64_t>(in->a)[lane] : w.row<uint32_t>(in->a)[lane];
}

}  // namespace

const Instr* local_address(Warp& w, const Instr* in) {
  const uint64_t address = w.frame->local_base + static_cast<uint64_t>(in->imm);
  for (int i = 0; i < kLanes; ++i) {
    if (w.lanes[i] != 0) set_word(w, in, i, address);
  }
  return in + 1;
}

// The stack of ours grows up; what alloca returns is the lowest address of the block all the same.
const Instr* stack_grow(Warp& w, const Instr* in) {
  std::vector<uint32_t>& stack = stack_of(*w.frame);
  const auto align = static_cast<uint64_t>(in->imm);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const uint64_t at = (stack[static_cast<size_t>(lane)] + align - 1) / align * align;
    const uint64_t size = word_of(w, in, lane);
    if (size > w.local_stride || at + size > w.local_stride) {
      return w.fault(in, FaultKind::kStackOverflow, lane, "stack overflow");
    }
    stack[static_cast<size_t>(lane)] = static_cast<uint32_t>(at + size);
    set_word(w, in, lane, at);
  }
  return in + 1;
}

const Instr* stack_save(Warp& w, const Instr* in) {
  const std::vector<uint32_t>& stack = stack_of(*w.frame);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    set_word(w, in, lane, stack[static_cast<size_t>(lane)]);
  }
  return in + 1;
}

const Instr* stack_restore(Warp& w, const Instr* in) {
  std::vector<uint32_t>& stack = stack_of(*w.frame);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const uint64_t saved = word_of(w, in, lane);
    if (saved < w.frame->local_end || saved > w.local_stride) {
      return w.fault(in, FaultKind::kStackOverflow, lane,
                     "stackrestore of a value that stacksave did not give");
    }
    stack[static_cast<size_t>(lane)] = static_cast<uint32_t>(saved);
  }
  return in + 1;
}

const Instr* frame_load(Warp& w, const Instr* in) {
  const uint32_t bytes = in->mods & 0xff, row = in->mods >> 8;
  auto* d = w.row<std::byte>(in->d);
  for (int i = 0; i < kLanes; ++i) {
    if (w.lanes[i] == 0) continue;
    uint64_t value = 0;
    for (uint32_t k = 0; k < bytes; k += 4) {
      std::memcpy(reinterpret_cast<std::byte*>(&value) + k,
                  parameter(w.frame->params, static_cast<uint32_t>(in->imm) + k, i),
                  std::min(bytes - k, 4u));
    }
    std::memcpy(d + static_cast<size_t>(i) * row, &value, row);
  }
  return in + 1;
}

const Instr* frame_store(Warp& w, const Instr* in) {
  const uint32_t bytes = in->mods & 0xff, row = in->mods >> 8;
  const auto* a = w.row<std::byte>(in->a);
  for (int i = 0; i < kLanes; ++i) {
    if (w.lanes[i] == 0) continue;
    for (uint32_t k = 0; k < bytes; k += 4) {
      std::memcpy(parameter(w.frame->params, static_cast<uint32_t>(in->imm) + k, i),
                  a + static_cast<size_t>(i) * row + k, std::min(bytes - k, 4u));
    }
  }
  return in + 1;
}

namespace {

// Constant variables lie in global memory here; the spaces are told apart by address.
bool in_constants(const Warp& w, uint64_t address) {
  const auto variables = w.run->module->variables();
  const auto& addresses = w.run->launch->instance->addresses;
  for (size_t i = 0; i < variables.size(); ++i) {
    if (variables[i].constant && address - addresses[i] < variables[i].size) return true;
  }
  return false;
}

}  // namespace

const Instr* is_space(Warp& w, const Instr* in) {
  const uint64_t* a = w.row<uint64_t>(in->a);
  uint32_t truth = 0;
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int i = __builtin_ctz(lanes);
    const uint64_t window = a[i] >> 56;
    bool inside = window == static_cast<uint64_t>(in->imm);
    // .shared::cta is this block's memory only.
    if (in->mods != 0) inside &= rank_of(a[i], w.block->rank) == w.block->rank;
    // The window of kernel parameters is part of the global one.
    if (in->imm == 0) inside = window == 3 || (window == 0 && !in_constants(w, a[i]));
    if (in->imm == 5) inside = window == 0 && in_constants(w, a[i]);
    truth |= static_cast<uint32_t>(inside) << i;
  }
  w.set_predicate(in->d, truth);
  return in + 1;
}

namespace {

uint32_t reduce(int64_t op, bool is_signed, uint32_t x, uint32_t y) {
  const bool less = is_signed ? static_cast<int32_t>(y) < static_cast<int32_t>(x) : y < x;
  switch (op) {
    case 0:
      return x + y;
    case 1:
      return less ? y : x;
    case 2:
      return less ? x : y;
    case 3:
      return x & y;
    case 4:
      return x | y;
    default:
      return x ^ y;
  }
}

// The order of floats as that of integers, in which -0 is below +0.
int32_t order_of(uint32_t bits) {
  return static_cast<int32_t>((bits >> 31) != 0 ? bits ^ 0x7fffffffu : bits);
}

// redux.f32 of a group of lanes: NaNs do not count, unless all are or .NaN is given.
uint32_t reduce_floats(const uint32_t* a, uint32_t group, const Instr* in) {
  constexpr uint32_t kCanonicalNan = 0x7fffffff;
  uint32_t best = kCanonicalNan;
  bool found = false;
  for (; group != 0; group &= group - 1) {
    uint32_t value = a[__builtin_ctz(group)];
    if ((in->mods & kHigh) != 0) value &= 0x7fffffffu;
    if ((value & 0x7fffffffu) > 0x7f800000u) {
      if ((in->mods & kNan) != 0) return kCanonicalNan;
      continue;
    }
    const bool less = order_of(value) < order_of(best);
    if (!found || less == (in->imm == 1)) best = value;
    found = true;
  }
  return best;
}

}  // namespace

// imm: add, min, max, and, or, xor; kSignedA: signed, kSignedB: f32.
const Instr* redux(Warp& w, const Instr* in) {
  const uint32_t* members = w.row<uint32_t>(in->b);
  uint32_t named = 0;
  for (int i = 0; i < kLanes; ++i) named |= members[i] & w.lanes[i];
  if (!w.here(named)) return w.wait_lanes(in, named);
  const uint32_t* a = w.row<uint32_t>(in->a);
  uint32_t* d = w.row<uint32_t>(in->d);
  uint32_t result[kLanes] = {};
  const bool is_signed = (in->mods & kSignedA) != 0;
  const bool is_float = (in->mods & kSignedB) != 0;
  for (int i = 0; i < kLanes; ++i) {
    if (is_float) {
      result[i] = reduce_floats(a, members[i] & w.mask, in);
      continue;
    }
    bool first = true;
    for (uint32_t group = members[i] & w.mask; group != 0; group &= group - 1) {
      const uint32_t value = a[__builtin_ctz(group)];
      result[i] = first ? value : reduce(in->imm, is_signed, result[i], value);
      first = false;
    }
  }
  for (int i = 0; i < kLanes; ++i) d[i] = w.lanes[i] != 0 ? result[i] : d[i];
  return in + 1;
}

}  // namespace handlers
}  // namespace vgpu::softgpu::ptx

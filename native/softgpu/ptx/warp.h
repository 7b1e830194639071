// A warp at run time: 32 lanes in structure-of-arrays rows, held by one or more splits.
//
// A split is (pc, mask): lanes that execute together. Lanes that diverge at a branch meet again at
// its post-dominator, where a Node waits for them; a node gives up waiting when the others spin, so
// that every lane makes progress. What handlers touch is public and at the front.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "softgpu/ptx/engine.h"
#include "softgpu/ptx/program.h"

namespace vgpu::softgpu::ptx {

struct BlockState;
struct Run;
struct Node;
struct ThreadState;

// Generic addresses outside global memory; no host address has these high bits.
inline constexpr uint64_t kSharedWindow = uint64_t{1} << 56;
inline constexpr uint64_t kLocalWindow = uint64_t{2} << 56;
inline constexpr uint64_t kParamWindow = uint64_t{3} << 56;
inline constexpr uint64_t kFunctionWindow = uint64_t{4} << 56;
inline constexpr uint64_t kWindowMask = uint64_t{0xff} << 56;

struct Frame {
  const Code* code = nullptr;
  std::byte* registers = nullptr;
  const std::byte* pool = nullptr;
  std::byte* params = nullptr;  // interleaved: word w of lane l at (w * 32 + l) * 4
  uint32_t local_base = 0;      // this function's place in each lane's local memory
  uint32_t local_end = 0;
  uint32_t depth = 0;
  size_t bytes = 0;             // of storage
  std::vector<uint32_t> stack;  // per lane, where its local memory ends, once alloca moved that
  Node* home = nullptr;         // where its lanes return to
  std::unique_ptr<std::byte[]> storage;
};

// Where a frame's local memory ends for all of some lanes.
inline uint32_t stack_top(const Frame& frame, uint32_t lanes) {
  uint32_t top = frame.local_end;
  if (frame.stack.empty()) return top;
  for (; lanes != 0; lanes &= lanes - 1) {
    const uint32_t mine = frame.stack[static_cast<size_t>(__builtin_ctz(lanes))];
    if (mine > top) top = mine;
  }
  return top;
}

struct Node {
  const Instr* pc = nullptr;
  Frame* frame = nullptr;
  Node* parent = nullptr;
  uint32_t expected = 0, arrived = 0;
  bool call = false;
  Frame* callee = nullptr;         // of a call node
  const CallInfo* info = nullptr;  // of a call node
};

enum class Wait : uint8_t { kNone, kLanes, kBarrier };

struct Split {
  const Instr* pc = nullptr;
  uint32_t mask = 0;
  Node* node = nullptr;
  Frame* frame = nullptr;
  Wait wait = Wait::kNone;
  uint32_t id = 0;     // barrier
  uint32_t named = 0;  // lanes that the instruction names
};

enum class Stop : uint8_t { kNone, kSwitch, kYield, kFault };

struct Warp {
  // Operands.
  std::byte* base[2] = {nullptr, nullptr};  // registers, constant pool
  uint32_t mask = 0;                        // lanes of the running split
  uint32_t live = 0;                        // lanes that exist and have not exited
  bool full = false;                        // every live lane runs: whole rows may be written
  alignas(64) uint32_t lanes[kLanes] = {};  // mask, widened to 0 or ~0 per lane
  // Where handlers look things up.
  BlockState* block = nullptr;
  Run* run = nullptr;
  ThreadState* thread = nullptr;
  Frame* frame = nullptr;
  Node* node = nullptr;
  std::byte* local = nullptr;  // lane l's memory at l * local_stride
  uint32_t local_stride = 0;
  uint32_t index = 0;  // in the block
  int32_t fuel = 0;    // until the warp yields; branches back and synchronizing accesses use it
  uint32_t sync_accesses = 0;  // of this time slice: is it spinning?
  bool resumed = false;        // the instruction's named lanes are all here
  Stop stop = Stop::kNone;
  void (*widen)(uint32_t mask, uint32_t* lanes) = nullptr;
  const Instr* since = nullptr;  // first instruction not yet counted
  const Instr* pc = nullptr;
  uint64_t instructions = 0, lane_operations = 0;
  uint64_t async_groups = 0;
  size_t frame_bytes = 0;  // of all frames
  // barrier.cluster: lanes that have arrived, and the phase in which they last did.
  uint32_t cluster_arrived = 0, cluster_phase = 0;

  template <class T>
  [[gnu::always_inline]] T* row(uint32_t operand) const {
    return reinterpret_cast<T*>(base[operand & 1] + (operand & ~3u));
  }
  [[gnu::always_inline]] uint32_t& mask_at(uint32_t operand) const {
    return *reinterpret_cast<uint32_t*>(base[operand & 1] + (operand & ~3u));
  }
  [[gnu::always_inline]] uint32_t predicate(uint32_t operand) const {
    const uint32_t value = mask_at(operand);
    return (operand & kNegateBit) != 0 ? ~value : value;
  }
  [[gnu::always_inline]] void set_predicate(uint32_t operand, uint32_t value) const {
    uint32_t& place = mask_at(operand);
    place = (place & ~mask) | (value & mask);
  }

  void set_mask(uint32_t lanes_now);
  void account(const Instr* next);  // counts what ran since the last call
  const Instr* fault(const Instr* in, FaultKind kind, int lane, const std::string& what);
  const Instr* fault(const Instr* in, int lane, Fault why);  // of what it says the place
  // "kernel: what, PTX line 5 (file.cu:7), block (0,0,0), thread (1,0,0)"
  [[nodiscard]] std::string at_place(const Instr* in, int lane, const std::string& what) const;

  // Control flow (control.cc).
  const Instr* jump(const Instr* from, const Instr* target);
  const Instr* diverge(const Instr* in, const BranchInfo& info, uint32_t taken, const Instr* next);
  const Instr* arrive(uint32_t lanes_here);  // at node, which is current
  const Instr* leave(uint32_t exiting, const Instr* next);
  const Instr* wait_lanes(const Instr* in, uint32_t named);
  const Instr* wait_barrier(const Instr* in, uint32_t id);
  const Instr* call(const Instr* in, const CallInfo& info, Function* callee, uint32_t callers);
  const Instr* return_from(const Instr* in);
  // True when all lanes that a .sync instruction names run it now; otherwise `stop` is set.
  [[gnu::always_inline]] bool here(uint32_t named) const {
    return resumed || (named & live & ~mask) == 0;
  }

  // Scheduling (warp.cc).
  void start(BlockState& owner, uint32_t warp_index, uint32_t lanes_present);
  enum class State : uint8_t { kDone, kYielded, kBlocked, kFaulted };
  State step();
  void release_barrier(uint32_t id);
  [[nodiscard]] uint32_t lanes_at_barrier(uint32_t id) const;
  void drop(uint32_t lanes_gone);

  std::vector<Split> ready, waiting;
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<std::unique_ptr<Frame>> frames;
  std::unique_ptr<std::byte[], void (*)(void*)> local_storage{nullptr, nullptr};

 private:
  void load(const Split& split);
  Node* new_node();
  void remove(Node* node);
  void resume(Node* node);
  bool pick();
  bool try_lanes(size_t at);
  bool give_up_waiting();
  void free_frame(Frame* frame);
  std::unique_ptr<Frame> new_frame(const Code& code, Frame* caller, uint32_t local_base);
};

// Host addresses of one access, per lane.
enum class Shape : uint8_t {
  kScattered,
  kUniform,     // every lane at at[0]; the others are not filled in
  kContiguous,  // lane i at at[0] + i * bytes, all lanes present; the others are not filled in
};
struct Access {
  alignas(64) uint64_t at[kLanes];
  Shape shape;
};

struct CachedRange {
  uint64_t begin = 0, last = 0;  // size - 1 past begin
  bool writable = false;
};

// What a pool thread keeps between instructions: recently used ranges, by instruction.
struct ThreadState {
  static constexpr size_t kRanges = 32;
  std::array<CachedRange, kRanges> ranges;
  MemoryMap::Snapshot snapshot;
  // The image that was used last, and the snapshot in which its memory was there.
  uint64_t image_handle = 0;
  std::shared_ptr<const TexelImage> image;
  const void* image_snapshot = nullptr;
  void refresh(const MemoryMap& map) {
    MemoryMap::Snapshot now = map.snapshot();
    if (now == snapshot) return;
    snapshot = std::move(now);
    ranges.fill({});
  }
};

}  // namespace vgpu::softgpu::ptx

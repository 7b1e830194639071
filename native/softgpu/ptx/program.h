// The decoded form of a function: what warps execute.
//
// Every operand is a byte offset into the frame's register file or, with kPoolBit, into the
// function's constant pool: immediates are broadcast there once, so that handlers know registers
// only. A register is a row of 32 lanes (u16, u32, u64, or two u64 rows for 128 bits); a predicate
// is one 32-bit mask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "softgpu/ptx/bulk.h"
#include "softgpu/ptx/matrix.h"
#include "softgpu/ptx/syntax.h"
#include "softgpu/ptx/texture.h"
#include "softgpu/ptx/video.h"

namespace vgpu::softgpu::ptx {

struct Warp;
struct Instr;
struct Function;

inline constexpr int kLanes = 32;
inline constexpr uint32_t kPoolBit = 1;    // the operand lies in the constant pool
inline constexpr uint32_t kNegateBit = 2;  // a predicate operand is used negated

// Executes one instruction; returns the next one, or null when the warp must look at its state.
using Handler = const Instr* (*)(Warp&, const Instr*);

struct Instr {
  Handler run = nullptr;
  uint32_t d = 0, a = 0, b = 0, c = 0;
  uint32_t e = 0;     // a fourth source or a second result
  uint32_t mods = 0;  // meaning belongs to the handler
  int64_t imm = 0;
  union {
    const uint32_t* list = nullptr;  // further operands
    const Instr* target;
    const void* data;
  };
};
static_assert(sizeof(Instr) == 48);

// A place in the constant pool whose value a launch decides.
struct PoolPatch {
  enum class Kind : uint8_t { kVariable, kDynamicShared } kind = Kind::kVariable;
  uint32_t offset = 0;  // of a 64-bit row (or a 32-bit one) in the pool
  uint32_t width = 8;   // 4 or 8
  uint32_t index = 0;   // variable of the module
  int64_t addend = 0;
};

// Where a branch's lanes meet again, or a call comes back to.
struct BranchInfo {
  std::vector<const Instr*> targets;
  const Instr* join = nullptr;  // null: they meet at the function's end
};

struct CallInfo {
  Function* callee = nullptr;  // null: indirect
  int builtin = -1;
  uint32_t target = 0;  // operand with the function's handle, indirect calls
  struct Piece {
    uint32_t from = 0, to = 0, bytes = 0;  // offsets in the parameter areas
  };
  std::vector<Piece> arguments;  // caller's to callee's area
  std::vector<Piece> results;    // callee's to caller's area
  uint32_t bytes = 0;            // of the callee's area that these need
};

// Rows begin where cache lines do.
template <class T>
struct LineAllocator {
  using value_type = T;
  LineAllocator() = default;
  template <class U>
  explicit LineAllocator(const LineAllocator<U>&) {}
  T* allocate(size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{64}));
  }
  void deallocate(T* at, size_t) { ::operator delete(at, std::align_val_t{64}); }
  bool operator==(const LineAllocator&) const = default;
};
using ConstantPool = std::vector<std::byte, LineAllocator<std::byte>>;

struct Code {
  Function* function = nullptr;
  std::vector<Instr> once;  // run once per launch: they make constants of the pool
  std::vector<Instr> instrs;
  std::vector<uint32_t> positions;  // byte position in the text, per instruction
  std::vector<Loc> locs;            // per instruction
  std::deque<std::vector<uint32_t>> lists;
  std::deque<BranchInfo> branches;
  std::deque<CallInfo> calls;
  std::deque<MatrixInfo> matrices;
  std::deque<TextureInfo> textures;
  std::deque<VideoInfo> videos;
  std::deque<BulkInfo> bulks;
  std::deque<std::string> texts;
  ConstantPool pool;
  std::vector<PoolPatch> patches;
  uint32_t register_bytes = 0;
  uint32_t param_bytes = 0;  // of the frame's .param area, per lane
  uint32_t local_bytes = 0;
  uint32_t index = 0;  // among the module's decoded functions
  std::vector<Function*> callees;
  bool calls_indirectly = false;
  bool grows_stack = false;  // alloca
};

}  // namespace vgpu::softgpu::ptx

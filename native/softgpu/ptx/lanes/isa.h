// The table of instruction handlers, compiled once per instruction set of the host.
//
// Sources in lanes/ are built several times with VGPU_LANES naming the variant (portable, avx2),
// each in a namespace of its own; isa() picks the best that the processor runs. They must not emit
// inline functions of shared namespaces, or the linker could keep the AVX2 copy for everybody:
// everything in them is a template or function of the variant's namespace, or always inlined.
#pragma once

#include "softgpu/ptx/program.h"
#include "softgpu/ptx/types.h"
#include "softgpu/ptx/warp.h"

namespace vgpu::softgpu::ptx {

enum class Op : uint8_t {
  kMov,
  kAdd,
  kSub,
  kMulLo,
  kMulHi,
  kMulWide,
  kMadLo,
  kMadHi,
  kMadWide,
  kMul24Lo,
  kMul24Hi,
  kMad24Lo,
  kMad24Hi,
  kSad,
  kDiv,
  kRem,
  kAbs,
  kNeg,
  kMin,
  kMax,
  kMin3,
  kMax3,
  kPopc,
  kClz,
  kBfind,
  kFns,
  kBrev,
  kBfe,
  kBfi,
  kBmsk,
  kSzext,
  kDp4a,
  kDp2a,
  kAnd,
  kOr,
  kXor,
  kNot,
  kCnot,
  kLop3,
  kShl,
  kShr,
  kShfL,
  kShfR,
  kPrmt,
  kSelp,
  kFma,
  kRcp,
  kSqrt,
  kRsqrt,
  kSin,
  kCos,
  kLg2,
  kEx2,
  kTanh,
  kCopysign,
  kTestp,
  kAddC,
  kSubC,
  kMadCLo,
  kMadCHi,
};

// Instr::mods of arithmetic.
inline constexpr uint32_t kFtz = 1u << 0;
inline constexpr uint32_t kSat = 1u << 1;
inline constexpr uint32_t kApprox = 1u << 2;
inline constexpr uint32_t kNan = 1u << 3;      // .NaN of min and max
inline constexpr uint32_t kXorSign = 1u << 4;  // .xorsign.abs
inline constexpr uint32_t kRelu = 1u << 5;
inline constexpr uint32_t kShiftAmt = 1u << 6;  // bfind.shiftamt
inline constexpr uint32_t kWrap = 1u << 7;      // shf.wrap, bmsk.wrap
inline constexpr uint32_t kCarryIn = 1u << 8;
inline constexpr uint32_t kCarryOut = 1u << 9;
inline constexpr uint32_t kAbsolute = 1u << 10;  // .abs of min and max
inline constexpr uint32_t kSignedA = 1u << 11;   // dp4a, dp2a
inline constexpr uint32_t kSignedB = 1u << 12;
inline constexpr uint32_t kHigh = 1u << 13;  // dp2a.hi
// Rounding, two bits: nearest even, zero, minus infinity, plus infinity.
inline constexpr uint32_t kRoundShift = 16;
inline constexpr uint32_t kRoundMask = 3u << kRoundShift;
inline constexpr uint32_t kRoundNearest = 0u << kRoundShift;
inline constexpr uint32_t kRoundZero = 1u << kRoundShift;
inline constexpr uint32_t kRoundDown = 2u << kRoundShift;
inline constexpr uint32_t kRoundUp = 3u << kRoundShift;
inline constexpr uint32_t kRoundAway = 1u << 18;     // cvt.rna
inline constexpr uint32_t kRoundInteger = 1u << 19;  // .rni and the like: to an integral value
inline constexpr uint32_t kSatFinite = 1u << 20;
inline constexpr uint32_t kRoundStochastic = 1u << 21;

enum class Compare : uint8_t {
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kLo,
  kLs,
  kHi,
  kHs,
  kEqu,
  kNeu,
  kLtu,
  kLeu,
  kGtu,
  kGeu,
  kNum,
  kNan,
};

// Instr::mods of loads, stores and other memory accesses.
inline constexpr uint32_t kAddress32 = 1u << 0;     // the base register has 32 bits
inline constexpr uint32_t kAccessSync = 1u << 1;    // volatile, relaxed, acquire, release: may spin
inline constexpr uint32_t kAccessWhole = 1u << 2;   // of 16 bytes, which may not be torn
inline constexpr uint32_t kAccessAtomic = 1u << 4;  // atom, red, mbarrier

enum class Exchange : uint8_t {
  kShflUp,
  kShflDown,
  kShflBfly,
  kShflIdx,
  kVoteAll,
  kVoteAny,
  kVoteUni,
  kVoteBallot,
  kMatchAny,
  kMatchAll,
  kElect,
  kActiveMask,
};

enum class Atomic : uint8_t { kAdd, kMin, kMax, kInc, kDec, kExch, kCas, kAnd, kOr, kXor };
inline constexpr uint32_t kNoResult = 1u << 3;  // red

enum class AsyncKind : uint8_t { kCopy, kBarrier };
enum class MBarrier : uint8_t {
  kInit,
  kInvalidate,
  kArrive,
  kArriveDrop,
  kArriveExpect,
  kArriveDropExpect,
  kExpect,
  kComplete,
  kWaitToken,
  kWaitParity,
};

// setp of 16-bit types: the comparison in Instr::mods.
inline constexpr uint32_t kCompareShift = 24;

struct Isa {
  const char* name;
  Handler (*arithmetic)(Op op, Type type, uint32_t mods);
  Handler (*compare)(Compare compare, Type type, uint32_t mods);  // setp: d, e, a, b, c
  Handler (*convert)(Type to, Type from, uint32_t mods);
  Handler (*resize)(uint32_t to_bytes, uint32_t from_bytes, bool is_signed);
  Handler (*broadcast)(uint32_t bytes);  // of 1..16 bytes at Instr::imm in the parameters
  // mov of a register to (apart) or from the pieces of a vector: d or a, list.
  Handler (*pieces)(uint32_t whole_bytes, uint32_t piece_bytes, bool apart);
  Handler (*load)(Space space, uint32_t bytes, uint32_t count);   // d or list; a + imm
  Handler (*store)(Space space, uint32_t bytes, uint32_t count);  // b or list; a + imm
  Handler (*exchange)(Exchange kind, uint32_t bytes);
  Handler (*atomic)(Space space, Atomic op, Type type);  // d, a + imm, b, c
  Handler (*matrix)(MatrixKind kind, Type a, Type b, MatrixInfo& info);
  Handler (*async)(AsyncKind kind);
  void (*widen)(uint32_t mask, uint32_t* lanes);  // ~0 or 0 per lane
  // Into a row, where lanes run: a value of 4 or 8 bytes; first, first + 1, ...
  void (*spread)(const Warp& w, uint32_t operand, uint64_t value, uint32_t bytes);
  void (*count_from)(const Warp& w, uint32_t operand, uint32_t first);
};
const Isa& isa();

}  // namespace vgpu::softgpu::ptx

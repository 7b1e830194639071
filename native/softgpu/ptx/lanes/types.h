// What a type or a comparison of an instruction stands for in C++, shared by the lane files.
#pragma once

#include "softgpu/ptx/lanes/lanes.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

// pick(T{}) with the type that `type` names; null for one that is not a scalar of C++.
template <class F>
Handler with_type(Type type, F&& pick) {
  switch (type) {
    case Type::kU8:
    case Type::kB8:
      return pick(uint8_t{});
    case Type::kS8:
      return pick(int8_t{});
    case Type::kU16:
    case Type::kB16:
      return pick(uint16_t{});
    case Type::kS16:
      return pick(int16_t{});
    case Type::kU32:
    case Type::kB32:
      return pick(uint32_t{});
    case Type::kS32:
      return pick(int32_t{});
    case Type::kU64:
    case Type::kB64:
      return pick(uint64_t{});
    case Type::kS64:
      return pick(int64_t{});
    case Type::kF32:
      return pick(float{});
    case Type::kF64:
      return pick(double{});
    default:
      return nullptr;
  }
}

// PTX ISA 9.3: the unordered comparisons (equ ...) hold for a NaN, the others do not.
template <class T>
VGPU_INLINE bool holds(Compare compare, T a, T b) {
  switch (compare) {
    case Compare::kEq:
      return a == b;
    case Compare::kNe:
      return a < b || a > b;
    case Compare::kLt:
    case Compare::kLo:
      return a < b;
    case Compare::kLe:
    case Compare::kLs:
      return a <= b;
    case Compare::kGt:
    case Compare::kHi:
      return a > b;
    case Compare::kGe:
    case Compare::kHs:
      return a >= b;
    case Compare::kEqu:
      return !(a < b || a > b);
    case Compare::kNeu:
      return a != b;
    case Compare::kLtu:
      return !(a >= b);
    case Compare::kLeu:
      return !(a > b);
    case Compare::kGtu:
      return !(a <= b);
    case Compare::kGeu:
      return !(a < b);
    case Compare::kNum:
      return a == a && b == b;
    case Compare::kNan:
      return a != a || b != b;
  }
  return false;
}

}  // namespace
}  // namespace vgpu::softgpu::ptx::VGPU_LANES

// The fundamental types of PTX (PTX ISA section 5.2), as the decoder names them.
#pragma once

#include <cstdint>
#include <string_view>

namespace vgpu::softgpu::ptx {

enum class Type : uint8_t {
  kNone,
  kPred,
  kB8,
  kU8,
  kS8,
  kB16,
  kU16,
  kS16,
  kF16,
  kBF16,
  kB32,
  kU32,
  kS32,
  kF32,
  kTF32,
  kF16x2,
  kBF16x2,
  kU16x2,
  kS16x2,
  kB64,
  kU64,
  kS64,
  kF64,
  kF32x2,
  kB128,
  // Eight bits and less, packed by two or four (PTX ISA 5.2.3, 5.2.5).
  kE4M3,
  kE5M2,
  kE4M3x2,
  kE5M2x2,
  kUE8M0x2,
  kE2M1x2,
  kE2M3x2,
  kE3M2x2,
  kU4,
  kS4,
  kB1,
  // Elements of matrices only.
  kE2M1,
  kE2M3,
  kE3M2,
};

// `s32` for the text after the dot; kNone when it is no type.
Type type_of(std::string_view name);
std::string_view name_of(Type type);
// Bytes of one value; 0 for predicates and sub-byte types.
uint32_t size_of(Type type);
bool is_signed(Type type);
bool is_float(Type type);

}  // namespace vgpu::softgpu::ptx

// A tensor map of cuTensorMapEncodeTiled: ours, since CUDA leaves its 128 bytes opaque.
#pragma once

#include <cstdint>

namespace vgpu::softgpu {

inline constexpr uint64_t kTensorMapMagic = 0x70616d2d75706776;  // "vgpu-map"
inline constexpr uint32_t kMostTensorRank = 5;

struct alignas(64) TensorMap {
  uint64_t magic = kTensorMapMagic;
  uint64_t address = 0;
  uint64_t dimensions[kMostTensorRank] = {};   // elements
  uint64_t strides[kMostTensorRank - 1] = {};  // bytes, of the dimensions from the second on
  uint16_t box[kMostTensorRank] = {};          // elements
  uint8_t steps[kMostTensorRank] = {};         // every so many elements of the box are copied
  uint8_t rank = 0;
  uint8_t element = 0;       // bytes
  uint8_t swizzle_bits = 0;  // of the chunk number that swizzling turns over: 0 to 3
  bool fills_nan = false;    // outside of the tensor: NaN, else 0
  uint8_t type = 0;          // CUtensorMapDataType

  // Elements of the box along a dimension that are copied.
  [[nodiscard]] uint32_t count(uint32_t dimension) const {
    return (box[dimension] + steps[dimension] - 1u) / steps[dimension];
  }
};
static_assert(sizeof(TensorMap) == 128);

}  // namespace vgpu::softgpu

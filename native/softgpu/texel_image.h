// What a texture or surface object stands for. The driver makes these from descriptors; device code
// finds one by the object's handle and reads or writes memory through it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vgpu::softgpu {

enum class Texel : uint8_t { kU8, kS8, kU16, kS16, kU32, kS32, kHalf, kFloat };

constexpr uint32_t bytes_of(Texel texel) {
  switch (texel) {
    case Texel::kU8:
    case Texel::kS8:
      return 1;
    case Texel::kU16:
    case Texel::kS16:
    case Texel::kHalf:
      return 2;
    default:
      return 4;
  }
}

// One mip level: rows, then slices (of a volume, or one per layer and cube face).
struct TexelLevel {
  uint64_t address = 0;
  uint64_t pitch = 0;  // bytes from row to row
  uint64_t slice = 0;  // bytes from slice to slice
  uint32_t width = 1, height = 1, depth = 1;

  [[nodiscard]] uint64_t bytes(uint32_t element, uint32_t slices) const {
    return (slices - 1) * slice + (height - 1) * pitch + uint64_t{width} * element;
  }
};

enum class AddressMode : uint8_t { kWrap, kClamp, kMirror, kBorder };

struct Sampler {
  AddressMode address[3] = {AddressMode::kClamp, AddressMode::kClamp, AddressMode::kClamp};
  bool linear = false;
  bool linear_levels = false;
  bool normalized = false;  // coordinates
  bool to_float = false;    // 8- and 16-bit integers become [0, 1] or [-1, 1]
  bool srgb = false;
  float bias = 0, least_level = 0, most_level = 0;
  uint32_t border[4] = {0, 0, 0, 0};  // bits: of a float, or of an integer for integer formats
};

struct TexelImage {
  enum class Shape : uint8_t {
    kLinear,
    k1D,
    k2D,
    k3D,
    kLayered1D,
    kLayered2D,
    kCube,
    kLayeredCube
  };
  Shape shape = Shape::k1D;
  bool surface = false;  // a surface object: stores and loads, no sampling
  Texel texel = Texel::kFloat;
  uint32_t channels = 1;
  uint32_t layers = 1;  // 1 unless layered; a cube's faces are not layers
  std::vector<TexelLevel> levels;
  Sampler sampler;

  [[nodiscard]] uint32_t element() const { return bytes_of(texel) * channels; }
  [[nodiscard]] bool cube() const { return shape == Shape::kCube || shape == Shape::kLayeredCube; }
  [[nodiscard]] uint32_t slices(const TexelLevel& level) const {
    return shape == Shape::k3D ? level.depth : layers * (cube() ? 6 : 1);
  }
};

}  // namespace vgpu::softgpu

// The decoded form of texture and surface instructions (PTX ISA sections 9.7.10 and 9.7.11), and
// the filtering behind them.
#pragma once

#include <cstdint>

#include "softgpu/texel_image.h"

namespace vgpu::softgpu::ptx {

enum class Geometry : uint8_t { k1D, k2D, k3D, kA1D, kA2D, kCube, kACube };

// Coordinates that are not the layer.
constexpr uint32_t coordinates_of(Geometry geometry) {
  switch (geometry) {
    case Geometry::k1D:
    case Geometry::kA1D:
      return 1;
    case Geometry::k2D:
    case Geometry::kA2D:
      return 2;
    default:
      return 3;
  }
}
constexpr bool layered(Geometry geometry) {
  return geometry == Geometry::kA1D || geometry == Geometry::kA2D || geometry == Geometry::kACube;
}

enum class TextureQuery : uint8_t {
  kWidth,
  kHeight,
  kDepth,
  kArraySize,
  kLevels,
  kSamples,
  kNormalized,
  kMemoryLayout,
};
enum class Boundary : uint8_t { kTrap, kClamp, kZero };
enum class SurfaceOp : uint8_t { kAdd, kMin, kMax, kAnd, kOr };

// Operands are rows; 0 where there is none.
struct TextureInfo {
  Geometry geometry = Geometry::k1D;
  uint32_t handle = 0;
  uint32_t layer = 0;
  uint32_t coordinates[3] = {0, 0, 0};  // f32, or s32 when `integer`
  uint32_t values[4] = {0, 0, 0, 0};    // results, or what a store writes
  uint32_t count = 0;
  // Sampling.
  bool integer = false;
  bool gather = false;
  uint32_t component = 0;  // that tld4 gathers
  uint32_t resident = 0;   // predicate result
  uint32_t level = 0;
  bool gradients = false;
  uint32_t dx[3] = {0, 0, 0}, dy[3] = {0, 0, 0};
  uint32_t offset[3] = {0, 0, 0};
  // Queries.
  TextureQuery query = TextureQuery::kWidth;
  // Surfaces.
  uint32_t bytes = 0;  // of one value
  Boundary boundary = Boundary::kTrap;
  SurfaceOp op = SurfaceOp::kAdd;
  bool is_signed = false;
};

// One lane's look-up.
struct TexturePoint {
  float at[3] = {0, 0, 0};  // or, when the instruction's coordinates are integers:
  int32_t index[3] = {0, 0, 0};
  int32_t offset[3] = {0, 0, 0};
  uint32_t layer = 0;
  float level = 0;  // of detail, before the sampler's bias and limits
};

// What is at a point: four 32-bit values, floats or integers as the image's format and sampler say;
// channels that the format lacks are 0.
void sample(const TexelImage& image, const TextureInfo& info, const TexturePoint& point,
            uint32_t out[4]);
// The component of the four texels that linear filtering would weigh, in tld4's order.
void gather(const TexelImage& image, const TextureInfo& info, const TexturePoint& point,
            uint32_t out[4]);
// Level of detail of gradients (isotropic).
float level_of_gradients(const TexelImage& image, const TextureInfo& info, const float* dx,
                         const float* dy);

}  // namespace vgpu::softgpu::ptx

// Texture fetching as the CUDA C++ Programming Guide documents it (appendix "Texture Fetching"):
// fractions of texel positions are rounded to 8 bits; weighted sums are rounded once, to f32.
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "softgpu/math/convert.h"
#include "softgpu/ptx/texture.h"

namespace vgpu::softgpu::ptx {
namespace {

constexpr int kFractionBits = 8;
constexpr int64_t kOne = int64_t{1} << kFractionBits;
// Beyond this a position has no fraction and the index would leave every image.
constexpr double kFarthest = 4503599627370496.0;  // 2^52

// The one or two texels along an axis, with weights that add up to kOne.
struct Taps {
  int64_t index[2] = {0, 0};  // -1: the border
  int64_t weight[2] = {kOne, 0};
  uint32_t count = 1;
};

int64_t modulo(int64_t value, int64_t n) {
  const int64_t rest = value % n;
  return rest < 0 ? rest + n : rest;
}

int64_t addressed(int64_t index, int64_t size, AddressMode mode) {
  switch (mode) {
    case AddressMode::kWrap:
      return modulo(index, size);
    case AddressMode::kMirror: {
      const int64_t rest = modulo(index, 2 * size);
      return rest < size ? rest : 2 * size - 1 - rest;
    }
    case AddressMode::kBorder:
      return index < 0 || index >= size ? -1 : index;
    case AddressMode::kClamp:
      break;
  }
  return index < 0 ? 0 : index >= size ? size - 1 : index;
}

// A position in texels: NaN counts as 0.
double position(float at, bool normalized, uint32_t size) {
  const double value = normalized ? static_cast<double>(at) * size : static_cast<double>(at);
  if (!(value == value)) return 0;
  return value < -kFarthest ? -kFarthest : value > kFarthest ? kFarthest : value;
}

Taps taps_of(double at, int64_t offset, uint32_t size, AddressMode mode, bool linear) {
  Taps taps;
  if (!linear) {
    taps.index[0] = addressed(static_cast<int64_t>(std::floor(at)) + offset, size, mode);
    return taps;
  }
  const auto fixed = static_cast<int64_t>(std::floor(at * kOne + 0.5)) - kOne / 2;
  const int64_t first = (fixed >> kFractionBits) + offset;
  taps.weight[1] = fixed & (kOne - 1);
  taps.weight[0] = kOne - taps.weight[1];
  taps.count = 2;
  taps.index[0] = addressed(first, size, mode);
  taps.index[1] = addressed(first + 1, size, mode);
  return taps;
}

template <class T>
T read(uint64_t address) {
  T value;
  std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof(T));
  return value;
}

uint32_t integer_texel(Texel texel, uint64_t address) {
  switch (texel) {
    case Texel::kU8:
      return read<uint8_t>(address);
    case Texel::kS8:
      return static_cast<uint32_t>(static_cast<int32_t>(read<int8_t>(address)));
    case Texel::kU16:
      return read<uint16_t>(address);
    case Texel::kS16:
      return static_cast<uint32_t>(static_cast<int32_t>(read<int16_t>(address)));
    default:
      return read<uint32_t>(address);
  }
}

// IEC 61966-2-1.
float from_srgb(uint8_t value) {
  static const std::array<float, 256> kTable = [] {
    std::array<float, 256> table{};
    for (int i = 0; i < 256; ++i) {
      const double v = i / 255.0;
      table[static_cast<size_t>(i)] =
          static_cast<float>(v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4));
    }
    return table;
  }();
  return kTable[value];
}

float float_texel(const TexelImage& image, uint64_t address, uint32_t channel) {
  switch (image.texel) {
    case Texel::kU8: {
      const auto value = read<uint8_t>(address);
      return image.sampler.srgb && channel < 3 ? from_srgb(value)
                                               : static_cast<float>(value) / 255.0f;
    }
    case Texel::kS8:
      return std::fmax(static_cast<float>(read<int8_t>(address)) / 127.0f, -1.0f);
    case Texel::kU16:
      return static_cast<float>(read<uint16_t>(address)) / 65535.0f;
    case Texel::kS16:
      return std::fmax(static_cast<float>(read<int16_t>(address)) / 32767.0f, -1.0f);
    case Texel::kHalf:
      return math::f16_to_f32(read<uint16_t>(address));
    default:
      return read<float>(address);
  }
}

bool integers(const TexelImage& image) {
  const bool is_float = image.texel == Texel::kFloat || image.texel == Texel::kHalf;
  return !is_float && !image.sampler.to_float;
}

// The face that a direction points at and the place on it, from -1 to 1 (the guide's table).
struct Face {
  uint32_t number = 0;
  float s = 0, t = 0, m = 1;
};
Face face_of(const float* v) {
  const float x = v[0], y = v[1], z = v[2];
  const float ax = std::fabs(x), ay = std::fabs(y), az = std::fabs(z);
  if (ax >= ay && ax >= az) return x >= 0 ? Face{0, -z, -y, x} : Face{1, z, -y, -x};
  if (ay >= az) return y >= 0 ? Face{2, x, z, y} : Face{3, x, -z, -y};
  return z >= 0 ? Face{4, x, -y, z} : Face{5, -x, -y, -z};
}

struct Footprint {
  Taps taps[3];
  uint64_t slice = 0;  // of layer and face
};

Footprint footprint(const TexelImage& image, const TexelLevel& level, const TextureInfo& info,
                    const TexturePoint& point, bool linear) {
  Footprint print;
  const Sampler& sampler = image.sampler;
  const uint32_t sizes[3] = {level.width, level.height, level.depth};
  const uint32_t layer = point.layer < image.layers ? point.layer : image.layers - 1;
  if (image.cube()) {
    const Face face = face_of(point.at);
    const float place[2] = {face.s, face.t};
    print.slice = uint64_t{layer} * 6 + face.number;
    for (int axis = 0; axis < 2; ++axis) {
      const double at = position((place[axis] / face.m + 1) / 2, true, sizes[axis]);
      print.taps[axis] = taps_of(at, point.offset[axis], sizes[axis], AddressMode::kClamp, linear);
    }
    return print;
  }
  if (layered(info.geometry)) print.slice = layer;
  const uint32_t axes = coordinates_of(info.geometry);
  for (uint32_t axis = 0; axis < axes; ++axis) {
    if (info.integer) {
      print.taps[axis].index[0] = addressed(int64_t{point.index[axis]} + point.offset[axis],
                                            sizes[axis], sampler.address[axis]);
      continue;
    }
    const double at = position(point.at[axis], sampler.normalized, sizes[axis]);
    print.taps[axis] = taps_of(at, point.offset[axis], sizes[axis], sampler.address[axis], linear);
  }
  return print;
}

// Where a texel lies; 0 for the border.
uint64_t place_of(const TexelImage& image, const TexelLevel& level, const Footprint& print, int i,
                  int j, int k) {
  const int64_t x = print.taps[0].index[i], y = print.taps[1].index[j], z = print.taps[2].index[k];
  if (x < 0 || y < 0 || z < 0) return 0;
  return level.address + (print.slice + static_cast<uint64_t>(z)) * level.slice +
         static_cast<uint64_t>(y) * level.pitch + static_cast<uint64_t>(x) * image.element();
}

float value_at(const TexelImage& image, uint64_t place, uint32_t channel) {
  if (place == 0) return std::bit_cast<float>(image.sampler.border[channel]);
  return float_texel(image, place + channel * bytes_of(image.texel), channel);
}

// Texels of weight 0 are not looked at: what lies beside an exact position does not matter.
void filter(const TexelImage& image, const TexelLevel& level, const Footprint& print,
            double out[4]) {
  constexpr double kUnit = 1.0 / static_cast<double>(kOne * kOne * kOne);
  for (uint32_t c = 0; c < image.channels; ++c) out[c] = 0;
  for (uint32_t k = 0; k < print.taps[2].count; ++k) {
    for (uint32_t j = 0; j < print.taps[1].count; ++j) {
      for (uint32_t i = 0; i < print.taps[0].count; ++i) {
        const int64_t weight =
            print.taps[0].weight[i] * print.taps[1].weight[j] * print.taps[2].weight[k];
        if (weight == 0) continue;
        const uint64_t place = place_of(image, level, print, static_cast<int>(i),
                                        static_cast<int>(j), static_cast<int>(k));
        for (uint32_t c = 0; c < image.channels; ++c) {
          out[c] +=
              static_cast<double>(weight) * kUnit * static_cast<double>(value_at(image, place, c));
        }
      }
    }
  }
}

struct Levels {
  size_t first = 0;
  double weight = 0;  // of the next one
};
Levels levels_of(const TexelImage& image, float wanted) {
  const Sampler& sampler = image.sampler;
  const auto last = static_cast<double>(image.levels.size() - 1);
  double level = static_cast<double>(wanted) + sampler.bias;
  if (!(level == level)) level = 0;
  level = std::fmin(std::fmax(level, sampler.least_level), sampler.most_level);
  level = std::fmin(std::fmax(level, 0.0), last);
  if (!sampler.linear_levels) return {static_cast<size_t>(std::floor(level + 0.5)), 0};
  const double fixed = std::floor(level * static_cast<double>(kOne) + 0.5);
  const double whole = std::floor(fixed / static_cast<double>(kOne));
  return {static_cast<size_t>(whole), fixed / static_cast<double>(kOne) - whole};
}

}  // namespace

void sample(const TexelImage& image, const TextureInfo& info, const TexturePoint& point,
            uint32_t out[4]) {
  out[0] = out[1] = out[2] = out[3] = 0;
  const Levels levels = levels_of(image, point.level);
  const TexelLevel& level = image.levels[levels.first];
  if (integers(image)) {
    const Footprint print = footprint(image, level, info, point, false);
    const uint64_t place = place_of(image, level, print, 0, 0, 0);
    for (uint32_t c = 0; c < image.channels; ++c) {
      out[c] = place == 0 ? image.sampler.border[c]
                          : integer_texel(image.texel, place + c * bytes_of(image.texel));
    }
    return;
  }
  const bool linear = image.sampler.linear && !info.integer;
  const Footprint print = footprint(image, level, info, point, linear);
  if (!linear && levels.weight == 0) {  // exactly the texel, NaN included
    const uint64_t place = place_of(image, level, print, 0, 0, 0);
    for (uint32_t c = 0; c < image.channels; ++c) {
      out[c] = std::bit_cast<uint32_t>(value_at(image, place, c));
    }
    return;
  }
  double sum[4];
  filter(image, level, print, sum);
  if (levels.weight != 0) {
    const TexelLevel& next = image.levels[levels.first + 1];
    double other[4];
    filter(image, next, footprint(image, next, info, point, linear), other);
    for (uint32_t c = 0; c < image.channels; ++c) {
      sum[c] = sum[c] * (1 - levels.weight) + other[c] * levels.weight;
    }
  }
  for (uint32_t c = 0; c < image.channels; ++c) {
    out[c] = std::bit_cast<uint32_t>(static_cast<float>(sum[c]));
  }
}

void gather(const TexelImage& image, const TextureInfo& info, const TexturePoint& point,
            uint32_t out[4]) {
  const TexelLevel& level = image.levels[levels_of(image, point.level).first];
  const Footprint print = footprint(image, level, info, point, true);
  constexpr int kOrder[4][2] = {{0, 1}, {1, 1}, {1, 0}, {0, 0}};
  for (int i = 0; i < 4; ++i) {
    const uint32_t channel = info.component;
    out[i] = 0;
    if (channel >= image.channels) continue;
    const uint64_t place = place_of(image, level, print, kOrder[i][0], kOrder[i][1], 0);
    if (!integers(image)) {
      out[i] = std::bit_cast<uint32_t>(value_at(image, place, channel));
    } else if (place == 0) {
      out[i] = image.sampler.border[channel];
    } else {
      out[i] = integer_texel(image.texel, place + channel * bytes_of(image.texel));
    }
  }
}

float level_of_gradients(const TexelImage& image, const TextureInfo& info, const float* dx,
                         const float* dy) {
  const TexelLevel& base = image.levels[0];
  const uint32_t sizes[3] = {base.width, base.height, base.depth};
  double longest = 0;
  for (const float* d : {dx, dy}) {
    double squares = 0;
    for (uint32_t axis = 0; axis < coordinates_of(info.geometry); ++axis) {
      const double texels =
          static_cast<double>(d[axis]) * (image.sampler.normalized ? sizes[axis] : 1);
      squares += texels * texels;
    }
    longest = std::fmax(longest, squares);
  }
  return static_cast<float>(0.5 * std::log2(longest));  // -inf for none: the finest level
}

}  // namespace vgpu::softgpu::ptx

// Handlers of texture and surface instructions: each lane's handle names an image.
#include "softgpu/ptx/texture.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "softgpu/ptx/block.h"
#include "softgpu/ptx/decode.h"

namespace vgpu::softgpu::ptx {
namespace {

using Shape = TexelImage::Shape;

bool matches(Geometry geometry, const TexelImage& image) {
  switch (geometry) {
    case Geometry::k1D:
      return image.shape == Shape::k1D || image.shape == Shape::kLinear;
    case Geometry::k2D:
      return image.shape == Shape::k2D;
    case Geometry::k3D:
      return image.shape == Shape::k3D;
    case Geometry::kA1D:
      return image.shape == Shape::kLayered1D;
    case Geometry::kA2D:  // surfaces see the faces of a cube as layers
      return image.shape == Shape::kLayered2D || (image.surface && image.cube());
    case Geometry::kCube:
      return image.shape == Shape::kCube;
    case Geometry::kACube:
      return image.shape == Shape::kLayeredCube;
  }
  return false;
}

bool reachable(const std::vector<Range>& ranges, const TexelImage& image) {
  return std::all_of(image.levels.begin(), image.levels.end(), [&](const TexelLevel& level) {
    return find_range(ranges, level.address, level.bytes(image.element(), image.slices(level))) !=
           nullptr;
  });
}

const TexelImage* refuse(Warp& w, const Instr* in, int lane, uint64_t handle, const char* why) {
  char text[32];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(handle));
  w.fault(in, FaultKind::kIllegalAddress, lane, std::string(text) + " " + why);
  return nullptr;
}

// The image behind a handle, with its memory there; null after a fault.
const TexelImage* image_of(Warp& w, const Instr* in, int lane, uint64_t handle, bool surface) {
  ThreadState& thread = *w.thread;
  if (thread.image == nullptr || thread.image_handle != handle) {
    const auto& find = w.run->launch->image;
    thread.image = find ? find(handle) : nullptr;
    thread.image_handle = handle;
    thread.image_snapshot = nullptr;
  }
  const TexelImage* image = thread.image.get();
  if (image == nullptr || image->surface != surface) {
    return refuse(w, in, lane, handle, surface ? "is no surface object" : "is no texture object");
  }
  if (thread.image_snapshot == thread.snapshot.get()) return image;
  if (!reachable(*thread.snapshot, *image)) {
    thread.refresh(*w.run->launch->memory);
    if (!reachable(*thread.snapshot, *image)) {
      return refuse(w, in, lane, handle, "names memory that is not there");
    }
  }
  thread.image_snapshot = thread.snapshot.get();
  return image;
}

const TexelImage* image_for(Warp& w, const Instr* in, int lane, const TextureInfo& info,
                            bool surface) {
  const uint64_t handle = w.row<uint64_t>(info.handle)[lane];
  const TexelImage* image = image_of(w, in, lane, handle, surface);
  if (image == nullptr) return nullptr;
  if (!matches(info.geometry, *image)) {
    return refuse(w, in, lane, handle, "is an image of another geometry than the instruction's");
  }
  if (!surface && image->shape == Shape::kLinear && !info.integer) {
    return refuse(w, in, lane, handle,
                  "is linear memory, which takes integer coordinates only (tex1Dfetch)");
  }
  return image;
}

TexturePoint point_of(const Warp& w, const TextureInfo& info, const TexelImage& image, int lane) {
  TexturePoint point;
  if (info.layer != 0) point.layer = w.row<uint32_t>(info.layer)[lane];
  for (uint32_t axis = 0; axis < coordinates_of(info.geometry); ++axis) {
    if (info.integer) {
      point.index[axis] = w.row<int32_t>(info.coordinates[axis])[lane];
    } else {
      point.at[axis] = w.row<float>(info.coordinates[axis])[lane];
    }
    if (info.offset[axis] != 0) point.offset[axis] = w.row<int32_t>(info.offset[axis])[lane];
  }
  if (info.gradients) {
    float dx[3] = {0, 0, 0}, dy[3] = {0, 0, 0};
    for (uint32_t axis = 0; axis < coordinates_of(info.geometry); ++axis) {
      dx[axis] = w.row<float>(info.dx[axis])[lane];
      dy[axis] = w.row<float>(info.dy[axis])[lane];
    }
    point.level = level_of_gradients(image, info, dx, dy);
  } else if (info.level != 0) {
    // PTX ISA 9.7.10.3: an integer level goes with integer coordinates.
    point.level = info.integer ? static_cast<float>(w.row<int32_t>(info.level)[lane])
                               : w.row<float>(info.level)[lane];
  }
  return point;
}

uint32_t answer(const TexelImage& image, TextureQuery query, uint32_t wanted_level) {
  const size_t at = std::min<size_t>(wanted_level, image.levels.size() - 1);
  const TexelLevel& level = image.levels[at];
  switch (query) {
    case TextureQuery::kWidth:
      return level.width;
    case TextureQuery::kHeight:
      return level.height;
    case TextureQuery::kDepth:
      return level.depth;
    case TextureQuery::kArraySize:
      return image.layers;
    case TextureQuery::kLevels:
      return static_cast<uint32_t>(image.levels.size());
    case TextureQuery::kSamples:
      return 1;
    case TextureQuery::kNormalized:
      return image.sampler.normalized ? 1 : 0;
    case TextureQuery::kMemoryLayout:
      return image.shape == Shape::kLinear ? 1 : 0;  // 0: blocked, as arrays are
  }
  return 0;
}

// Bounds of one surface coordinate: whether it is inside, moved there when the mode says so.
bool bounded(int64_t& at, int64_t last, Boundary boundary) {
  if (at >= 0 && at <= last) return true;
  if (boundary != Boundary::kClamp) return false;
  at = at < 0 ? 0 : last;
  return true;
}

// The host address of what a surface instruction accesses, 0 when it is outside and that is
// allowed. False after a fault.
bool surface_place(Warp& w, const Instr* in, const TextureInfo& info, const TexelImage& image,
                   int lane, uint64_t& place) {
  const TexelLevel& level = image.levels[0];
  const uint32_t bytes = info.bytes * info.count;
  int64_t at[3] = {0, 0, 0};
  for (uint32_t axis = 0; axis < coordinates_of(info.geometry); ++axis) {
    at[axis] = w.row<int32_t>(info.coordinates[axis])[lane];
  }
  int64_t layer = info.layer != 0 ? w.row<int32_t>(info.layer)[lane] : 0;
  const int64_t slices = image.shape == Shape::k3D ? 1 : image.slices(level);
  const bool inside =
      bounded(at[0], int64_t{level.width} * image.element() - bytes, info.boundary) &&
      bounded(at[1], int64_t{level.height} - 1, info.boundary) &&
      bounded(at[2], int64_t{level.depth} - 1, info.boundary) &&
      bounded(layer, slices - 1, info.boundary);
  if (!inside) {
    place = 0;
    if (info.boundary == Boundary::kZero) return true;
    w.fault(in, FaultKind::kTrap, lane,
            "surface access outside of the surface, at byte " + std::to_string(at[0]) + ", row " +
                std::to_string(at[1]) + ", slice " + std::to_string(at[2] + layer));
    return false;
  }
  if (at[0] % bytes != 0) {
    w.fault(in, FaultKind::kMisalignedAddress, lane,
            "misaligned surface access of " + std::to_string(bytes) + " bytes at byte " +
                std::to_string(at[0]));
    return false;
  }
  place = level.address + static_cast<uint64_t>(at[2] + layer) * level.slice +
          static_cast<uint64_t>(at[1]) * level.pitch + static_cast<uint64_t>(at[0]);
  return true;
}

// Calls access(info, lane, place) for every lane that runs.
template <class Access>
const Instr* each_place(Warp& w, const Instr* in, Access access) {
  const auto& info = *static_cast<const TextureInfo*>(in->data);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const TexelImage* image = image_for(w, in, lane, info, true);
    uint64_t place = 0;
    if (image == nullptr || !surface_place(w, in, info, *image, lane, place)) return nullptr;
    access(info, lane, place);
  }
  return in + 1;
}

// A value of info.bytes in its row; a byte's row has 16 bits.
void put(const Warp& w, uint32_t row, int lane, const std::byte* from, uint32_t bytes) {
  const uint32_t width = std::max(bytes, 2u);
  auto* to = w.row<std::byte>(row) + static_cast<size_t>(lane) * width;
  std::memset(to, 0, width);
  std::memcpy(to, from, bytes);
}

template <class T>
void reduce_at(uint64_t place, T value, SurfaceOp op) {
  auto* target = reinterpret_cast<T*>(place);
  T old = __atomic_load_n(target, __ATOMIC_RELAXED);
  T wanted;
  do {
    switch (op) {
      case SurfaceOp::kAdd:
        wanted = static_cast<T>(static_cast<std::make_unsigned_t<T>>(old) +
                                static_cast<std::make_unsigned_t<T>>(value));
        break;
      case SurfaceOp::kMin:
        wanted = std::min(old, value);
        break;
      case SurfaceOp::kMax:
        wanted = std::max(old, value);
        break;
      case SurfaceOp::kAnd:
        wanted = old & value;
        break;
      default:
        wanted = old | value;
        break;
    }
  } while (!__atomic_compare_exchange_n(target, &old, wanted, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
}

}  // namespace

namespace handlers {

const Instr* texture_fetch(Warp& w, const Instr* in) {
  const auto& info = *static_cast<const TextureInfo*>(in->data);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const TexelImage* image = image_for(w, in, lane, info, false);
    if (image == nullptr) return nullptr;
    const TexturePoint point = point_of(w, info, *image, lane);
    uint32_t out[4];
    if (info.gather) {
      gather(*image, info, point, out);
    } else {
      sample(*image, info, point, out);
    }
    for (uint32_t k = 0; k < info.count; ++k) w.row<uint32_t>(info.values[k])[lane] = out[k];
  }
  if (info.resident != 0) w.set_predicate(info.resident, w.mask);
  return in + 1;
}

const Instr* texture_query(Warp& w, const Instr* in) {
  const auto& info = *static_cast<const TextureInfo*>(in->data);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const uint64_t handle = w.row<uint64_t>(info.handle)[lane];
    const TexelImage* image = image_of(w, in, lane, handle, in->imm != 0);
    if (image == nullptr) return nullptr;
    const uint32_t level = info.level != 0 ? w.row<uint32_t>(info.level)[lane] : 0;
    w.row<uint32_t>(info.values[0])[lane] = answer(*image, info.query, level);
  }
  return in + 1;
}

const Instr* surface_load(Warp& w, const Instr* in) {
  return each_place(w, in, [&](const TextureInfo& info, int lane, uint64_t place) {
    std::byte value[16] = {};
    if (place != 0) {
      std::memcpy(value, reinterpret_cast<const void*>(place), info.bytes * info.count);
    }
    for (uint32_t k = 0; k < info.count; ++k) {
      put(w, info.values[k], lane, value + k * info.bytes, info.bytes);
    }
  });
}

const Instr* surface_store(Warp& w, const Instr* in) {
  return each_place(w, in, [&](const TextureInfo& info, int lane, uint64_t place) {
    if (place == 0) return;
    const uint32_t width = std::max(info.bytes, 2u);
    for (uint32_t k = 0; k < info.count; ++k) {
      std::memcpy(reinterpret_cast<std::byte*>(place) + k * info.bytes,
                  w.row<std::byte>(info.values[k]) + static_cast<size_t>(lane) * width, info.bytes);
    }
  });
}

const Instr* surface_reduce(Warp& w, const Instr* in) {
  return each_place(w, in, [&](const TextureInfo& info, int lane, uint64_t place) {
    if (place == 0) return;
    if (info.bytes == 8 && info.is_signed) {
      reduce_at(place, w.row<int64_t>(info.values[0])[lane], info.op);
    } else if (info.bytes == 8) {
      reduce_at(place, w.row<uint64_t>(info.values[0])[lane], info.op);
    } else if (info.is_signed) {
      reduce_at(place, w.row<int32_t>(info.values[0])[lane], info.op);
    } else {
      reduce_at(place, w.row<uint32_t>(info.values[0])[lane], info.op);
    }
  });
}

}  // namespace handlers
}  // namespace vgpu::softgpu::ptx

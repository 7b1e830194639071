#include "softgpu/driver/texture.h"

#include <algorithm>
#include <bit>

#include "contract/array_format.h"
#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/log.h"

namespace vgpu::softgpu {
namespace {

using Shape = TexelImage::Shape;

bool texel_of(CUarray_format format, Texel& texel) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
      texel = Texel::kU8;
      return true;
    case CU_AD_FORMAT_SIGNED_INT8:
      texel = Texel::kS8;
      return true;
    case CU_AD_FORMAT_UNSIGNED_INT16:
      texel = Texel::kU16;
      return true;
    case CU_AD_FORMAT_SIGNED_INT16:
      texel = Texel::kS16;
      return true;
    case CU_AD_FORMAT_UNSIGNED_INT32:
      texel = Texel::kU32;
      return true;
    case CU_AD_FORMAT_SIGNED_INT32:
      texel = Texel::kS32;
      return true;
    case CU_AD_FORMAT_HALF:
      texel = Texel::kHalf;
      return true;
    case CU_AD_FORMAT_FLOAT:
      texel = Texel::kFloat;
      return true;
    default:
      return false;
  }
}

bool set_format(TexelImage& image, CUarray_format format, unsigned channels) {
  image.channels = channels;
  return texel_of(format, image.texel) && (channels == 1 || channels == 2 || channels == 4);
}

bool set_array(TexelImage& image, const CUDA_ARRAY3D_DESCRIPTOR& d) {
  image.shape = shape_of(d);
  if (image.shape != Shape::k3D) image.layers = slices_of(d) / (image.cube() ? 6 : 1);
  return set_format(image, d.Format, d.NumChannels);
}

constexpr uint64_t kTextureAlignment = 512;
constexpr uint64_t kPitchAlignment = 32;
constexpr uint64_t kLinearWidth = uint64_t{1} << 27;

CUresult set_linear(TexelImage& image, const CUDA_RESOURCE_DESC& resource) {
  const auto& given = resource.res.linear;
  if (!set_format(image, given.format, given.numChannels)) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t width = given.sizeInBytes / image.element();
  if (given.devPtr == 0 || given.devPtr % kTextureAlignment != 0 || width == 0 ||
      width > kLinearWidth) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  image.shape = Shape::kLinear;
  image.levels = {{.address = given.devPtr, .width = static_cast<uint32_t>(width)}};
  return CUDA_SUCCESS;
}

CUresult set_pitched(TexelImage& image, const CUDA_RESOURCE_DESC& resource) {
  const auto& given = resource.res.pitch2D;
  if (!set_format(image, given.format, given.numChannels)) return CUDA_ERROR_INVALID_VALUE;
  if (given.devPtr == 0 || given.devPtr % kTextureAlignment != 0 || given.width == 0 ||
      given.width > 131072 || given.height == 0 || given.height > 65000 ||
      given.pitchInBytes % kPitchAlignment != 0 || given.pitchInBytes > 2097120 ||
      given.pitchInBytes < given.width * image.element()) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  image.shape = Shape::k2D;
  image.levels = {{.address = given.devPtr,
                   .pitch = given.pitchInBytes,
                   .width = static_cast<uint32_t>(given.width),
                   .height = static_cast<uint32_t>(given.height)}};
  return CUDA_SUCCESS;
}

CUresult set_resource(TexelImage& image, const CUDA_RESOURCE_DESC& resource) {
  if (resource.flags != 0) return CUDA_ERROR_INVALID_VALUE;
  switch (resource.resType) {
    case CU_RESOURCE_TYPE_ARRAY: {
      const auto array = driver().arrays.find(resource.res.array.hArray);
      if (!array) return CUDA_ERROR_INVALID_HANDLE;
      image.levels = {array->level};
      return set_array(image, array->descriptor) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY: {
      const auto whole = driver().mipmapped_arrays.find(resource.res.mipmap.hMipmappedArray);
      if (!whole) return CUDA_ERROR_INVALID_HANDLE;
      for (const auto& level : whole->levels) image.levels.push_back(level->level);
      return set_array(image, whole->levels[0]->descriptor) ? CUDA_SUCCESS
                                                            : CUDA_ERROR_INVALID_VALUE;
    }
    case CU_RESOURCE_TYPE_LINEAR:
      return set_linear(image, resource);
    case CU_RESOURCE_TYPE_PITCH2D:
      return set_pitched(image, resource);
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

bool of_array(const CUDA_RESOURCE_DESC& resource) {
  return resource.resType == CU_RESOURCE_TYPE_ARRAY ||
         resource.resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY;
}

// View formats count up by kind, and within a kind by 1, 2 and 4 channels.
bool view_format(CUresourceViewFormat format, CUarray_format& element, unsigned& channels) {
  constexpr CUarray_format kKinds[] = {CU_AD_FORMAT_UNSIGNED_INT8,  CU_AD_FORMAT_SIGNED_INT8,
                                       CU_AD_FORMAT_UNSIGNED_INT16, CU_AD_FORMAT_SIGNED_INT16,
                                       CU_AD_FORMAT_UNSIGNED_INT32, CU_AD_FORMAT_SIGNED_INT32,
                                       CU_AD_FORMAT_HALF,           CU_AD_FORMAT_FLOAT};
  const unsigned at = static_cast<unsigned>(format) - CU_RES_VIEW_FORMAT_UINT_1X8;
  if (at >= 3 * std::size(kKinds)) return false;
  element = kKinds[at / 3];
  channels = 1u << (at % 3);
  return true;
}

// Another format of the same size, and ranges of levels and layers.
CUresult apply_view(TexelImage& image, const CUDA_RESOURCE_VIEW_DESC& view) {
  const TexelLevel& base = image.levels[0];
  if (view.format != CU_RES_VIEW_FORMAT_NONE) {
    CUarray_format format;
    unsigned channels = 0;
    if (!view_format(view.format, format, channels)) return CUDA_ERROR_NOT_SUPPORTED;
    if (contract::channel_bytes(format) * channels != image.element()) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    set_format(image, format, channels);
  }
  const bool flat = image.shape == Shape::k1D || image.shape == Shape::kLayered1D;
  const size_t height = flat ? std::max<size_t>(view.height, 1) : view.height;
  if (view.width != base.width || height != base.height) return CUDA_ERROR_INVALID_VALUE;
  if (view.firstMipmapLevel > view.lastMipmapLevel || view.lastMipmapLevel >= image.levels.size() ||
      view.firstLayer > view.lastLayer) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const auto begin = image.levels.begin();
  image.levels = std::vector(begin + view.firstMipmapLevel, begin + view.lastMipmapLevel + 1);
  const uint32_t faces = image.cube() ? 6 : 1;
  if (view.firstLayer == 0 && view.lastLayer == 0 && image.shape != Shape::kLayered1D &&
      image.shape != Shape::kLayered2D && image.shape != Shape::kLayeredCube) {
    return CUDA_SUCCESS;
  }
  const uint32_t first = view.firstLayer, count = view.lastLayer - view.firstLayer + 1;
  if (image.shape == Shape::k3D || view.lastLayer >= image.layers * faces || first % faces != 0 ||
      count % faces != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (TexelLevel& level : image.levels) level.address += first * level.slice;
  image.layers = count / faces;
  return CUDA_SUCCESS;
}

AddressMode address_mode(CUaddress_mode mode, bool normalized) {
  switch (mode) {
    case CU_TR_ADDRESS_MODE_WRAP:
      return normalized ? AddressMode::kWrap : AddressMode::kClamp;
    case CU_TR_ADDRESS_MODE_MIRROR:
      return normalized ? AddressMode::kMirror : AddressMode::kClamp;
    case CU_TR_ADDRESS_MODE_BORDER:
      return AddressMode::kBorder;
    default:
      return AddressMode::kClamp;
  }
}

bool is_integer(Texel texel) { return texel != Texel::kFloat && texel != Texel::kHalf; }

CUresult set_sampler(TexelImage& image, const CUDA_TEXTURE_DESC& given) {
  constexpr unsigned kFlags = CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES |
                              CU_TRSF_SRGB | CU_TRSF_DISABLE_TRILINEAR_OPTIMIZATION |
                              CU_TRSF_SEAMLESS_CUBEMAP;
  if ((given.flags & ~kFlags) != 0 || given.filterMode > CU_TR_FILTER_MODE_LINEAR ||
      given.mipmapFilterMode > CU_TR_FILTER_MODE_LINEAR) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Sampler& sampler = image.sampler;
  sampler.normalized = (given.flags & CU_TRSF_NORMALIZED_COORDINATES) != 0;
  sampler.to_float = is_integer(image.texel) && bytes_of(image.texel) < 4 &&
                     (given.flags & CU_TRSF_READ_AS_INTEGER) == 0;
  sampler.srgb = (given.flags & CU_TRSF_SRGB) != 0 && image.texel == Texel::kU8 && sampler.to_float;
  for (int axis = 0; axis < 3; ++axis) {
    if (given.addressMode[axis] > CU_TR_ADDRESS_MODE_BORDER) return CUDA_ERROR_INVALID_VALUE;
    sampler.address[axis] = address_mode(given.addressMode[axis], sampler.normalized);
  }
  if (image.shape == Shape::kLinear) {  // ignores modes and filters; 0 outside
    sampler.address[0] = AddressMode::kBorder;
    return CUDA_SUCCESS;
  }
  sampler.linear = given.filterMode == CU_TR_FILTER_MODE_LINEAR;
  sampler.linear_levels = given.mipmapFilterMode == CU_TR_FILTER_MODE_LINEAR;
  if ((sampler.linear || sampler.linear_levels) && is_integer(image.texel) && !sampler.to_float) {
    return CUDA_ERROR_INVALID_VALUE;  // integers are not filtered
  }
  if ((given.flags & CU_TRSF_SEAMLESS_CUBEMAP) != 0) {
    if (!image.cube()) return CUDA_ERROR_INVALID_VALUE;
    if (sampler.linear) {
      log(LogLevel::kError, "seamless filtering of cube maps is not supported");
      return CUDA_ERROR_NOT_SUPPORTED;
    }
  }
  sampler.bias = given.mipmapLevelBias;
  sampler.least_level = given.minMipmapLevelClamp;
  sampler.most_level = given.maxMipmapLevelClamp;
  for (int c = 0; c < 4; ++c) sampler.border[c] = std::bit_cast<uint32_t>(given.borderColor[c]);
  return CUDA_SUCCESS;
}

// An object lives until the work that was submitted before is done: programs drop a texture right
// after the launch that reads it.
template <class T>
CUresult destroy(Registry<T>& registry, uint64_t object) {
  const Current current;
  if (!current) return current.error();
  if (!registry.find(object)) return CUDA_ERROR_INVALID_VALUE;
  synchronize(*current);
  registry.remove(as_handle<void*>(object));
  return CUDA_SUCCESS;
}

template <class T, class Value>
CUresult get(const Registry<T>& registry, uint64_t object, Value* out, Value T::* member) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto found = registry.find(object);
  if (!found || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = (*found).*member;
  return CUDA_SUCCESS;
}

}  // namespace

std::shared_ptr<const TexelImage> find_image(uint64_t handle) {
  if (const auto texture = driver().textures.find(handle)) return texture->image;
  if (const auto surface = driver().surfaces.find(handle)) return surface->image;
  return nullptr;
}

namespace api {

CUresult cuTexObjectCreate(CUtexObject* out, const CUDA_RESOURCE_DESC* resource,
                           const CUDA_TEXTURE_DESC* description,
                           const CUDA_RESOURCE_VIEW_DESC* view) {
  const Current current;
  if (!current) return current.error();
  if (out == nullptr || resource == nullptr || description == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (view != nullptr && !of_array(*resource)) return CUDA_ERROR_INVALID_VALUE;
  auto image = std::make_shared<TexelImage>();
  if (const CUresult result = set_resource(*image, *resource)) return result;
  if (view != nullptr) {
    if (const CUresult result = apply_view(*image, *view)) return result;
  }
  if (const CUresult result = set_sampler(*image, *description)) return result;
  if (resource->resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY && !image->sampler.normalized) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  auto texture = std::make_shared<Texture>();
  texture->context = current->id;
  texture->resource = *resource;
  texture->description = *description;
  if (view != nullptr) texture->view = *view;
  texture->has_view = view != nullptr;
  texture->image = std::move(image);
  *out = driver().textures.add(texture);
  return CUDA_SUCCESS;
}

CUresult cuTexObjectDestroy(CUtexObject object) { return destroy(driver().textures, object); }

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC* out, CUtexObject object) {
  return get(driver().textures, object, out, &Texture::resource);
}
CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC* out, CUtexObject object) {
  return get(driver().textures, object, out, &Texture::description);
}
CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC* out, CUtexObject object) {
  const auto texture = driver().textures.find(object);
  if (!texture || !texture->has_view) return CUDA_ERROR_INVALID_VALUE;
  return get(driver().textures, object, out, &Texture::view);
}

CUresult cuSurfObjectCreate(CUsurfObject* out, const CUDA_RESOURCE_DESC* resource) {
  const Current current;
  if (!current) return current.error();
  if (out == nullptr || resource == nullptr || resource->resType != CU_RESOURCE_TYPE_ARRAY) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const auto array = driver().arrays.find(resource->res.array.hArray);
  if (!array) return CUDA_ERROR_INVALID_HANDLE;
  if ((array->descriptor.Flags & CUDA_ARRAY3D_SURFACE_LDST) == 0) return CUDA_ERROR_INVALID_VALUE;
  auto image = std::make_shared<TexelImage>();
  image->surface = true;
  if (const CUresult result = set_resource(*image, *resource)) return result;
  auto surface = std::make_shared<Surface>();
  surface->context = current->id;
  surface->resource = *resource;
  surface->image = std::move(image);
  *out = driver().surfaces.add(surface);
  return CUDA_SUCCESS;
}

CUresult cuSurfObjectDestroy(CUsurfObject object) { return destroy(driver().surfaces, object); }

CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC* out, CUsurfObject object) {
  return get(driver().surfaces, object, out, &Surface::resource);
}

}  // namespace api
}  // namespace vgpu::softgpu

// Texture and surface objects: the client gets the driver's own value, since device code reads it.
#include <cstring>

#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

bool take_resource(Session& session, wire::Reader& in, CUDA_RESOURCE_DESC& to) {
  const auto from = in.get<wire::ResourceDesc>();
  to.resType = static_cast<CUresourcetype>(from.type);
  to.flags = from.flags;
  switch (to.resType) {
    case CU_RESOURCE_TYPE_ARRAY:
      to.res.array.hArray = session.resolve<CUarray>(from.pointer);
      return in.ok();
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
      to.res.mipmap.hMipmappedArray = session.resolve<CUmipmappedArray>(from.pointer);
      return in.ok();
    case CU_RESOURCE_TYPE_LINEAR:
      to.res.linear = {from.pointer, static_cast<CUarray_format>(from.format), from.channels,
                       from.width};
      return in.ok();
    case CU_RESOURCE_TYPE_PITCH2D:
      to.res.pitch2D = {from.pointer,  static_cast<CUarray_format>(from.format),
                        from.channels, from.width,
                        from.height,   from.pitch};
      return in.ok();
    default:
      return false;
  }
}

CUDA_TEXTURE_DESC take_texture(wire::Reader& in) {
  const auto from = in.get<wire::TextureDesc>();
  CUDA_TEXTURE_DESC to{};
  for (int axis = 0; axis < 3; ++axis) {
    to.addressMode[axis] = static_cast<CUaddress_mode>(from.address_modes[axis]);
  }
  to.filterMode = static_cast<CUfilter_mode>(from.filter_mode);
  to.flags = from.flags;
  to.maxAnisotropy = from.max_anisotropy;
  to.mipmapFilterMode = static_cast<CUfilter_mode>(from.level_filter_mode);
  to.mipmapLevelBias = from.level_bias;
  to.minMipmapLevelClamp = from.least_level;
  to.maxMipmapLevelClamp = from.most_level;
  std::memcpy(to.borderColor, from.border, sizeof(to.borderColor));
  return to;
}

// False when the client gave no view.
bool take_view(wire::Reader& in, CUDA_RESOURCE_VIEW_DESC& to) {
  const auto from = in.get<wire::ResourceViewDesc>();
  to.format = static_cast<CUresourceViewFormat>(from.format);
  to.width = from.width;
  to.height = from.height;
  to.depth = from.depth;
  to.firstMipmapLevel = from.first_level;
  to.lastMipmapLevel = from.last_level;
  to.firstLayer = from.first_layer;
  to.lastLayer = from.last_layer;
  return from.present != 0;
}

}  // namespace

CUresult cuTexObjectCreate(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  CUDA_RESOURCE_DESC resource{};
  CUDA_RESOURCE_VIEW_DESC view{};
  const bool good = take_resource(session, in, resource);
  const CUDA_TEXTURE_DESC texture = take_texture(in);
  const bool viewed = take_view(in, view);
  const ContextState* context = session.context();
  const bool failed = Session::failed();
  CUtexObject object = 0;
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  if (context == nullptr) {
    result = CUDA_ERROR_INVALID_CONTEXT;
  } else if (failed) {
    result = CUDA_ERROR_INVALID_HANDLE;
  } else if (session.driver().cuTexObjectCreate == nullptr) {
    result = CUDA_ERROR_NOT_SUPPORTED;
  } else if (good && in.ok()) {
    result =
        session.driver().cuTexObjectCreate(&object, &resource, &texture, viewed ? &view : nullptr);
  }
  if (result == CUDA_SUCCESS) session.textures().add(context->id, object);
  out.put(static_cast<uint64_t>(object));
  return result;
}

CUresult cuTexObjectDestroy(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto object = in.get<uint64_t>();
  const ContextState* context = session.context();
  if (!in.ok() || context == nullptr || !session.textures().remove(context->id, object)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return session.driver().cuTexObjectDestroy(object);
}

CUresult cuSurfObjectCreate(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  CUDA_RESOURCE_DESC resource{};
  const bool good = take_resource(session, in, resource);
  const ContextState* context = session.context();
  const bool failed = Session::failed();
  CUsurfObject object = 0;
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  if (context == nullptr) {
    result = CUDA_ERROR_INVALID_CONTEXT;
  } else if (failed) {
    result = CUDA_ERROR_INVALID_HANDLE;
  } else if (session.driver().cuSurfObjectCreate == nullptr) {
    result = CUDA_ERROR_NOT_SUPPORTED;
  } else if (good && in.ok()) {
    result = session.driver().cuSurfObjectCreate(&object, &resource);
  }
  if (result == CUDA_SUCCESS) session.surfaces().add(context->id, object);
  out.put(static_cast<uint64_t>(object));
  return result;
}

CUresult cuSurfObjectDestroy(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto object = in.get<uint64_t>();
  const ContextState* context = session.context();
  if (!in.ok() || context == nullptr || !session.surfaces().remove(context->id, object)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return session.driver().cuSurfObjectDestroy(object);
}

CUresult cuTensorMapEncodeTiled(Session& session, const Command&, wire::Reader& in,
                                wire::Writer& out) {
  const auto wanted = in.get<wire::TensorMapDesc>();
  if (!in.ok() || wanted.rank == 0 || wanted.rank > 5) return CUDA_ERROR_INVALID_VALUE;
  if (session.driver().cuTensorMapEncodeTiled == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUtensorMap map{};
  const CUresult result = session.driver().cuTensorMapEncodeTiled(
      &map, static_cast<CUtensorMapDataType>(wanted.type), wanted.rank,
      reinterpret_cast<void*>(wanted.address), wanted.dimensions, wanted.strides, wanted.box,
      wanted.steps, static_cast<CUtensorMapInterleave>(wanted.interleave),
      static_cast<CUtensorMapSwizzle>(wanted.swizzle),
      static_cast<CUtensorMapL2promotion>(wanted.promotion),
      static_cast<CUtensorMapFloatOOBfill>(wanted.fill));
  out.raw(&map, sizeof(map));
  return result;
}

}  // namespace vgpu::executor::handlers

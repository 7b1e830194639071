// Texture and surface objects, tensor maps: the executor's driver makes them, and the program gets
// its value.
#include <algorithm>
#include <cstring>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/process.h"
#include "wire/calls.h"

namespace vgpu::stub::api {
namespace {

wire::ResourceDesc packed(Call& call, const CUDA_RESOURCE_DESC& from) {
  wire::ResourceDesc to{};
  to.type = from.resType;
  to.flags = from.flags;
  switch (from.resType) {
    case CU_RESOURCE_TYPE_ARRAY:
      to.pointer = call.handle(HandleKind::kArray, from.res.array.hArray);
      break;
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
      to.pointer = call.handle(HandleKind::kMipmappedArray, from.res.mipmap.hMipmappedArray);
      break;
    case CU_RESOURCE_TYPE_LINEAR:
      to.pointer = from.res.linear.devPtr;
      to.format = from.res.linear.format;
      to.channels = from.res.linear.numChannels;
      to.width = from.res.linear.sizeInBytes;
      break;
    case CU_RESOURCE_TYPE_PITCH2D:
      to.pointer = from.res.pitch2D.devPtr;
      to.format = from.res.pitch2D.format;
      to.channels = from.res.pitch2D.numChannels;
      to.width = from.res.pitch2D.width;
      to.height = from.res.pitch2D.height;
      to.pitch = from.res.pitch2D.pitchInBytes;
      break;
    default:
      call.fail(CUDA_ERROR_INVALID_VALUE);
  }
  return to;
}

wire::TextureDesc packed(const CUDA_TEXTURE_DESC& from) {
  wire::TextureDesc to{};
  for (int axis = 0; axis < 3; ++axis) to.address_modes[axis] = from.addressMode[axis];
  to.filter_mode = from.filterMode;
  to.flags = from.flags;
  to.max_anisotropy = from.maxAnisotropy;
  to.level_filter_mode = from.mipmapFilterMode;
  to.level_bias = from.mipmapLevelBias;
  to.least_level = from.minMipmapLevelClamp;
  to.most_level = from.maxMipmapLevelClamp;
  std::memcpy(to.border, from.borderColor, sizeof(to.border));
  return to;
}

wire::ResourceViewDesc packed(const CUDA_RESOURCE_VIEW_DESC* from) {
  wire::ResourceViewDesc to{};
  if (from == nullptr) return to;
  to.present = 1;
  to.format = from->format;
  to.width = from->width;
  to.height = from->height;
  to.depth = from->depth;
  to.first_level = from->firstMipmapLevel;
  to.last_level = from->lastMipmapLevel;
  to.first_layer = from->firstLayer;
  to.last_layer = from->lastLayer;
  return to;
}

// Waits for the object's value and notes what it was made of.
CUresult create(Call& call, ImageObjects& objects, const ImageObject& object, uint64_t* out) {
  if (const CUresult result = call.wait(); result != CUDA_SUCCESS) return result;
  const auto value = call.get<uint64_t>();
  if (!call.reply().ok()) return CUDA_ERROR_UNKNOWN;
  objects.add(call.context(), value, object);
  *out = value;
  return CUDA_SUCCESS;
}

CUresult destroy(Opcode opcode, ImageObjects Process::* objects, uint64_t value) {
  Call call(opcode);
  if (!call.ok()) return call.result();
  if (!(process()->*objects).remove(call.context(), value)) return CUDA_ERROR_INVALID_VALUE;
  call.put(value);
  return call.finish();
}

CUresult find(ImageObjects Process::* objects, uint64_t value, const void* out,
              ImageObject& object) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  const auto found = (process()->*objects).find(context, value);
  if (!found || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  object = *found;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuTexObjectCreate(CUtexObject* pTexObject, const CUDA_RESOURCE_DESC* pResDesc,
                           const CUDA_TEXTURE_DESC* pTexDesc,
                           const CUDA_RESOURCE_VIEW_DESC* pResViewDesc) {
  Call call(Opcode::cuTexObjectCreate);
  if (!call.ok()) return call.result();
  if (pTexObject == nullptr || pResDesc == nullptr || pTexDesc == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  call.put(packed(call, *pResDesc));
  call.put(packed(*pTexDesc));
  call.put(packed(pResViewDesc));
  ImageObject object{*pResDesc, *pTexDesc, std::nullopt};
  if (pResViewDesc != nullptr) object.view = *pResViewDesc;
  uint64_t value = 0;
  const CUresult result = create(call, process()->textures, object, &value);
  if (result == CUDA_SUCCESS) *pTexObject = value;
  return result;
}

CUresult cuTexObjectDestroy(CUtexObject texObject) {
  return destroy(Opcode::cuTexObjectDestroy, &Process::textures, texObject);
}

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC* pResDesc, CUtexObject texObject) {
  ImageObject object;
  const CUresult result = find(&Process::textures, texObject, pResDesc, object);
  if (result == CUDA_SUCCESS) *pResDesc = object.resource;
  return result;
}

CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC* pTexDesc, CUtexObject texObject) {
  ImageObject object;
  const CUresult result = find(&Process::textures, texObject, pTexDesc, object);
  if (result == CUDA_SUCCESS) *pTexDesc = object.texture;
  return result;
}

CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC* pResViewDesc,
                                        CUtexObject texObject) {
  ImageObject object;
  const CUresult result = find(&Process::textures, texObject, pResViewDesc, object);
  if (result != CUDA_SUCCESS) return result;
  if (!object.view) return CUDA_ERROR_INVALID_VALUE;
  *pResViewDesc = *object.view;
  return CUDA_SUCCESS;
}

CUresult cuSurfObjectCreate(CUsurfObject* pSurfObject, const CUDA_RESOURCE_DESC* pResDesc) {
  Call call(Opcode::cuSurfObjectCreate);
  if (!call.ok()) return call.result();
  if (pSurfObject == nullptr || pResDesc == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(packed(call, *pResDesc));
  uint64_t value = 0;
  const CUresult result = create(call, process()->surfaces, {*pResDesc, {}, std::nullopt}, &value);
  if (result == CUDA_SUCCESS) *pSurfObject = value;
  return result;
}

CUresult cuSurfObjectDestroy(CUsurfObject surfObject) {
  return destroy(Opcode::cuSurfObjectDestroy, &Process::surfaces, surfObject);
}

CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC* pResDesc, CUsurfObject surfObject) {
  ImageObject object;
  const CUresult result = find(&Process::surfaces, surfObject, pResDesc, object);
  if (result == CUDA_SUCCESS) *pResDesc = object.resource;
  return result;
}

// The driver's own bytes: kernels hand them to the device's copy unit.
CUresult cuTensorMapEncodeTiled(CUtensorMap* tensorMap, CUtensorMapDataType tensorDataType,
                                cuuint32_t tensorRank, void* globalAddress,
                                const cuuint64_t* globalDim, const cuuint64_t* globalStrides,
                                const cuuint32_t* boxDim, const cuuint32_t* elementStrides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion l2Promotion,
                                CUtensorMapFloatOOBfill oobFill) {
  Call call(Opcode::cuTensorMapEncodeTiled);
  if (!call.ok()) return call.result();
  if (tensorMap == nullptr || globalDim == nullptr || boxDim == nullptr ||
      elementStrides == nullptr || tensorRank == 0 || tensorRank > 5 ||
      (tensorRank > 1 && globalStrides == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  wire::TensorMapDesc wanted{};
  wanted.address = reinterpret_cast<uint64_t>(globalAddress);
  std::copy_n(globalDim, tensorRank, wanted.dimensions);
  if (tensorRank > 1) std::copy_n(globalStrides, tensorRank - 1, wanted.strides);
  std::copy_n(boxDim, tensorRank, wanted.box);
  std::copy_n(elementStrides, tensorRank, wanted.steps);
  wanted.type = tensorDataType;
  wanted.rank = tensorRank;
  wanted.interleave = interleave;
  wanted.swizzle = swizzle;
  wanted.promotion = l2Promotion;
  wanted.fill = oobFill;
  call.put(wanted);
  if (const CUresult result = call.wait(); result != CUDA_SUCCESS) return result;
  const auto bytes = call.reply().take(wire::kTensorMapBytes);
  if (!call.reply().ok()) return CUDA_ERROR_UNKNOWN;
  static_assert(sizeof(*tensorMap) == wire::kTensorMapBytes);
  std::memcpy(tensorMap, bytes.data(), bytes.size());
  return CUDA_SUCCESS;
}

}  // namespace vgpu::stub::api

// CUDA arrays and mipmapped arrays.
#include <algorithm>

#include "contract/array_format.h"
#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/process.h"

namespace vgpu::stub::api {
namespace {

CUresult find_array(CUarray handle, Array** array) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *array = process()->arrays.find(handle);
  return *array == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

void put_shape(Call& call, const CUDA_ARRAY3D_DESCRIPTOR& shape) {
  call.put(static_cast<uint64_t>(shape.Width));
  call.put(static_cast<uint64_t>(shape.Height));
  call.put(static_cast<uint64_t>(shape.Depth));
  call.put(static_cast<uint32_t>(shape.Format));
  call.put(static_cast<uint32_t>(shape.NumChannels));
  call.put(static_cast<uint32_t>(shape.Flags));
}

// Levels halve every side down to 1, but not the number of layers.
CUDA_ARRAY3D_DESCRIPTOR level_shape(CUDA_ARRAY3D_DESCRIPTOR shape, unsigned level) {
  const auto halved = [&](size_t side) {
    return side == 0 ? 0 : std::max<size_t>(side >> level, 1);
  };
  shape.Width = halved(shape.Width);
  shape.Height = halved(shape.Height);
  const bool layered = (shape.Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP)) != 0;
  if (!layered) shape.Depth = halved(shape.Depth);
  return shape;
}

CUresult not_such_an_array() {
  const CUresult result = ready();
  return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : result;
}

}  // namespace

CUresult cuArray3DCreate_v2(CUarray* pHandle, const CUDA_ARRAY3D_DESCRIPTOR* pAllocateArray) {
  Call call(Opcode::cuArray3DCreate_v2);
  if (!call.ok()) return call.result();
  if (pHandle == nullptr || pAllocateArray == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_ARRAY3D_DESCRIPTOR& wanted = *pAllocateArray;
  const uint64_t id = call.create(HandleKind::kArray);
  call.put(id);
  put_shape(call, wanted);
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  Array& array = *process()->arrays.find(id);
  array.description = wanted;
  array.of_mipmap = false;
  *pHandle = as_handle<CUarray>(id);
  return CUDA_SUCCESS;
}

CUresult cuArrayCreate_v2(CUarray* pHandle, const CUDA_ARRAY_DESCRIPTOR* pAllocateArray) {
  if (pAllocateArray == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUDA_ARRAY3D_DESCRIPTOR wide{};
  wide.Width = pAllocateArray->Width;
  wide.Height = pAllocateArray->Height;
  wide.Format = pAllocateArray->Format;
  wide.NumChannels = pAllocateArray->NumChannels;
  return api::cuArray3DCreate_v2(pHandle, &wide);
}

CUresult cuArrayDestroy(CUarray hArray) {
  Array* array = nullptr;
  if (const CUresult result = find_array(hArray, &array); result != CUDA_SUCCESS) return result;
  if (array->of_mipmap) return CUDA_ERROR_INVALID_HANDLE;
  Call call(Opcode::cuArrayDestroy, array->context);
  if (!call.ok()) return call.result();
  call.put(call.destroy(HandleKind::kArray, hArray));
  return call.finish();
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR* pArrayDescriptor, CUarray hArray) {
  Array* array = nullptr;
  if (const CUresult result = find_array(hArray, &array); result != CUDA_SUCCESS) return result;
  if (pArrayDescriptor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pArrayDescriptor = array->description;
  return CUDA_SUCCESS;
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR* pArrayDescriptor, CUarray hArray) {
  Array* array = nullptr;
  if (const CUresult result = find_array(hArray, &array); result != CUDA_SUCCESS) return result;
  if (pArrayDescriptor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  pArrayDescriptor->Width = array->description.Width;
  pArrayDescriptor->Height = array->description.Height;
  pArrayDescriptor->Format = array->description.Format;
  pArrayDescriptor->NumChannels = array->description.NumChannels;
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray* pHandle,
                                const CUDA_ARRAY3D_DESCRIPTOR* pMipmappedArrayDesc,
                                unsigned int numMipmapLevels) {
  Call call(Opcode::cuMipmappedArrayCreate);
  if (!call.ok()) return call.result();
  if (pHandle == nullptr || pMipmappedArrayDesc == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t id = call.create(HandleKind::kMipmappedArray);
  call.put(id);
  put_shape(call, *pMipmappedArrayDesc);
  call.put(static_cast<uint32_t>(numMipmapLevels));
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  process()->mipmapped_arrays.find(id)->description = *pMipmappedArrayDesc;
  *pHandle = as_handle<CUmipmappedArray>(id);
  return CUDA_SUCCESS;
}

// A level keeps the handle that it was given first.
CUresult cuMipmappedArrayGetLevel(CUarray* pLevelArray, CUmipmappedArray hMipmappedArray,
                                  unsigned int level) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  MipmappedArray* whole = process()->mipmapped_arrays.find(hMipmappedArray);
  if (whole == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (pLevelArray == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(whole->mutex);
  uint64_t id = 0;
  if (const auto known = whole->levels.find(level); known != whole->levels.end()) {
    id = known->second;
  } else {
    Call call(Opcode::cuMipmappedArrayGetLevel);
    if (!call.ok()) return call.result();
    id = call.create(HandleKind::kArray);
    call.put(id);
    call.put(as_id(hMipmappedArray));
    call.put(static_cast<uint32_t>(level));
    if (const CUresult result = call.wait(); result != CUDA_SUCCESS) return result;
    Array& array = *process()->arrays.find(id);
    array.description = level_shape(whole->description, level);
    array.of_mipmap = true;
    whole->levels[level] = id;
  }
  *pLevelArray = as_handle<CUarray>(id);
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray hMipmappedArray) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  MipmappedArray* whole = process()->mipmapped_arrays.find(hMipmappedArray);
  if (whole == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  Call call(Opcode::cuMipmappedArrayDestroy, whole->context);
  if (!call.ok()) return call.result();
  {
    const std::lock_guard lock(whole->mutex);
    for (const auto& [level, id] : whole->levels) process()->arrays.destroy(id);
  }
  call.put(call.destroy(HandleKind::kMipmappedArray, hMipmappedArray));
  return call.finish();
}

// Of arrays that are sparse, planar or without memory of their own; none here is.
CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS*, CUarray, CUdevice) {
  return not_such_an_array();
}
CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS*, CUmipmappedArray,
                                               CUdevice) {
  return not_such_an_array();
}
CUresult cuArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES*, CUarray) {
  return not_such_an_array();
}
CUresult cuMipmappedArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES*, CUmipmappedArray) {
  return not_such_an_array();
}
CUresult cuArrayGetPlane(CUarray*, CUarray, unsigned int) { return not_such_an_array(); }

CUresult cuMemcpyDtoA_v2(CUarray dstArray, size_t dstOffset, CUdeviceptr srcDevice,
                         size_t ByteCount) {
  return api::cuMemcpy3D_v2(
      &contract::LinearCopy(ByteCount).from_device(srcDevice).to_array(dstArray, dstOffset).box);
}
CUresult cuMemcpyAtoD_v2(CUdeviceptr dstDevice, CUarray srcArray, size_t srcOffset,
                         size_t ByteCount) {
  return api::cuMemcpy3D_v2(
      &contract::LinearCopy(ByteCount).from_array(srcArray, srcOffset).to_device(dstDevice).box);
}
CUresult cuMemcpyHtoA_v2(CUarray dstArray, size_t dstOffset, const void* srcHost,
                         size_t ByteCount) {
  return api::cuMemcpy3D_v2(
      &contract::LinearCopy(ByteCount).from_host(srcHost).to_array(dstArray, dstOffset).box);
}
CUresult cuMemcpyAtoH_v2(void* dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount) {
  return api::cuMemcpy3D_v2(
      &contract::LinearCopy(ByteCount).from_array(srcArray, srcOffset).to_host(dstHost).box);
}
CUresult cuMemcpyAtoA_v2(CUarray dstArray, size_t dstOffset, CUarray srcArray, size_t srcOffset,
                         size_t ByteCount) {
  return api::cuMemcpy3D_v2(&contract::LinearCopy(ByteCount)
                                 .from_array(srcArray, srcOffset)
                                 .to_array(dstArray, dstOffset)
                                 .box);
}
CUresult cuMemcpyHtoAAsync_v2(CUarray dstArray, size_t dstOffset, const void* srcHost,
                              size_t ByteCount, CUstream hStream) {
  return api::cuMemcpy3DAsync_v2(
      &contract::LinearCopy(ByteCount).from_host(srcHost).to_array(dstArray, dstOffset).box,
      hStream);
}
CUresult cuMemcpyAtoHAsync_v2(void* dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount,
                              CUstream hStream) {
  return api::cuMemcpy3DAsync_v2(
      &contract::LinearCopy(ByteCount).from_array(srcArray, srcOffset).to_host(dstHost).box,
      hStream);
}

}  // namespace vgpu::stub::api

// CUDA arrays: created and copied; textures on them are not served yet.
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

}  // namespace

CUresult cuArray3DCreate_v2(CUarray* pHandle, const CUDA_ARRAY3D_DESCRIPTOR* pAllocateArray) {
  Call call(Opcode::cuArray3DCreate_v2);
  if (!call.ok()) return call.result();
  if (pHandle == nullptr || pAllocateArray == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_ARRAY3D_DESCRIPTOR& wanted = *pAllocateArray;
  const uint64_t id = call.create(HandleKind::kArray);
  call.put(id);
  call.put(static_cast<uint64_t>(wanted.Width));
  call.put(static_cast<uint64_t>(wanted.Height));
  call.put(static_cast<uint64_t>(wanted.Depth));
  call.put(static_cast<uint32_t>(wanted.Format));
  call.put(static_cast<uint32_t>(wanted.NumChannels));
  call.put(static_cast<uint32_t>(wanted.Flags));
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  process()->arrays.find(id)->description = wanted;
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

}  // namespace vgpu::stub::api

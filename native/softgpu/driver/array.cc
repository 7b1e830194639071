#include "softgpu/driver/array.h"

#include <algorithm>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"

namespace vgpu::softgpu::api {
namespace {

// Bytes of one channel; 0 for the compressed and planar formats.
size_t channel_bytes(CUarray_format format) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
      return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
      return 2;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
      return 4;
    default:
      return 0;
  }
}

CUresult create(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR& given) {
  const Current current;
  if (!current) return current.error();
  if (const CUresult result = check_unsafe_call()) return result;
  if (out == nullptr || given.Width == 0 || (given.Depth != 0 && given.Height == 0)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (given.NumChannels != 1 && given.NumChannels != 2 && given.NumChannels != 4) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const size_t element = channel_bytes(given.Format) * given.NumChannels;
  if (element == 0 || given.Width > 131072 || given.Height > 65536 || given.Depth > 16384) {
    return element == 0 ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
  }
  auto array = std::make_shared<Array>();
  array->descriptor = given;
  array->pitch = given.Width * element;
  const size_t rows = std::max<size_t>(given.Height, 1) * std::max<size_t>(given.Depth, 1);
  const CUresult result =
      allocate_device(current->device, array->pitch * rows, kMemoryUnit,
                      {.kind = MemoryKind::kModule, .context = current->id}, &array->address);
  if (result != CUDA_SUCCESS) return result;
  *out = as_handle<CUarray>(driver().arrays.add(array));
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuArrayCreate_v2(CUarray* out, const CUDA_ARRAY_DESCRIPTOR* given) {
  if (given == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUDA_ARRAY3D_DESCRIPTOR box{};
  box.Width = given->Width;
  box.Height = given->Height;
  box.Format = given->Format;
  box.NumChannels = given->NumChannels;
  return create(out, box);
}

CUresult cuArray3DCreate_v2(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR* given) {
  return given == nullptr ? CUDA_ERROR_INVALID_VALUE : create(out, *given);
}

CUresult cuArrayDestroy(CUarray handle) {
  const Current current;
  if (!current) return current.error();
  const auto array = driver().arrays.remove(handle);
  if (!array) return CUDA_ERROR_INVALID_HANDLE;
  synchronize(*current);
  if (const auto removed = driver().allocations.remove(array->address)) release_memory(*removed);
  return CUDA_SUCCESS;
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR* out, CUarray handle) {
  const Current current;
  if (!current) return current.error();
  const auto array = driver().arrays.find(handle);
  if (!array) return CUDA_ERROR_INVALID_HANDLE;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = array->descriptor;
  return CUDA_SUCCESS;
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR* out, CUarray handle) {
  CUDA_ARRAY3D_DESCRIPTOR box;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = api::cuArray3DGetDescriptor_v2(&box, handle)) return result;
  *out = {box.Width, box.Height, box.Format, box.NumChannels};
  return CUDA_SUCCESS;
}

}  // namespace vgpu::softgpu::api

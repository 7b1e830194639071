// Tensor maps for the tile mode of bulk tensor copies.
#include "softgpu/tensor_map.h"

#include <cuda.h>

#include <cstring>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/log.h"

namespace vgpu::softgpu::api {
namespace {

// Bytes of an element; 0 for the packed types below 8 bits.
uint8_t element_of(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ:
      return 4;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
      return 8;
    default:
      return 0;
  }
}

bool is_float(CUtensorMapDataType type) {
  return type >= CU_TENSOR_MAP_DATA_TYPE_FLOAT16 && type <= CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ;
}

// Types whose values the copy would have to change, and what has other layouts.
bool served(CUtensorMapDataType type, CUtensorMapInterleave interleave,
            CUtensorMapSwizzle swizzle) {
  const bool changes_values = type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ ||
                              type == CU_TENSOR_MAP_DATA_TYPE_TFLOAT32 ||
                              type == CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ;
  return element_of(type) != 0 && !changes_values && interleave == CU_TENSOR_MAP_INTERLEAVE_NONE &&
         swizzle <= CU_TENSOR_MAP_SWIZZLE_128B;
}

// The limits that cuTensorMapEncodeTiled documents.
bool valid(const TensorMap& map) {
  if (map.address == 0 || map.address % 16 != 0) return false;
  for (uint32_t d = 0; d < map.rank; ++d) {
    if (map.dimensions[d] == 0 || map.dimensions[d] > uint64_t{1} << 32) return false;
    if (map.box[d] == 0 || map.box[d] > 256 || map.steps[d] == 0 || map.steps[d] > 8) return false;
    if (d == 0) continue;
    const uint64_t stride = map.strides[d - 1];
    if (stride % 16 != 0 || stride >= uint64_t{1} << 40) return false;
  }
  const uint32_t row = map.count(0) * map.element;
  return row % 16 == 0 && (map.swizzle_bits == 0 || row <= 16u << map.swizzle_bits);
}

}  // namespace

CUresult cuTensorMapEncodeTiled(CUtensorMap* out, CUtensorMapDataType type, cuuint32_t rank,
                                void* address, const cuuint64_t* dimensions,
                                const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* steps, CUtensorMapInterleave interleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                                CUtensorMapFloatOOBfill outside) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (out == nullptr || dimensions == nullptr || box == nullptr || steps == nullptr || rank == 0 ||
      rank > kMostTensorRank || (rank > 1 && strides == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (!served(type, interleave, swizzle)) {
    log(LogLevel::kError, "tensor map: type %d, interleave %d, swizzle %d are not supported", type,
        interleave, swizzle);
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  TensorMap map;
  map.address = reinterpret_cast<uint64_t>(address);
  map.rank = static_cast<uint8_t>(rank);
  map.element = element_of(type);
  map.type = static_cast<uint8_t>(type);
  map.swizzle_bits = static_cast<uint8_t>(swizzle);
  map.fills_nan = outside == CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
  if (map.fills_nan && !is_float(type)) return CUDA_ERROR_INVALID_VALUE;
  for (uint32_t d = 0; d < rank; ++d) {
    if (box[d] > 256 || steps[d] > 8) return CUDA_ERROR_INVALID_VALUE;
    map.dimensions[d] = dimensions[d];
    map.box[d] = static_cast<uint16_t>(box[d]);
    // The first dimension has no stride without interleaving.
    map.steps[d] = d == 0 ? 1 : static_cast<uint8_t>(steps[d]);
    if (d > 0) map.strides[d - 1] = strides[d - 1];
  }
  if (!valid(map)) return CUDA_ERROR_INVALID_VALUE;
  static_assert(sizeof(map) == sizeof(*out));
  std::memcpy(out, &map, sizeof(map));
  return CUDA_SUCCESS;
}

}  // namespace vgpu::softgpu::api

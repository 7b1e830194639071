// Formats of array elements, as the stub's, the executor's and the software GPU's side count them.
#pragma once

#include <cuda.h>

#include <algorithm>
#include <cstdint>

namespace vgpu::contract {

// Bytes of one channel; 0 for the compressed, planar and packed formats, which have no such thing.
constexpr uint32_t channel_bytes(CUarray_format format) {
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

constexpr size_t element_bytes(const CUDA_ARRAY3D_DESCRIPTOR& shape) {
  return size_t{channel_bytes(shape.Format)} * shape.NumChannels;
}

// Part of an array that a copy names: x and width in bytes, which must be whole elements.
struct ArrayPart {
  size_t x, y, z, width, height, depth;

  [[nodiscard]] bool inside(const CUDA_ARRAY3D_DESCRIPTOR& shape) const {
    const size_t element = element_bytes(shape);
    const auto fits = [](size_t first, size_t count, size_t size) {
      return first <= size && count <= size - first;
    };
    return element != 0 && x % element == 0 && width % element == 0 &&
           fits(x, width, shape.Width * element) &&
           fits(y, height, std::max<size_t>(shape.Height, 1)) &&
           fits(z, depth, std::max<size_t>(shape.Depth, 1));
  }
};

// The copies of one row of an array (cuMemcpyHtoA and the like) are boxes of height 1.
struct LinearCopy {
  CUDA_MEMCPY3D box{};

  explicit LinearCopy(size_t bytes) {
    box.WidthInBytes = bytes;
    box.Height = box.Depth = 1;
  }
  LinearCopy& from_array(CUarray array, size_t offset) {
    box.srcMemoryType = CU_MEMORYTYPE_ARRAY;
    box.srcArray = array;
    box.srcXInBytes = offset;
    return *this;
  }
  LinearCopy& from_host(const void* host) {
    box.srcMemoryType = CU_MEMORYTYPE_HOST;
    box.srcHost = host;
    return *this;
  }
  LinearCopy& from_device(CUdeviceptr device) {
    box.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    box.srcDevice = device;
    return *this;
  }
  LinearCopy& to_array(CUarray array, size_t offset) {
    box.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    box.dstArray = array;
    box.dstXInBytes = offset;
    return *this;
  }
  LinearCopy& to_host(void* host) {
    box.dstMemoryType = CU_MEMORYTYPE_HOST;
    box.dstHost = host;
    return *this;
  }
  LinearCopy& to_device(CUdeviceptr device) {
    box.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    box.dstDevice = device;
    return *this;
  }
};

}  // namespace vgpu::contract

#include "contract/batch_copy.h"

#include <cstdint>
#include <vector>

namespace vgpu::contract {
namespace {

// Sources are read in stream order, or during the call where the memory is pageable: what the most
// demanding of the orders asks for, so all of them are served alike.
bool known_order(CUmemcpySrcAccessOrder order) {
  return order == CU_MEMCPY_SRC_ACCESS_ORDER_STREAM ||
         order == CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL ||
         order == CU_MEMCPY_SRC_ACCESS_ORDER_ANY;
}

bool check_attributes(const Batch& batch) {
  if (batch.attribute_count == 0 || batch.attribute_count > batch.count) return false;
  if (batch.first_of_attribute[0] != 0) return false;
  for (size_t i = 0; i < batch.attribute_count; ++i) {
    if (!known_order(batch.attributes[i].srcAccessOrder)) return false;
    if (batch.first_of_attribute[i] >= batch.count) return false;
    if (i > 0 && batch.first_of_attribute[i] <= batch.first_of_attribute[i - 1]) return false;
  }
  return true;
}

CUresult fail(size_t* failed, size_t index, CUresult result) {
  if (failed != nullptr) *failed = index;
  return result;
}

// Bytes of an element; 0 for formats of which no box can be cut.
size_t element_bytes(const CUDA_ARRAY3D_DESCRIPTOR& array) {
  switch (array.Format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
      return array.NumChannels;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
      return size_t{2} * array.NumChannels;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
      return size_t{4} * array.NumChannels;
    default:
      return 0;
  }
}

// The element of a copy: a byte between pointers, else the array's.
CUresult find_element(const BatchCalls& calls, const CUmemcpy3DOperand& side, size_t& element) {
  if (side.type == CU_MEMCPY_OPERAND_TYPE_POINTER) return CUDA_SUCCESS;
  if (side.type != CU_MEMCPY_OPERAND_TYPE_ARRAY) return CUDA_ERROR_INVALID_VALUE;
  CUDA_ARRAY3D_DESCRIPTOR array{};
  if (const CUresult result = calls.describe(&array, side.op.array.array)) return result;
  element = element_bytes(array);
  return element == 0 ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

struct Side {
  CUmemorytype type = CU_MEMORYTYPE_UNIFIED;
  CUdeviceptr pointer = 0;
  CUarray array = nullptr;
  size_t pitch = 0, height = 0, x = 0, y = 0, z = 0;
};

Side side_of(const CUmemcpy3DOperand& operand, const CUextent3D& extent, size_t element) {
  Side side;
  if (operand.type == CU_MEMCPY_OPERAND_TYPE_ARRAY) {
    const auto& [array, offset] = operand.op.array;
    side.type = CU_MEMORYTYPE_ARRAY;
    side.array = array;
    side.x = offset.x * element;
    side.y = offset.y;
    side.z = offset.z;
    return side;
  }
  const auto& given = operand.op.ptr;
  side.pointer = given.ptr;
  side.pitch = (given.rowLength == 0 ? extent.width : given.rowLength) * element;
  side.height = given.layerHeight == 0 ? extent.height : given.layerHeight;
  return side;
}

CUresult box_of(const BatchCalls& calls, const CUDA_MEMCPY3D_BATCH_OP& step, CUDA_MEMCPY3D& box) {
  const CUextent3D& extent = step.extent;
  if (!known_order(step.srcAccessOrder)) return CUDA_ERROR_INVALID_VALUE;
  if (extent.width == 0 || extent.height == 0 || extent.depth == 0) return CUDA_ERROR_INVALID_VALUE;
  size_t element = 1;
  if (const CUresult result = find_element(calls, step.src, element)) return result;
  if (const CUresult result = find_element(calls, step.dst, element)) return result;
  const Side from = side_of(step.src, extent, element), to = side_of(step.dst, extent, element);
  box = {};
  box.srcMemoryType = from.type;
  box.srcDevice = from.pointer;
  box.srcArray = from.array;
  box.srcPitch = from.pitch;
  box.srcHeight = from.height;
  box.srcXInBytes = from.x;
  box.srcY = from.y;
  box.srcZ = from.z;
  box.dstMemoryType = to.type;
  box.dstDevice = to.pointer;
  box.dstArray = to.array;
  box.dstPitch = to.pitch;
  box.dstHeight = to.height;
  box.dstXInBytes = to.x;
  box.dstY = to.y;
  box.dstZ = to.z;
  box.WidthInBytes = extent.width * element;
  box.Height = extent.height;
  box.Depth = extent.depth;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult batch_copy(const BatchCalls& calls, const Batch& batch, size_t* failed, CUstream stream) {
  const bool given = batch.to != nullptr && batch.from != nullptr && batch.sizes != nullptr &&
                     batch.attributes != nullptr && batch.first_of_attribute != nullptr;
  if (!given || batch.count == 0 || calls.legacy(stream) || !check_attributes(batch)) {
    return fail(failed, SIZE_MAX, CUDA_ERROR_INVALID_VALUE);
  }
  for (size_t i = 0; i < batch.count; ++i) {
    if (batch.sizes[i] != 0 && (batch.to[i] == 0 || batch.from[i] == 0)) {
      return fail(failed, i, CUDA_ERROR_INVALID_VALUE);
    }
  }
  for (size_t i = 0; i < batch.count; ++i) {
    const CUresult result = calls.copy(batch.to[i], batch.from[i], batch.sizes[i], stream);
    if (result != CUDA_SUCCESS) return fail(failed, i, result);
  }
  return CUDA_SUCCESS;
}

CUresult batch_box(const BatchCalls& calls, const CUDA_MEMCPY3D_BATCH_OP* list, size_t count,
                   unsigned long long flags, size_t* failed, CUstream stream) {
  if (list == nullptr || count == 0 || flags != 0 || calls.legacy(stream)) {
    return fail(failed, SIZE_MAX, CUDA_ERROR_INVALID_VALUE);
  }
  std::vector<CUDA_MEMCPY3D> boxes(count);
  for (size_t i = 0; i < count; ++i) {
    if (const CUresult result = box_of(calls, list[i], boxes[i])) return fail(failed, i, result);
  }
  for (size_t i = 0; i < count; ++i) {
    const CUresult result = calls.box(&boxes[i], stream);
    if (result != CUDA_SUCCESS) return fail(failed, i, result);
  }
  return CUDA_SUCCESS;
}

}  // namespace vgpu::contract

#include "softgpu/driver/array.h"

#include <algorithm>
#include <bit>

#include "contract/array_format.h"
#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"

namespace vgpu::softgpu {
namespace {

using contract::element_bytes;

constexpr unsigned kServedFlags = CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_SURFACE_LDST |
                                  CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_TEXTURE_GATHER |
                                  CUDA_ARRAY3D_COLOR_ATTACHMENT;

bool has(const CUDA_ARRAY3D_DESCRIPTOR& d, unsigned flag) { return (d.Flags & flag) != 0; }

// The shapes that the driver API documents at cuArray3DCreate, with a device's usual limits.
CUresult check(const CUDA_ARRAY3D_DESCRIPTOR& d) {
  if (d.NumChannels != 1 && d.NumChannels != 2 && d.NumChannels != 4) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (element_bytes(d) == 0 || (d.Flags & ~kServedFlags) != 0) return CUDA_ERROR_NOT_SUPPORTED;
  if (d.Width == 0) return CUDA_ERROR_INVALID_VALUE;
  const bool layered = has(d, CUDA_ARRAY3D_LAYERED), cube = has(d, CUDA_ARRAY3D_CUBEMAP);
  if (cube) {
    if (d.Width != d.Height || d.Depth == 0 || d.Depth % 6 != 0) return CUDA_ERROR_INVALID_VALUE;
    if (!layered && d.Depth != 6) return CUDA_ERROR_INVALID_VALUE;
  }
  if (layered || cube) {
    const bool fits = d.Width <= 32768 && d.Height <= 32768 && d.Depth >= 1 && d.Depth <= 2048;
    return fits ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  }
  if (d.Depth != 0) {
    const bool fits = d.Height != 0 && d.Width <= 16384 && d.Height <= 16384 && d.Depth <= 16384;
    return fits ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  }
  return d.Width <= 131072 && d.Height <= 65536 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUDA_ARRAY3D_DESCRIPTOR halved(CUDA_ARRAY3D_DESCRIPTOR d) {
  const auto half = [](size_t size) { return size == 0 ? 0 : std::max<size_t>(size / 2, 1); };
  d.Width = half(d.Width);
  d.Height = half(d.Height);
  if (!has(d, CUDA_ARRAY3D_LAYERED) && !has(d, CUDA_ARRAY3D_CUBEMAP)) d.Depth = half(d.Depth);
  return d;
}

// Rows follow each other without padding, so that a level is as large as its elements.
std::shared_ptr<Array> laid_out(const CUDA_ARRAY3D_DESCRIPTOR& d, const Context& context) {
  auto array = std::make_shared<Array>();
  array->context = context.id;
  array->descriptor = d;
  TexelLevel& level = array->level;
  level.width = static_cast<uint32_t>(d.Width);
  level.height = static_cast<uint32_t>(std::max<size_t>(d.Height, 1));
  if (shape_of(d) == TexelImage::Shape::k3D) level.depth = static_cast<uint32_t>(d.Depth);
  level.pitch = d.Width * element_bytes(d);
  level.slice = level.pitch * level.height;
  return array;
}

uint64_t bytes_of(const Array& array) { return array.level.slice * slices_of(array.descriptor); }

CUresult allocate(const Context& context, uint64_t bytes, uint64_t* address) {
  return allocate_device(context.device, bytes, kMemoryUnit,
                         {.kind = MemoryKind::kModule, .context = context.id}, address);
}

CUresult create(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR& given) {
  const Current current;
  if (!current) return current.error();
  if (const CUresult result = check_unsafe_call()) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check(given)) return result;
  const auto array = laid_out(given, *current);
  if (const CUresult result = allocate(*current, bytes_of(*array), &array->level.address)) {
    return result;
  }
  *out = as_handle<CUarray>(driver().arrays.add(array));
  return CUDA_SUCCESS;
}

void release(uint64_t address) {
  if (const auto removed = driver().allocations.remove(address)) release_memory(*removed);
}

template <class T>
void forget_all(Registry<T>& registry, uint64_t context) {
  for (const auto& one : registry.all()) {
    if (one->context == context) registry.remove(as_handle<void*>(one->id));
  }
}

}  // namespace

TexelImage::Shape shape_of(const CUDA_ARRAY3D_DESCRIPTOR& d) {
  using Shape = TexelImage::Shape;
  const bool layered = has(d, CUDA_ARRAY3D_LAYERED);
  if (has(d, CUDA_ARRAY3D_CUBEMAP)) return layered ? Shape::kLayeredCube : Shape::kCube;
  if (layered) return d.Height == 0 ? Shape::kLayered1D : Shape::kLayered2D;
  if (d.Depth != 0) return Shape::k3D;
  return d.Height != 0 ? Shape::k2D : Shape::k1D;
}

uint32_t slices_of(const CUDA_ARRAY3D_DESCRIPTOR& d) {
  return static_cast<uint32_t>(std::max<size_t>(d.Depth, 1));
}

void forget_images_of(const Context& context) {
  Driver& state = driver();
  forget_all(state.textures, context.id);
  forget_all(state.surfaces, context.id);
  forget_all(state.arrays, context.id);
  forget_all(state.mipmapped_arrays, context.id);
}

namespace api {

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
  const auto array = driver().arrays.find(handle);
  if (!array || array->of_mipmap) return CUDA_ERROR_INVALID_HANDLE;
  synchronize(*current);
  if (!driver().arrays.remove(handle)) return CUDA_ERROR_INVALID_HANDLE;
  release(array->level.address);
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

CUresult cuMipmappedArrayCreate(CUmipmappedArray* out, const CUDA_ARRAY3D_DESCRIPTOR* given,
                                unsigned levels) {
  const Current current;
  if (!current) return current.error();
  if (const CUresult result = check_unsafe_call()) return result;
  if (out == nullptr || given == nullptr || levels == 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check(*given)) return result;
  auto whole = std::make_shared<MipmappedArray>();
  whole->context = current->id;
  // The documented range of the number of levels: clamped to 1 + floor(log2(largest side)).
  const bool slices = shape_of(*given) == TexelImage::Shape::k3D;
  const size_t largest = std::max({given->Width, given->Height, slices ? given->Depth : 1});
  const auto count = std::min<unsigned>(levels, static_cast<unsigned>(std::bit_width(largest)));
  uint64_t bytes = 0;
  CUDA_ARRAY3D_DESCRIPTOR shape = *given;
  for (unsigned i = 0; i < count; ++i, shape = halved(shape)) {
    auto level = laid_out(shape, *current);
    level->of_mipmap = true;
    level->level.address = bytes;
    bytes += (bytes_of(*level) + kMemoryUnit - 1) / kMemoryUnit * kMemoryUnit;
    whole->levels.push_back(std::move(level));
  }
  if (const CUresult result = allocate(*current, bytes, &whole->address)) return result;
  for (const auto& level : whole->levels) {
    level->level.address += whole->address;
    driver().arrays.add(level);
  }
  *out = as_handle<CUmipmappedArray>(driver().mipmapped_arrays.add(whole));
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayGetLevel(CUarray* out, CUmipmappedArray handle, unsigned level) {
  const Current current;
  if (!current) return current.error();
  const auto whole = driver().mipmapped_arrays.find(handle);
  if (!whole) return CUDA_ERROR_INVALID_HANDLE;
  if (out == nullptr || level >= whole->levels.size()) return CUDA_ERROR_INVALID_VALUE;
  *out = as_handle<CUarray>(whole->levels[level]->id);
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray handle) {
  const Current current;
  if (!current) return current.error();
  if (!driver().mipmapped_arrays.find(handle)) return CUDA_ERROR_INVALID_HANDLE;
  synchronize(*current);
  const auto whole = driver().mipmapped_arrays.remove(handle);
  if (!whole) return CUDA_ERROR_INVALID_HANDLE;
  for (const auto& level : whole->levels) driver().arrays.remove(as_handle<void*>(level->id));
  release(whole->address);
  return CUDA_SUCCESS;
}

// Memory requirements are of arrays with deferred mapping, properties of sparse ones, planes of the
// planar formats: none of these can be created here.
CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS*, CUarray, CUdevice) {
  return initialised() ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_INITIALIZED;
}
CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS*, CUmipmappedArray,
                                               CUdevice) {
  return initialised() ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_INITIALIZED;
}
CUresult cuArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES*, CUarray) {
  return initialised() ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_INITIALIZED;
}
CUresult cuMipmappedArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES*, CUmipmappedArray) {
  return initialised() ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_INITIALIZED;
}
CUresult cuArrayGetPlane(CUarray*, CUarray, unsigned) {
  return initialised() ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult cuMemcpyDtoA_v2(CUarray to, size_t offset, CUdeviceptr from, size_t n) {
  return api::cuMemcpy3D_v2(&contract::LinearCopy(n).from_device(from).to_array(to, offset).box);
}
CUresult cuMemcpyAtoD_v2(CUdeviceptr to, CUarray from, size_t offset, size_t n) {
  return api::cuMemcpy3D_v2(&contract::LinearCopy(n).from_array(from, offset).to_device(to).box);
}
CUresult cuMemcpyHtoA_v2(CUarray to, size_t offset, const void* from, size_t n) {
  return api::cuMemcpy3D_v2(&contract::LinearCopy(n).from_host(from).to_array(to, offset).box);
}
CUresult cuMemcpyAtoH_v2(void* to, CUarray from, size_t offset, size_t n) {
  return api::cuMemcpy3D_v2(&contract::LinearCopy(n).from_array(from, offset).to_host(to).box);
}
CUresult cuMemcpyAtoA_v2(CUarray to, size_t to_offset, CUarray from, size_t from_offset, size_t n) {
  return api::cuMemcpy3D_v2(
      &contract::LinearCopy(n).from_array(from, from_offset).to_array(to, to_offset).box);
}
CUresult cuMemcpyHtoAAsync_v2(CUarray to, size_t offset, const void* from, size_t n,
                              CUstream stream) {
  return api::cuMemcpy3DAsync_v2(&contract::LinearCopy(n).from_host(from).to_array(to, offset).box,
                                 stream);
}
CUresult cuMemcpyAtoHAsync_v2(void* to, CUarray from, size_t offset, size_t n, CUstream stream) {
  return api::cuMemcpy3DAsync_v2(&contract::LinearCopy(n).from_array(from, offset).to_host(to).box,
                                 stream);
}

}  // namespace api
}  // namespace vgpu::softgpu

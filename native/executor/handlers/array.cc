// Arrays and mipmapped arrays.
#include <algorithm>

#include "contract/array_format.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

constexpr uint64_t kMostSide = uint64_t{1} << 20;  // beyond every device's limits

bool take_shape(wire::Reader& in, CUDA_ARRAY3D_DESCRIPTOR& shape) {
  shape.Width = in.get<uint64_t>();
  shape.Height = in.get<uint64_t>();
  shape.Depth = in.get<uint64_t>();
  shape.Format = static_cast<CUarray_format>(in.get<uint32_t>());
  shape.NumChannels = in.get<uint32_t>();
  shape.Flags = in.get<uint32_t>();
  return in.ok() && shape.Width <= kMostSide && shape.Height <= kMostSide &&
         shape.Depth <= kMostSide && shape.NumChannels <= 4;
}

// What an array counts for in the ledger.
uint64_t bytes_of(const CUDA_ARRAY3D_DESCRIPTOR& shape) {
  return shape.Width * std::max<size_t>(shape.Height, 1) * std::max<size_t>(shape.Depth, 1) *
         contract::element_bytes(shape);
}

// Makes an array of either kind and counts its bytes.
template <typename Handle, typename Make>
CUresult create(Session& session, uint64_t id, uint64_t bytes, Make make) {
  const ContextState* context = session.context();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (!session.allocations().reserve(context->ordinal, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  Handle array = nullptr;
  const CUresult result = make(&array);
  if (result != CUDA_SUCCESS || !session.bind(id, array)) {
    session.allocations().cancel(context->ordinal, bytes);
    return result != CUDA_SUCCESS ? result : CUDA_ERROR_INVALID_VALUE;
  }
  session.allocations().add(id, bytes, context->ordinal, context->id);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuArray3DCreate_v2(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  CUDA_ARRAY3D_DESCRIPTOR shape{};
  if (!take_shape(in, shape)) return CUDA_ERROR_INVALID_VALUE;
  if (session.driver().cuArray3DCreate_v2 == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return create<CUarray>(session, id, bytes_of(shape), [&](CUarray* array) {
    return session.driver().cuArray3DCreate_v2(array, &shape);
  });
}

CUresult cuArrayDestroy(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto array = session.resolve<CUarray>(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  session.forget(id);
  const CUresult result = session.driver().cuArrayDestroy(array);
  session.allocations().remove(id);
  return result;
}

CUresult cuMipmappedArrayCreate(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  CUDA_ARRAY3D_DESCRIPTOR shape{};
  const bool good = take_shape(in, shape);
  const auto levels = in.get<uint32_t>();
  if (!good || !in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (session.driver().cuMipmappedArrayCreate == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  const bool layered = (shape.Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP)) != 0;
  uint64_t bytes = 0;
  CUDA_ARRAY3D_DESCRIPTOR level = shape;
  for (uint32_t i = 0; i < std::min(levels, 32u); ++i) {
    bytes += bytes_of(level);
    level.Width = std::max<size_t>(level.Width / 2, 1);
    level.Height /= 2;
    if (!layered) level.Depth /= 2;
  }
  return create<CUmipmappedArray>(session, id, bytes, [&](CUmipmappedArray* array) {
    return session.driver().cuMipmappedArrayCreate(array, &shape, levels);
  });
}

CUresult cuMipmappedArrayGetLevel(Session& session, const Command&, wire::Reader& in,
                                  wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto whole_id = in.get<uint64_t>();
  const auto level = in.get<uint32_t>();
  const auto whole = session.resolve<CUmipmappedArray>(whole_id);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuMipmappedArrayGetLevel == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUarray array = nullptr;
  const CUresult result = session.driver().cuMipmappedArrayGetLevel(&array, whole, level);
  if (result != CUDA_SUCCESS) return result;
  if (!session.bind(id, array)) return CUDA_ERROR_INVALID_VALUE;
  session.own(whole_id, id);
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayDestroy(Session& session, const Command&, wire::Reader& in,
                                 wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto whole = session.resolve<CUmipmappedArray>(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  session.forget(id);
  const CUresult result = session.driver().cuMipmappedArrayDestroy(whole);
  session.allocations().remove(id);
  return result;
}

}  // namespace vgpu::executor::handlers

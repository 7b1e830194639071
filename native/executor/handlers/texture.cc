// Arrays. Texture and surface objects are not served yet.
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

uint64_t element_bytes(uint32_t format) {
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

}  // namespace

CUresult cuArray3DCreate_v2(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  CUDA_ARRAY3D_DESCRIPTOR shape{};
  shape.Width = in.get<uint64_t>();
  shape.Height = in.get<uint64_t>();
  shape.Depth = in.get<uint64_t>();
  const auto format = in.get<uint32_t>();
  shape.Format = static_cast<CUarray_format>(format);
  shape.NumChannels = in.get<uint32_t>();
  shape.Flags = in.get<uint32_t>();
  constexpr uint64_t kMost = uint64_t{1} << 20;  // beyond every device's limits
  if (!in.ok() || shape.Width > kMost || shape.Height > kMost || shape.Depth > kMost ||
      shape.NumChannels > 4) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const ContextState* context = session.context();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (session.driver().cuArray3DCreate_v2 == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  const uint64_t size = shape.Width * (shape.Height == 0 ? 1 : shape.Height) *
                        (shape.Depth == 0 ? 1 : shape.Depth) * shape.NumChannels *
                        element_bytes(format);
  if (!session.allocations().reserve(context->ordinal, size)) return CUDA_ERROR_OUT_OF_MEMORY;
  CUarray array = nullptr;
  const CUresult result = session.driver().cuArray3DCreate_v2(&array, &shape);
  if (result != CUDA_SUCCESS || !session.bind(id, array)) {
    session.allocations().cancel(context->ordinal, size);
    return result != CUDA_SUCCESS ? result : CUDA_ERROR_INVALID_VALUE;
  }
  session.allocations().add(id, size, context->ordinal, context->id);
  return CUDA_SUCCESS;
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

}  // namespace vgpu::executor::handlers

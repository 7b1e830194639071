// Contexts: the client's ids name primary contexts before they are retained; here they come to
// life.
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {

CUresult cuDevicePrimaryCtxRetain(Session& session, const Command&, wire::Reader& in,
                                  wire::Writer&) {
  const auto ordinal = in.get<uint32_t>();
  const auto context = in.get<uint64_t>();
  if (!in.ok() || context != wire::primary_context(static_cast<int>(ordinal))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const CUresult result = session.contexts().activate(context);
  if (result == CUDA_SUCCESS) session.staging().allow_pinned();
  return result;
}

CUresult cuDevicePrimaryCtxRelease_v2(Session& session, const Command&, wire::Reader& in,
                                      wire::Writer&) {
  const auto ordinal = in.get<uint32_t>();
  const CUdevice device = session.device(ordinal);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  if (session.drop_context(wire::primary_context(static_cast<int>(ordinal))) == nullptr) {
    return CUDA_SUCCESS;  // never retained
  }
  return session.driver().cuDevicePrimaryCtxRelease_v2(device);
}

CUresult cuDevicePrimaryCtxReset_v2(Session& session, const Command&, wire::Reader& in,
                                    wire::Writer&) {
  const auto ordinal = in.get<uint32_t>();
  const CUdevice device = session.device(ordinal);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  const auto dropped = session.drop_context(wire::primary_context(static_cast<int>(ordinal)));
  const CUresult result = session.driver().cuDevicePrimaryCtxReset_v2(device);
  // A reset leaves the reference that we took; the next use takes a fresh one.
  if (dropped != nullptr) session.driver().cuDevicePrimaryCtxRelease_v2(device);
  return result;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(Session& session, const Command&, wire::Reader& in,
                                       wire::Writer&) {
  const CUdevice device = session.device(in.get<uint32_t>());
  const auto flags = in.get<uint32_t>();
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  return session.driver().cuDevicePrimaryCtxSetFlags_v2(device, flags);
}

CUresult cuCtxCreate_v2(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto flags = in.get<uint32_t>();
  const auto ordinal = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  return session.contexts().create(id, flags, ordinal);
}

CUresult cuCtxDestroy_v2(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  if (!in.ok() || wire::handle_counter(id) < wire::kFirstCreatedContext) {
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  const auto state = session.drop_context(id);
  if (state == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  return session.driver().cuCtxDestroy_v2(state->handle);
}

CUresult cuCtxSynchronize(Session& session, const Command&, wire::Reader&, wire::Writer&) {
  if (session.context() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  return session.driver().cuCtxSynchronize();
}

}  // namespace vgpu::executor::handlers

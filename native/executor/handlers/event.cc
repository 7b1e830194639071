// Events. The scheduler keeps a wait behind the record that it refers to.
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {

CUresult cuEventRecordWithFlags(Session& session, const Command& command, wire::Reader& in,
                                wire::Writer&) {
  const auto event = session.resolve<CUevent>(in.get<uint64_t>());
  const auto flags = in.get<uint32_t>();
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuEventRecordWithFlags != nullptr) {
    return session.driver().cuEventRecordWithFlags(event, stream, flags);
  }
  if (flags != 0) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuEventRecord(event, stream);
}

CUresult cuEventQuery(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto event = session.resolve<CUevent>(in.get<uint64_t>());
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  return session.driver().cuEventQuery(event);
}

// On a thread of its own.
CUresult cuEventSynchronize(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto event = session.resolve<CUevent>(in.get<uint64_t>());
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  return session.driver().cuEventSynchronize(event);
}

CUresult cuEventElapsedTime(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  const auto start = session.resolve<CUevent>(in.get<uint64_t>());
  const auto end = session.resolve<CUevent>(in.get<uint64_t>());
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  float milliseconds = 0;
  const CUresult result = session.driver().cuEventElapsedTime(&milliseconds, start, end);
  out.put(milliseconds);
  return result;
}

CUresult cuEventDestroy_v2(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto event = session.resolve<CUevent>(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  session.forget(id);
  return session.driver().cuEventDestroy_v2(event);
}

}  // namespace vgpu::executor::handlers

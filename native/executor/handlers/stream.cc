// Streams: creation, waiting, attributes, values.
#include <cstring>
#include <vector>

#include "generated/executor_api.h"

namespace vgpu::executor::handlers {

CUresult cuStreamCreateWithPriority(Session& session, const Command&, wire::Reader& in,
                                    wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto flags = in.get<uint32_t>();
  const auto priority = in.get<int32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  CUstream stream = nullptr;
  const CUresult result = session.driver().cuStreamCreateWithPriority(&stream, flags, priority);
  if (result != CUDA_SUCCESS) return result;
  if (!session.bind(id, stream)) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & CU_STREAM_NON_BLOCKING) != 0) session.scheduler()->set_non_blocking(id);
  return CUDA_SUCCESS;
}

CUresult cuStreamDestroy_v2(Session& session, const Command& command, wire::Reader& in,
                            wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto stream = session.resolve<CUstream>(id);
  if (!in.ok() || Session::failed() || id != command.header.stream) {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  session.forget(id);
  session.scheduler()->forget_stream(command.header.context, id);
  if (ContextState* context = session.context(); context != nullptr) {
    session.completions().forget_stream(*context, id, stream);
  }
  return session.driver().cuStreamDestroy_v2(stream);
}

CUresult cuStreamSynchronize(Session& session, const Command& command, wire::Reader&,
                             wire::Writer&) {
  const CUstream stream = session.stream(command.header.stream);
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.capturing(command)) return session.driver().cuStreamSynchronize(stream);
  // The legacy stream's own rules decide what it waits for.
  if (command.header.stream == 0) {
    return session.elsewhere(command,
                             [&session] { return session.driver().cuStreamSynchronize(nullptr); });
  }
  session.after(command, [&session, command](CUresult result) { session.reply(command, result); });
  return kDeferred;
}

CUresult cuStreamQuery(Session& session, const Command& command, wire::Reader&, wire::Writer&) {
  const CUstream stream = session.stream(command.header.stream);
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  return session.driver().cuStreamQuery(stream);
}

CUresult cuStreamWaitEvent(Session& session, const Command& command, wire::Reader& in,
                           wire::Writer&) {
  const auto event = session.resolve<CUevent>(in.get<uint64_t>());
  const auto flags = in.get<uint32_t>();
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  return session.driver().cuStreamWaitEvent(stream, event, flags);
}

CUresult cuStreamSetAttribute(Session& session, const Command& command, wire::Reader& in,
                              wire::Writer&) {
  const auto attribute = static_cast<CUstreamAttrID>(in.get<uint32_t>());
  CUstreamAttrValue value{};
  static_assert(sizeof(value) == 64);
  if (const auto bytes = in.take(sizeof(value)); in.ok()) {
    std::memcpy(&value, bytes.data(), sizeof(value));
  }
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuStreamSetAttribute == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuStreamSetAttribute(stream, attribute, &value);
}

CUresult cuStreamGetAttribute(Session& session, const Command& command, wire::Reader& in,
                              wire::Writer& out) {
  const auto attribute = static_cast<CUstreamAttrID>(in.get<uint32_t>());
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuStreamGetAttribute == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUstreamAttrValue value{};
  const CUresult result = session.driver().cuStreamGetAttribute(stream, attribute, &value);
  out.raw(&value, sizeof(value));
  return result;
}

CUresult cuStreamCopyAttributes(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const CUstream destination = session.stream(in.get<uint64_t>());
  const CUstream source = session.stream(in.get<uint64_t>());
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuStreamCopyAttributes == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuStreamCopyAttributes(destination, source);
}

CUresult cuStreamBatchMemOp_v2(Session& session, const Command& command, wire::Reader& in,
                               wire::Writer&) {
  static_assert(sizeof(CUstreamBatchMemOpParams) == 48);
  constexpr uint32_t kMost = 256;  // what drivers accept at once
  const auto count = in.get<uint32_t>();
  if (count > kMost) return CUDA_ERROR_INVALID_VALUE;
  std::vector<CUstreamBatchMemOpParams> operations(count);
  const auto bytes = in.take(uint64_t{count} * sizeof(CUstreamBatchMemOpParams));
  const auto flags = in.get<uint32_t>();
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuStreamBatchMemOp_v2 == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  if (count != 0) std::memcpy(operations.data(), bytes.data(), bytes.size());
  return session.driver().cuStreamBatchMemOp_v2(stream, count, operations.data(), flags);
}

}  // namespace vgpu::executor::handlers

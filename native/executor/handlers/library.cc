// Libraries: modules that belong to no context, and their kernels.
#include "executor/handlers/functions.h"
#include "executor/handlers/image_parts.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {

CUresult cuLibraryLoadData(Session& session, const Command& command, wire::Reader& in,
                           wire::Writer& out) {
  const bool bulk = (command.header.flags & wire::kHasBulk) != 0;
  const auto transfer = bulk ? in.get<uint64_t>() : 0;
  const auto id = in.get<uint64_t>();
  ImageParts parts;
  if (!parts.read(session, in, transfer)) return CUDA_ERROR_INVALID_IMAGE;
  if (session.driver().cuLibraryLoadData == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  JitOptions& options = parts.options();
  CUlibrary library = nullptr;
  const CUresult result =
      session.driver().cuLibraryLoadData(&library, parts.image(), options.names(), options.values(),
                                         options.count(), nullptr, nullptr, 0);
  options.put_logs(out);
  if (result == CUDA_SUCCESS && !session.bind(id, library)) return CUDA_ERROR_INVALID_VALUE;
  return result;
}

CUresult cuLibraryUnload(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto library = session.resolve<CUlibrary>(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  session.forget(id);
  return session.driver().cuLibraryUnload(library);
}

CUresult cuLibraryGetKernel(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  return find_function<CUkernel, CUlibrary>(session, in, out, session.driver().cuLibraryGetKernel);
}

CUresult cuLibraryEnumerateKernels(Session& session, const Command&, wire::Reader& in,
                                   wire::Writer& out) {
  const DriverTable& driver = session.driver();
  return list_functions<CUkernel, CUlibrary>(session, in, out, driver.cuLibraryGetKernelCount,
                                             driver.cuLibraryEnumerateKernels);
}

CUresult cuLibraryGetModule(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto library_id = in.get<uint64_t>();
  const auto id = in.get<uint64_t>();
  const auto library = session.resolve<CUlibrary>(library_id);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  CUmodule module = nullptr;
  const CUresult result = session.driver().cuLibraryGetModule(&module, library);
  if (result != CUDA_SUCCESS) return result;
  if (!session.bind(id, module)) return CUDA_ERROR_INVALID_VALUE;
  session.own(library_id, id);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetGlobal(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  return find_global<CUlibrary>(session, in, out, session.driver().cuLibraryGetGlobal);
}

CUresult cuKernelSetAttribute(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto attribute = static_cast<CUfunction_attribute>(in.get<uint32_t>());
  const auto value = in.get<int32_t>();
  const auto kernel = session.resolve<CUkernel>(in.get<uint64_t>());
  const CUdevice device = session.device(in.get<uint32_t>());
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuKernelSetAttribute == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuKernelSetAttribute(attribute, value, kernel, device);
}

}  // namespace vgpu::executor::handlers

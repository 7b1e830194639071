// Modules: images in, functions and variables out. On helper threads: the driver may compile.
#include "executor/handlers/functions.h"
#include "executor/handlers/image_parts.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {

CUresult cuModuleLoadDataEx(Session& session, const Command& command, wire::Reader& in,
                            wire::Writer& out) {
  const bool bulk = (command.header.flags & wire::kHasBulk) != 0;
  const auto transfer = bulk ? in.get<uint64_t>() : 0;
  const auto id = in.get<uint64_t>();
  ImageParts parts;
  if (!parts.read(session, in, transfer)) return CUDA_ERROR_INVALID_IMAGE;
  JitOptions& options = parts.options();
  CUmodule module = nullptr;
  const CUresult result = session.driver().cuModuleLoadDataEx(
      &module, parts.image(), options.count(), options.names(), options.values());
  options.put_logs(out);
  if (result == CUDA_SUCCESS && !session.bind(id, module)) return CUDA_ERROR_INVALID_VALUE;
  return result;
}

CUresult cuModuleUnload(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto module = session.resolve<CUmodule>(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  session.forget(id);
  return session.driver().cuModuleUnload(module);
}

CUresult cuModuleGetFunction(Session& session, const Command&, wire::Reader& in,
                             wire::Writer& out) {
  return find_function<CUfunction, CUmodule>(session, in, out,
                                             session.driver().cuModuleGetFunction);
}

CUresult cuModuleEnumerateFunctions(Session& session, const Command&, wire::Reader& in,
                                    wire::Writer& out) {
  const DriverTable& driver = session.driver();
  return list_functions<CUfunction, CUmodule>(session, in, out, driver.cuModuleGetFunctionCount,
                                              driver.cuModuleEnumerateFunctions);
}

CUresult cuModuleGetGlobal_v2(Session& session, const Command&, wire::Reader& in,
                              wire::Writer& out) {
  return find_global<CUmodule>(session, in, out, session.driver().cuModuleGetGlobal_v2);
}

CUresult cuLinkCreate_v2(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto count = in.get<uint32_t>();
  const auto info_bytes = in.get<uint32_t>();
  const auto error_bytes = in.get<uint32_t>();
  auto options = std::make_shared<JitOptions>();
  options->read(in, count);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (session.driver().cuLinkCreate_v2 == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  options->add_logs(info_bytes, error_bytes);
  CUlinkState state = nullptr;
  const CUresult result = session.driver().cuLinkCreate_v2(options->count(), options->names(),
                                                           options->values(), &state);
  if (result != CUDA_SUCCESS) return result;
  if (!session.bind(id, state)) return CUDA_ERROR_INVALID_VALUE;
  session.links().add(id, std::move(options));
  return CUDA_SUCCESS;
}

CUresult cuLinkAddData_v2(Session& session, const Command& command, wire::Reader& in,
                          wire::Writer& out) {
  const bool bulk = (command.header.flags & wire::kHasBulk) != 0;
  const auto transfer = bulk ? in.get<uint64_t>() : 0;
  const auto id = in.get<uint64_t>();
  const auto type = static_cast<CUjitInputType>(in.get<uint32_t>());
  const std::string name(in.text());
  const auto size = in.get<uint64_t>();
  const auto count = in.get<uint32_t>();
  JitOptions options;
  options.read(in, count);
  const auto state = session.resolve<CUlinkState>(id);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  std::span<const std::byte> bytes;
  StagingPool::Buffer buffer;
  if (transfer != 0) {
    buffer = session.take_bulk(transfer);
    if (buffer != nullptr && buffer->size == size) bytes = {buffer->data, buffer->size};
  } else {
    bytes = in.take(size);
  }
  Session::failed();
  if (!in.ok() || bytes.size() != size || size == 0) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::byte> data(bytes.begin(), bytes.end());
  // PTX is text: the driver wants its terminating zero, inside the size.
  if (type == CU_JIT_INPUT_PTX && data.back() != std::byte{0}) data.push_back(std::byte{0});
  const CUresult result =
      session.driver().cuLinkAddData_v2(state, type, data.data(), data.size(), name.c_str(),
                                        options.count(), options.names(), options.values());
  if (const auto logs = session.links().find(id); logs != nullptr) logs->put_logs(out);
  return result;
}

CUresult cuLinkComplete(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  const auto id = in.get<uint64_t>();
  const auto state = session.resolve<CUlinkState>(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  void* image = nullptr;
  size_t size = 0;
  const CUresult result = session.driver().cuLinkComplete(state, &image, &size);
  if (result != CUDA_SUCCESS) size = 0;
  out.put(static_cast<uint64_t>(size));
  if (const auto logs = session.links().find(id); logs != nullptr) {
    logs->put_logs(out);
  } else {
    out.text("");
    out.text("");
  }
  out.raw(image, size);
  return result;
}

CUresult cuLinkDestroy(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto state = session.resolve<CUlinkState>(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  session.forget(id);
  const CUresult result = session.driver().cuLinkDestroy(state);
  session.links().remove(id);
  return result;
}

}  // namespace vgpu::executor::handlers

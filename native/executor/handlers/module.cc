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
  const auto module_id = in.get<uint64_t>();
  const auto id = in.get<uint64_t>();
  const std::string name(in.text());
  const auto module = session.resolve<CUmodule>(module_id);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  CUfunction function = nullptr;
  const CUresult result = session.driver().cuModuleGetFunction(&function, module, name.c_str());
  if (result != CUDA_SUCCESS) return result;
  if (!session.bind(id, function)) return CUDA_ERROR_INVALID_VALUE;
  session.own(module_id, id);
  put_function_info(session, function, name, out);
  return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(Session& session, const Command&, wire::Reader& in,
                                    wire::Writer& out) {
  const auto module_id = in.get<uint64_t>();
  const auto first = in.get<uint64_t>();
  const auto room = in.get<uint32_t>();
  const auto module = session.resolve<CUmodule>(module_id);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const DriverTable& driver = session.driver();
  if (driver.cuModuleGetFunctionCount == nullptr || driver.cuModuleEnumerateFunctions == nullptr) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  unsigned total = 0;
  CUresult result = driver.cuModuleGetFunctionCount(&total, module);
  if (result != CUDA_SUCCESS) return result;
  std::vector<CUfunction> functions(std::min(room, total));
  if (!functions.empty()) {  // a question for the number only: drivers refuse the null pointer
    result = driver.cuModuleEnumerateFunctions(functions.data(),
                                               static_cast<unsigned>(functions.size()), module);
    if (result != CUDA_SUCCESS) return result;
  }
  return put_functions(session, module_id, first, total, functions, out);
}

CUresult cuModuleGetGlobal_v2(Session& session, const Command&, wire::Reader& in,
                              wire::Writer& out) {
  const auto module = session.resolve<CUmodule>(in.get<uint64_t>());
  const std::string name(in.text());
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  CUdeviceptr address = 0;
  size_t size = 0;
  const CUresult result =
      session.driver().cuModuleGetGlobal_v2(&address, &size, module, name.c_str());
  out.put(static_cast<uint64_t>(address));
  out.put(static_cast<uint64_t>(size));
  return result;
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

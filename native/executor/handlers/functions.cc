#include "executor/handlers/functions.h"

#include <cstdint>

namespace vgpu::executor::handlers {
namespace {

constexpr int kAttributes = 16;  // CU_FUNC_ATTRIBUTE_MAX of CUDA 12 and 13
constexpr uint32_t kMostParameters = 8192;

CUresult attribute(Session& session, CUfunction function, int which, int* value) {
  return session.driver().cuFuncGetAttribute(value, static_cast<CUfunction_attribute>(which),
                                             function);
}
CUresult attribute(Session& session, CUkernel kernel, int which, int* value) {
  const ContextState* context = session.context();
  if (context == nullptr || session.driver().cuKernelGetAttribute == nullptr) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  return session.driver().cuKernelGetAttribute(value, static_cast<CUfunction_attribute>(which),
                                               kernel, context->device);
}
CUresult parameter(Session& session, CUfunction function, size_t index, size_t* offset,
                   size_t* size) {
  const auto call = session.driver().cuFuncGetParamInfo;
  return call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : call(function, index, offset, size);
}
CUresult parameter(Session& session, CUkernel kernel, size_t index, size_t* offset, size_t* size) {
  const auto call = session.driver().cuKernelGetParamInfo;
  return call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : call(kernel, index, offset, size);
}
CUresult name_of(Session& session, CUfunction function, const char** name) {
  const auto call = session.driver().cuFuncGetName;
  return call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : call(name, function);
}
CUresult name_of(Session& session, CUkernel kernel, const char** name) {
  const auto call = session.driver().cuKernelGetName;
  return call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : call(name, kernel);
}

template <typename T>
void put_info(Session& session, T function, const std::string& name, wire::Writer& out) {
  out.text(name);
  out.put(static_cast<uint32_t>(kAttributes));
  for (int which = 0; which < kAttributes; ++which) {
    int value = 0;
    const CUresult result = attribute(session, function, which, &value);
    out.put(static_cast<int32_t>(result == CUDA_SUCCESS ? value : INT32_MIN));
  }
  std::vector<uint64_t> layout;
  size_t offset = 0;
  size_t size = 0;
  while (layout.size() < 2 * kMostParameters &&
         parameter(session, function, layout.size() / 2, &offset, &size) == CUDA_SUCCESS) {
    layout.push_back(offset);
    layout.push_back(size);
  }
  out.array(layout.data(), layout.size() / 2, 2 * sizeof(uint64_t));
}

template <typename T>
CUresult put_all(Session& session, uint64_t owner, uint64_t first, uint32_t total,
                 const std::vector<T>& functions, wire::Writer& out) {
  out.put(total);
  out.put(static_cast<uint32_t>(functions.size()));
  uint64_t id = first;
  for (const T function : functions) {
    const char* name = nullptr;
    if (name_of(session, function, &name) != CUDA_SUCCESS || name == nullptr) name = "";
    if (!session.bind(id, function)) return CUDA_ERROR_INVALID_VALUE;
    session.own(owner, id++);
    put_info(session, function, name, out);
  }
  return CUDA_SUCCESS;
}

}  // namespace

void put_function_info(Session& session, CUfunction function, const std::string& name,
                       wire::Writer& out) {
  put_info(session, function, name, out);
}

void put_function_info(Session& session, CUkernel kernel, const std::string& name,
                       wire::Writer& out) {
  put_info(session, kernel, name, out);
}

CUresult put_functions(Session& session, uint64_t owner, uint64_t first, uint32_t total,
                       const std::vector<CUfunction>& functions, wire::Writer& out) {
  return put_all(session, owner, first, total, functions, out);
}

CUresult put_functions(Session& session, uint64_t owner, uint64_t first, uint32_t total,
                       const std::vector<CUkernel>& kernels, wire::Writer& out) {
  return put_all(session, owner, first, total, kernels, out);
}

}  // namespace vgpu::executor::handlers

// What the client keeps of a function or kernel: attributes and parameter layout (wire/calls.h).
#pragma once

#include <cuda.h>

#include <algorithm>
#include <string>
#include <vector>

#include "executor/session.h"

namespace vgpu::executor::handlers {

void put_function_info(Session& session, CUfunction function, const std::string& name,
                       wire::Writer& out);
void put_function_info(Session& session, CUkernel kernel, const std::string& name,
                       wire::Writer& out);
// u32 total, u32 n, FunctionInfo*n, with the ids first, first + 1, ... bound to them.
CUresult put_functions(Session& session, uint64_t owner, uint64_t first, uint32_t total,
                       const std::vector<CUfunction>& functions, wire::Writer& out);
CUresult put_functions(Session& session, uint64_t owner, uint64_t first, uint32_t total,
                       const std::vector<CUkernel>& kernels, wire::Writer& out);

// u64 owner, u64 id, text name: a function of a module, or a kernel of a library.
template <typename Function, typename Owner, typename Get>
CUresult find_function(Session& session, wire::Reader& in, wire::Writer& out, Get&& get) {
  const auto owner_id = in.get<uint64_t>();
  const auto id = in.get<uint64_t>();
  const std::string name(in.text());
  const auto owner = session.resolve<Owner>(owner_id);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  Function function = nullptr;
  const CUresult result = get(&function, owner, name.c_str());
  if (result != CUDA_SUCCESS) return result;
  if (!session.bind(id, function)) return CUDA_ERROR_INVALID_VALUE;
  session.own(owner_id, id);
  put_function_info(session, function, name, out);
  return CUDA_SUCCESS;
}

// u64 owner, u64 first, u32 room: as many of its functions as there is room for, ids from `first`.
// `count` and `list` are null where the driver lacks them.
template <typename Function, typename Owner, typename Count, typename List>
CUresult list_functions(Session& session, wire::Reader& in, wire::Writer& out, Count count,
                        List list) {
  const auto owner_id = in.get<uint64_t>();
  const auto first = in.get<uint64_t>();
  const auto room = in.get<uint32_t>();
  const auto owner = session.resolve<Owner>(owner_id);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (count == nullptr || list == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  unsigned total = 0;
  CUresult result = count(&total, owner);
  if (result != CUDA_SUCCESS) return result;
  std::vector<Function> functions(std::min(room, total));
  if (!functions.empty()) {  // a question for the number only: drivers refuse the null pointer
    result = list(functions.data(), static_cast<unsigned>(functions.size()), owner);
    if (result != CUDA_SUCCESS) return result;
  }
  return put_functions(session, owner_id, first, total, functions, out);
}

// text name, of a variable: u64 address, u64 size.
template <typename Owner, typename Get>
CUresult find_global(Session& session, wire::Reader& in, wire::Writer& out, Get&& get) {
  const auto owner = session.resolve<Owner>(in.get<uint64_t>());
  const std::string name(in.text());
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  CUdeviceptr address = 0;
  size_t size = 0;
  const CUresult result = get(&address, &size, owner, name.c_str());
  out.put(static_cast<uint64_t>(address));
  out.put(static_cast<uint64_t>(size));
  return result;
}

}  // namespace vgpu::executor::handlers

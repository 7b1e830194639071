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

}  // namespace vgpu::executor::handlers

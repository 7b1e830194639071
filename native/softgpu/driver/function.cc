// Facts about one kernel in one context.
#include <algorithm>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/launch.h"

namespace vgpu::softgpu {

unsigned max_threads(const ptx::Kernel& kernel) {
  const ptx::Dim3& limit =
      kernel.required_threads.x != 0 ? kernel.required_threads : kernel.max_threads;
  if (limit.x == 0) return kThreadsPerBlock;
  const uint64_t threads = uint64_t{limit.x} * std::max(limit.y, 1u) * std::max(limit.z, 1u);
  return static_cast<unsigned>(std::min<uint64_t>(threads, kThreadsPerBlock));
}

unsigned dynamic_shared_limit(const Function& function) {
  const int chosen = function.settings.max_dynamic_shared;
  if (chosen >= 0) return static_cast<unsigned>(chosen);
  const unsigned fixed = function.kernel().static_shared_bytes;
  return fixed >= kStaticSharedLimit ? 0 : kStaticSharedLimit - fixed;
}

ptx::Dim3 required_cluster(const Function& function) {
  const FunctionSettings& settings = function.settings;
  if (settings.cluster_width == 0) return function.kernel().cluster;
  const auto side = [](int size) { return static_cast<uint32_t>(std::max(size, 1)); };
  return {side(settings.cluster_width), side(settings.cluster_height),
          side(settings.cluster_depth)};
}

CUresult function_attribute(const Function& function, const Context& context,
                            CUfunction_attribute attribute, int* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const ptx::Kernel& kernel = function.kernel();
  const FunctionSettings& settings = function.settings;
  const int capability = context.device.major * 10 + context.device.minor;
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = static_cast<int>(max_threads(kernel));
      break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      *value = static_cast<int>(kernel.static_shared_bytes);
      break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
      *value = static_cast<int>(kernel.const_bytes);
      break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      *value = static_cast<int>(kernel.local_bytes);
      break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      *value = static_cast<int>(std::clamp(kernel.registers, 16u, 255u));
      break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
      *value = kernel.target != 0 ? kernel.target : capability;
      break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      *value = capability;
      break;
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
      *value = 0;
      break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *value = static_cast<int>(dynamic_shared_limit(function));
      break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      *value = settings.carveout;
      break;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
      *value = settings.cluster_must_be_set;
      break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
      *value = static_cast<int>(required_cluster(function).x);
      break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
      *value = static_cast<int>(required_cluster(function).y);
      break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
      *value = static_cast<int>(required_cluster(function).z);
      break;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
      *value = settings.non_portable_cluster;
      break;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      *value = settings.cluster_policy;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult set_function_attribute(Function& function, const Context&, CUfunction_attribute attribute,
                                int value) {
  FunctionSettings& settings = function.settings;
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: {
      const int limit = static_cast<int>(kSharedLimit - function.kernel().static_shared_bytes);
      if (value < 0 || value > limit) return CUDA_ERROR_INVALID_VALUE;
      settings.max_dynamic_shared = value;
      return CUDA_SUCCESS;
    }
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      if (value < -1 || value > 100) return CUDA_ERROR_INVALID_VALUE;
      settings.carveout = value;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
      settings.non_portable_cluster = value != 0;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
      settings.cluster_width = value;
      break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
      settings.cluster_height = value;
      break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
      settings.cluster_depth = value;
      break;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      settings.cluster_policy = value;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return value < 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

namespace api {

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction handle) {
  FoundFunction found;
  if (const CUresult result = find_function(handle, found)) return result;
  return function_attribute(*found.function, *found.context, attribute, value);
}
CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
  FoundFunction found;
  if (const CUresult result = find_function(handle, found)) return result;
  return set_function_attribute(*found.function, *found.context, attribute, value);
}
CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config) {
  FoundFunction found;
  if (const CUresult result = find_function(handle, found)) return result;
  found.function->settings.cache = config;
  return CUDA_SUCCESS;
}
CUresult cuFuncSetSharedMemConfig(CUfunction handle, CUsharedconfig) {
  FoundFunction found;
  return find_function(handle, found);
}
CUresult cuFuncGetName(const char** name, CUfunction handle) {
  FoundFunction found;
  if (const CUresult result = find_function(handle, found)) return result;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *name = found.function->kernel().name.c_str();
  return CUDA_SUCCESS;
}
CUresult cuFuncGetModule(CUmodule* out, CUfunction handle) {
  FoundFunction found;
  if (const CUresult result = find_function(handle, found)) return result;
  const auto module = found.function->module.lock();
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = as_handle<CUmodule>(module->id);
  return CUDA_SUCCESS;
}
CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t* offset, size_t* size) {
  FoundFunction found;
  if (const CUresult result = find_function(handle, found)) return result;
  const auto& parameters = found.function->kernel().parameters;
  if (offset == nullptr || index >= parameters.size()) return CUDA_ERROR_INVALID_VALUE;
  *offset = parameters[index].offset;
  if (size != nullptr) *size = parameters[index].size;
  return CUDA_SUCCESS;
}
CUresult cuFuncIsLoaded(CUfunctionLoadingState* state, CUfunction handle) {
  FoundFunction found;
  if (const CUresult result = find_function(handle, found)) return result;
  if (state == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *state = CU_FUNCTION_LOADING_STATE_LOADED;
  return CUDA_SUCCESS;
}
CUresult cuFuncLoad(CUfunction handle) {
  FoundFunction found;
  if (const CUresult result = find_function(handle, found)) return result;
  return prepare_kernel(*found.function);
}

}  // namespace api
}  // namespace vgpu::softgpu

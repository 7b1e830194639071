// Facts about functions and kernels: all from the reply of their look-up.
#include <climits>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/launch.h"
#include "stub/process.h"

namespace vgpu::stub::api {
namespace {

CUresult find_any(CUfunction handle, Function** function) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *function = process()->function(handle);
  return *function == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}
CUresult find_any(CUkernel handle, Function** function) {
  return find_any(as_handle<CUfunction>(as_id(handle)), function);
}

CUresult attribute(const Function& function, int* value, CUfunction_attribute which) {
  if (value == nullptr || which < 0 || which >= function.attribute_count) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const int known = function.attributes[which].load(std::memory_order_relaxed);
  if (known == INT_MIN) return CUDA_ERROR_INVALID_VALUE;
  *value = known;
  return CUDA_SUCCESS;
}

CUresult check_settable(const Function& function, CUfunction_attribute which, int value) {
  const bool settable =
      which >= CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES && which < CU_FUNC_ATTRIBUTE_MAX;
  if (!settable || which >= function.attribute_count) return CUDA_ERROR_INVALID_VALUE;
  if (which == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
    const Context* context = this_thread().current();
    const Device& device = context == nullptr ? *process()->devices.front() : *context->device;
    const int fixed = function.attributes[CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES];
    const int most = device.attributes[CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN];
    if (value < 0 || value > most - fixed) return CUDA_ERROR_INVALID_VALUE;
  }
  if (which == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT && (value < -1 || value > 100)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult parameter_info(const Function& function, size_t index, size_t* offset, size_t* size) {
  if (offset == nullptr || index >= function.parameters.size()) return CUDA_ERROR_INVALID_VALUE;
  *offset = function.parameters[index].offset;
  if (size != nullptr) *size = function.parameters[index].size;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuFuncGetAttribute(int* pi, CUfunction_attribute attrib, CUfunction hfunc) {
  Function* function = nullptr;
  if (const CUresult result = find_any(hfunc, &function); result != CUDA_SUCCESS) return result;
  return attribute(*function, pi, attrib);
}

CUresult cuKernelGetAttribute(int* pi, CUfunction_attribute attrib, CUkernel kernel, CUdevice dev) {
  Function* function = nullptr;
  if (const CUresult result = find_any(kernel, &function); result != CUDA_SUCCESS) return result;
  if (process()->device(dev) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  return attribute(*function, pi, attrib);
}

CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  Function* function = nullptr;
  if (const CUresult result = find_any(hfunc, &function); result != CUDA_SUCCESS) return result;
  if (function->kernel) {
    return api::cuKernelSetAttribute(attrib, value, as_handle<CUkernel>(as_id(hfunc)),
                                     context->device->ordinal);
  }
  const CUresult allowed = check_settable(*function, attrib, value);
  if (allowed != CUDA_SUCCESS) return allowed;
  Call call(Opcode::cuFuncSetAttribute);
  call.put(as_id(hfunc));
  call.put(static_cast<uint32_t>(attrib));
  call.put(static_cast<int32_t>(value));
  const CUresult result = call.finish();
  if (result == CUDA_SUCCESS) function->attributes[attrib] = value;
  return result;
}

CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int val, CUkernel kernel, CUdevice dev) {
  Function* function = nullptr;
  if (const CUresult result = find_any(kernel, &function); result != CUDA_SUCCESS) return result;
  const CUresult allowed = check_settable(*function, attrib, val);
  if (allowed != CUDA_SUCCESS) return allowed;
  Call call(Opcode::cuKernelSetAttribute);
  call.put(static_cast<uint32_t>(attrib));
  call.put(static_cast<int32_t>(val));
  call.put(as_id(kernel));
  call.put(call.device(dev));
  const CUresult result = call.finish();
  if (result == CUDA_SUCCESS) function->attributes[attrib] = val;
  return result;
}

CUresult cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config) {
  Function* function = nullptr;
  if (const CUresult result = find_any(hfunc, &function); result != CUDA_SUCCESS) return result;
  Call call(Opcode::cuFuncSetCacheConfig);
  call.put(as_id(hfunc));
  call.put(static_cast<uint32_t>(config));
  return call.finish();
}
CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice) {
  return api::cuFuncSetCacheConfig(as_handle<CUfunction>(as_id(kernel)), config);
}

// Bank size has had no effect since compute capability 5.
CUresult cuFuncSetSharedMemConfig(CUfunction hfunc, CUsharedconfig) {
  Function* function = nullptr;
  return find_any(hfunc, &function);
}

CUresult cuFuncGetName(const char** name, CUfunction hfunc) {
  Function* function = nullptr;
  if (const CUresult result = find_any(hfunc, &function); result != CUDA_SUCCESS) return result;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *name = function->name.c_str();
  return CUDA_SUCCESS;
}
CUresult cuKernelGetName(const char** name, CUkernel hfunc) {
  return api::cuFuncGetName(name, as_handle<CUfunction>(as_id(hfunc)));
}

CUresult cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t* paramOffset,
                            size_t* paramSize) {
  Function* function = nullptr;
  if (const CUresult result = find_any(func, &function); result != CUDA_SUCCESS) return result;
  return parameter_info(*function, paramIndex, paramOffset, paramSize);
}
CUresult cuKernelGetParamInfo(CUkernel kernel, size_t paramIndex, size_t* paramOffset,
                              size_t* paramSize) {
  return api::cuFuncGetParamInfo(as_handle<CUfunction>(as_id(kernel)), paramIndex, paramOffset,
                                 paramSize);
}

CUresult cuFuncGetModule(CUmodule* hmod, CUfunction hfunc) {
  Function* function = nullptr;
  if (const CUresult result = find_any(hfunc, &function); result != CUDA_SUCCESS) return result;
  if (hmod == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (function->kernel)
    return api::cuLibraryGetModule(hmod, as_handle<CUlibrary>(function->module));
  *hmod = as_handle<CUmodule>(function->module);
  return CUDA_SUCCESS;
}

// A function is loaded by its look-up, or by its first use if it was enumerated.
CUresult cuFuncIsLoaded(CUfunctionLoadingState* state, CUfunction func) {
  Function* function = nullptr;
  if (const CUresult result = find_any(func, &function); result != CUDA_SUCCESS) return result;
  if (state == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *state = CU_FUNCTION_LOADING_STATE_LOADED;
  return CUDA_SUCCESS;
}
CUresult cuFuncLoad(CUfunction func) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  Function* function = nullptr;
  if (const CUresult result = find_any(func, &function); result != CUDA_SUCCESS) return result;
  return load_function(*function);
}

CUresult cuKernelGetFunction(CUfunction* pFunc, CUkernel kernel) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  Function* function = nullptr;
  if (const CUresult result = find_any(kernel, &function); result != CUDA_SUCCESS) return result;
  if (pFunc == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pFunc = as_handle<CUfunction>(as_id(kernel));
  return CUDA_SUCCESS;
}

CUresult cuKernelGetLibrary(CUlibrary* pLib, CUkernel kernel) {
  Function* function = nullptr;
  if (const CUresult result = find_any(kernel, &function); result != CUDA_SUCCESS) return result;
  if (pLib == nullptr || !function->kernel) return CUDA_ERROR_INVALID_VALUE;
  *pLib = as_handle<CUlibrary>(function->module);
  return CUDA_SUCCESS;
}

}  // namespace vgpu::stub::api

// Modules: images are sent, names looked up once.
#include <algorithm>

#include "generated/stub_api.h"
#include "stub/capture.h"
#include "stub/code.h"
#include "stub/process.h"

namespace vgpu::stub::api {
namespace {

CUresult find_module(CUmodule handle, Module** module) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  *module = process()->modules.find(handle);
  return *module == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

}  // namespace

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int numOptions,
                            CUjit_option* options, void** optionValues) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  if (module == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_capture_unsafe(); result != CUDA_SUCCESS) return result;
  JitOptions jit;
  CUresult result = jit.read(numOptions, options, optionValues);
  if (result != CUDA_SUCCESS) return result;
  Module* fresh = process()->modules.create([&](Module& made) { made.context = context; });
  if (fresh == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  result = load_code(Opcode::cuModuleLoadDataEx, context, fresh->id, image, jit);
  if (result != CUDA_SUCCESS) {
    process()->modules.destroy(fresh->id);
    return result;
  }
  *module = as_handle<CUmodule>(fresh->id);
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return api::cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}
CUresult cuModuleLoadFatBinary(CUmodule* module, const void* fatCubin) {
  return api::cuModuleLoadDataEx(module, fatCubin, 0, nullptr, nullptr);
}

CUresult cuModuleLoad(CUmodule* module, const char* fname) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  std::vector<char> bytes;
  if (const CUresult result = load_file(fname, bytes); result != CUDA_SUCCESS) return result;
  return api::cuModuleLoadData(module, bytes.data());
}

CUresult cuModuleUnload(CUmodule hmod) {
  Module* module = nullptr;
  if (const CUresult result = find_module(hmod, &module); result != CUDA_SUCCESS) return result;
  forget_code(*module, false);
  Call call(Opcode::cuModuleUnload, module->context);
  if (!call.ok()) return call.result();
  call.put(call.destroy(HandleKind::kModule, hmod));
  return call.send();
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (mode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *mode = process()->settings.eager_loading ? CU_MODULE_EAGER_LOADING : CU_MODULE_LAZY_LOADING;
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* hfunc, CUmodule hmod, const char* name) {
  Module* module = nullptr;
  if (const CUresult result = find_module(hmod, &module); result != CUDA_SUCCESS) return result;
  if (hfunc == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t id = 0;
  const CUresult result = find_function(*module, name, false, &id);
  if (result == CUDA_SUCCESS) *hfunc = as_handle<CUfunction>(id);
  return result;
}

CUresult cuModuleGetFunctionCount(unsigned int* count, CUmodule mod) {
  Module* module = nullptr;
  if (const CUresult result = find_module(mod, &module); result != CUDA_SUCCESS) return result;
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = enumerate(*module, false);
  if (result == CUDA_SUCCESS) *count = static_cast<unsigned>(module->enumerated.size());
  return result;
}

CUresult cuModuleEnumerateFunctions(CUfunction* functions, unsigned int numFunctions,
                                    CUmodule mod) {
  Module* module = nullptr;
  if (const CUresult result = find_module(mod, &module); result != CUDA_SUCCESS) return result;
  if (functions == nullptr && numFunctions != 0) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = enumerate(*module, false);
  if (result != CUDA_SUCCESS) return result;
  const size_t count = std::min<size_t>(numFunctions, module->enumerated.size());
  for (size_t i = 0; i < count; ++i) functions[i] = as_handle<CUfunction>(module->enumerated[i]);
  return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* dptr, size_t* bytes, CUmodule hmod, const char* name) {
  Module* module = nullptr;
  if (const CUresult result = find_module(hmod, &module); result != CUDA_SUCCESS) return result;
  if (name == nullptr || (dptr == nullptr && bytes == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  Global global;
  const CUresult result = find_global(*module, name, false, &global);
  if (result != CUDA_SUCCESS) return result;
  if (dptr != nullptr) *dptr = global.address;
  if (bytes != nullptr) *bytes = global.size;
  return CUDA_SUCCESS;
}

}  // namespace vgpu::stub::api

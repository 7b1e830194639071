// Libraries: modules of no context. Their kernels are accepted wherever a function is.
#include <algorithm>

#include "generated/stub_api.h"
#include "stub/capture.h"
#include "stub/code.h"
#include "stub/process.h"

namespace vgpu::stub::api {
namespace {

CUresult find_library(CUlibrary handle, Module** library) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *library = process()->libraries.find(handle);
  return *library == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

// A library is loaded without a context; the executor's driver wants one that exists. Any will do:
// the current one, else the first device's primary.
Context* loading_context() {
  Context* current = this_thread().current();
  if (current != nullptr && current->alive) return current;
  return &process()->devices.front()->primary;
}

}  // namespace

CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option* jitOptions,
                           void** jitOptionsValues, unsigned int numJitOptions, CUlibraryOption*,
                           void**, unsigned int) {
  // Library options only say how the image may be shared: it is copied, always.
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (library == nullptr || code == nullptr) return CUDA_ERROR_INVALID_VALUE;
  JitOptions jit;
  CUresult result = jit.read(numJitOptions, jitOptions, jitOptionsValues);
  if (result != CUDA_SUCCESS) return result;
  Module* fresh = process()->libraries.create([](Module& made) { made.context = nullptr; });
  if (fresh == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  result = load_code(Opcode::cuLibraryLoadData, loading_context(), fresh->id, code, jit);
  if (result != CUDA_SUCCESS) {
    process()->libraries.destroy(fresh->id);
    return result;
  }
  *library = as_handle<CUlibrary>(fresh->id);
  return CUDA_SUCCESS;
}

CUresult cuLibraryLoadFromFile(CUlibrary* library, const char* fileName, CUjit_option* jitOptions,
                               void** jitOptionsValues, unsigned int numJitOptions,
                               CUlibraryOption* libraryOptions, void** libraryOptionValues,
                               unsigned int numLibraryOptions) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  std::vector<char> bytes;
  if (const CUresult result = load_file(fileName, bytes); result != CUDA_SUCCESS) return result;
  return api::cuLibraryLoadData(library, bytes.data(), jitOptions, jitOptionsValues, numJitOptions,
                                libraryOptions, libraryOptionValues, numLibraryOptions);
}

CUresult cuLibraryUnload(CUlibrary library) {
  Module* found = nullptr;
  if (const CUresult result = find_library(library, &found); result != CUDA_SUCCESS) return result;
  for (const auto& [context, id] : found->modules) {
    Module* module = process()->modules.find(id);
    if (module == nullptr) continue;
    forget_code(*module, false);
    process()->modules.destroy(id);
  }
  forget_code(*found, true);
  Call call(Opcode::cuLibraryUnload, loading_context());
  if (!call.ok()) return call.result();
  call.put(call.destroy(HandleKind::kLibrary, library));
  return call.send();
}

CUresult cuLibraryGetKernel(CUkernel* pKernel, CUlibrary library, const char* name) {
  Module* found = nullptr;
  if (const CUresult result = find_library(library, &found); result != CUDA_SUCCESS) return result;
  if (pKernel == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t id = 0;
  const CUresult result = find_function(*found, name, true, &id);
  if (result == CUDA_SUCCESS) *pKernel = as_handle<CUkernel>(id);
  return result;
}

CUresult cuLibraryGetKernelCount(unsigned int* count, CUlibrary lib) {
  Module* found = nullptr;
  if (const CUresult result = find_library(lib, &found); result != CUDA_SUCCESS) return result;
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = enumerate(*found, true);
  if (result == CUDA_SUCCESS) *count = static_cast<unsigned>(found->enumerated.size());
  return result;
}

CUresult cuLibraryEnumerateKernels(CUkernel* kernels, unsigned int numKernels, CUlibrary lib) {
  Module* found = nullptr;
  if (const CUresult result = find_library(lib, &found); result != CUDA_SUCCESS) return result;
  if (kernels == nullptr && numKernels != 0) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = enumerate(*found, true);
  if (result != CUDA_SUCCESS) return result;
  const size_t count = std::min<size_t>(numKernels, found->enumerated.size());
  for (size_t i = 0; i < count; ++i) kernels[i] = as_handle<CUkernel>(found->enumerated[i]);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetModule(CUmodule* pMod, CUlibrary library) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  Module* found = nullptr;
  if (const CUresult result = find_library(library, &found); result != CUDA_SUCCESS) return result;
  if (pMod == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(found->mutex);
  const auto known = found->modules.find(context);
  if (known != found->modules.end() && process()->modules.find(known->second) != nullptr) {
    *pMod = as_handle<CUmodule>(known->second);
    return CUDA_SUCCESS;
  }
  Module* fresh = process()->modules.create([&](Module& made) { made.context = context; });
  if (fresh == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  Call call(Opcode::cuLibraryGetModule, context);
  call.put(as_id(library));
  call.put(fresh->id.load());
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) {
    process()->modules.destroy(fresh->id);
    return result;
  }
  found->modules[context] = fresh->id;
  *pMod = as_handle<CUmodule>(fresh->id);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetGlobal(CUdeviceptr* dptr, size_t* bytes, CUlibrary library, const char* name) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  Module* found = nullptr;
  if (const CUresult result = find_library(library, &found); result != CUDA_SUCCESS) return result;
  if (name == nullptr || (dptr == nullptr && bytes == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  // A global has an address in each context: only that of one device is remembered by name.
  Global global;
  const bool single = process()->devices.size() == 1;
  if (!single) {
    const std::lock_guard lock(found->mutex);
    found->globals.erase(name);
  }
  const CUresult result = find_global(*found, name, true, &global);
  if (result != CUDA_SUCCESS) return result;
  if (dptr != nullptr) *dptr = global.address;
  if (bytes != nullptr) *bytes = global.size;
  return CUDA_SUCCESS;
}

}  // namespace vgpu::stub::api

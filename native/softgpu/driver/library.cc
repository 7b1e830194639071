// Libraries and kernels: code that is not bound to a context until it is used in one.
#include <algorithm>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/image.h"
#include "softgpu/driver/jit_log.h"
#include "softgpu/driver/launch.h"

namespace vgpu::softgpu {

CUresult Library::module_in(const std::shared_ptr<Context>& context,
                            std::shared_ptr<Module>& module) {
  const std::lock_guard lock(mutex);
  auto& slot = modules[context->id];
  if (!slot) {
    if (const CUresult result = make_module(context, code, slot)) {
      modules.erase(context->id);
      return result;
    }
    slot->library = id;
  }
  module = slot;
  return CUDA_SUCCESS;
}

namespace api {
namespace {

CUresult load(CUlibrary* out, const void* image, CUjit_option* options, void** values,
              unsigned count) {
  // Needs no current context.
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (out == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto library = std::make_shared<Library>();
  JitLog log(count, options, values);
  std::string error;
  if (const CUresult result = load_code(image, library->code, error)) {
    log.error(error);
    return result;
  }
  log.describe(*library->code);
  const uint64_t id = driver().libraries.add(library);
  for (size_t i = 0; i < library->code->kernels.size(); ++i) {
    auto kernel = std::make_shared<KernelHandle>();
    kernel->library = library;
    kernel->index = i;
    kernel->library_handle = as_handle<CUlibrary>(id);
    driver().kernels.add(kernel);
    library->kernels.push_back(std::move(kernel));
  }
  *out = as_handle<CUlibrary>(id);
  return CUDA_SUCCESS;
}

CUresult find_library(CUlibrary handle, std::shared_ptr<Library>& library) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  library = driver().libraries.find(handle);
  return library ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

struct Found {
  std::shared_ptr<KernelHandle> kernel;
  std::shared_ptr<Library> library;
};
CUresult find_kernel(CUkernel handle, Found& found) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  found.kernel = driver().kernels.find(handle);
  if (!found.kernel) return CUDA_ERROR_INVALID_HANDLE;
  found.library = found.kernel->library.lock();
  return found.library ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// The kernel on one device: attributes need no current context there.
CUresult function_on(CUkernel handle, CUdevice ordinal, std::shared_ptr<Function>& function,
                     std::shared_ptr<Context>& context) {
  Found found;
  if (const CUresult result = find_kernel(handle, found)) return result;
  Device* device = find_device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  context = find_context(nullptr);
  if (!context || &context->device != device || !context->active) context = device->primary;
  if (!context->active) return CUDA_ERROR_INVALID_CONTEXT;
  std::shared_ptr<Module> module;
  if (const CUresult result = found.library->module_in(context, module)) return result;
  function = module->functions[found.kernel->index];
  return CUDA_SUCCESS;
}

}  // namespace

// Option values may be a null pointer, and options say nothing that we need: never read.
CUresult cuLibraryLoadData(CUlibrary* out, const void* code, CUjit_option* options, void** values,
                           unsigned count, CUlibraryOption*, void**, unsigned) {
  return load(out, code, options, values, count);
}

CUresult cuLibraryLoadFromFile(CUlibrary* out, const char* path, CUjit_option* options,
                               void** values, unsigned count, CUlibraryOption*, void**, unsigned) {
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<char> content;
  if (!read_image_file(path, content)) return CUDA_ERROR_FILE_NOT_FOUND;
  return load(out, content.data(), options, values, count);
}

CUresult cuLibraryUnload(CUlibrary handle) {
  std::shared_ptr<Library> library;
  if (const CUresult result = find_library(handle, library)) return result;
  driver().libraries.remove(handle);
  for (const auto& kernel : library->kernels) {
    driver().kernels.remove(as_handle<void*>(kernel->id));
  }
  const std::lock_guard lock(library->mutex);
  for (const auto& [context, module] : library->modules) {
    synchronize(*module->context);
    destroy_module(module);
  }
  library->modules.clear();
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel* out, CUlibrary handle, const char* name) {
  std::shared_ptr<Library> library;
  if (const CUresult result = find_library(handle, library)) return result;
  if (out == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto found = library->code->kernel_index.find(std::string_view(name));
  if (found == library->code->kernel_index.end()) return CUDA_ERROR_NOT_FOUND;
  if (const CUresult result = prepare_kernel(*library->code, found->second)) return result;
  *out = as_handle<CUkernel>(library->kernels[found->second]->id);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernelCount(unsigned* count, CUlibrary handle) {
  std::shared_ptr<Library> library;
  if (const CUresult result = find_library(handle, library)) return result;
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *count = static_cast<unsigned>(library->kernels.size());
  return CUDA_SUCCESS;
}

CUresult cuLibraryEnumerateKernels(CUkernel* out, unsigned count, CUlibrary handle) {
  std::shared_ptr<Library> library;
  if (const CUresult result = find_library(handle, library)) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < std::min<size_t>(count, library->kernels.size()); ++i) {
    out[i] = as_handle<CUkernel>(library->kernels[i]->id);
  }
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetModule(CUmodule* out, CUlibrary handle) {
  std::shared_ptr<Library> library;
  if (const CUresult result = find_library(handle, library)) return result;
  const Current current;
  if (!current) return current.error();
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Module> module;
  if (const CUresult result = library->module_in(current.shared(), module)) return result;
  *out = as_handle<CUmodule>(module->id);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetGlobal(CUdeviceptr* address, size_t* bytes, CUlibrary handle,
                            const char* name) {
  CUmodule module = nullptr;
  if (const CUresult result = api::cuLibraryGetModule(&module, handle)) return result;
  return api::cuModuleGetGlobal_v2(address, bytes, module, name);
}

CUresult cuKernelGetFunction(CUfunction* out, CUkernel handle) {
  Found found;
  if (const CUresult result = find_kernel(handle, found)) return result;
  const Current current;
  if (!current) return current.error();
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Module> module;
  if (const CUresult result = found.library->module_in(current.shared(), module)) return result;
  *out = as_handle<CUfunction>(module->functions[found.kernel->index]->id);
  return CUDA_SUCCESS;
}

CUresult cuKernelGetLibrary(CUlibrary* out, CUkernel handle) {
  Found found;
  if (const CUresult result = find_kernel(handle, found)) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = found.kernel->library_handle;
  return CUDA_SUCCESS;
}

CUresult cuKernelGetName(const char** name, CUkernel handle) {
  Found found;
  if (const CUresult result = find_kernel(handle, found)) return result;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *name = found.library->code->kernels[found.kernel->index].name.c_str();
  return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel handle, size_t index, size_t* offset, size_t* size) {
  Found found;
  if (const CUresult result = find_kernel(handle, found)) return result;
  const auto& parameters = found.library->code->kernels[found.kernel->index].parameters;
  if (offset == nullptr || index >= parameters.size()) return CUDA_ERROR_INVALID_VALUE;
  *offset = parameters[index].offset;
  if (size != nullptr) *size = parameters[index].size;
  return CUDA_SUCCESS;
}

CUresult cuKernelGetAttribute(int* value, CUfunction_attribute attribute, CUkernel handle,
                              CUdevice dev) {
  std::shared_ptr<Function> function;
  std::shared_ptr<Context> context;
  if (const CUresult result = function_on(handle, dev, function, context)) return result;
  return function_attribute(*function, *context, attribute, value);
}

CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel handle,
                              CUdevice dev) {
  std::shared_ptr<Function> function;
  std::shared_ptr<Context> context;
  if (const CUresult result = function_on(handle, dev, function, context)) return result;
  return set_function_attribute(*function, *context, attribute, value);
}

CUresult cuKernelSetCacheConfig(CUkernel handle, CUfunc_cache config, CUdevice dev) {
  std::shared_ptr<Function> function;
  std::shared_ptr<Context> context;
  if (const CUresult result = function_on(handle, dev, function, context)) return result;
  function->settings.cache = config;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu

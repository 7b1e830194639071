#include "softgpu/driver/module.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/image.h"
#include "softgpu/driver/jit_log.h"
#include "softgpu/driver/launch.h"
#include "softgpu/driver/log.h"

namespace vgpu::softgpu {
namespace {

// Writes 64-bit addresses of other symbols into a variable's initial value.
bool relocate(const Code& code, const ptx::Instance& instance, size_t index,
              std::vector<std::byte>& bytes, std::string& log) {
  for (const auto& relocation : code.variables[index].relocations) {
    const auto found = code.variable_index.find(relocation.symbol);
    if (found == code.variable_index.end() || relocation.offset + relocation.bytes > bytes.size()) {
      log = "the initial value of " + code.variables[index].name + " needs the address of " +
            relocation.symbol + ", which is not a variable of the module";
      return false;
    }
    const uint64_t address =
        (instance.addresses[found->second] + static_cast<uint64_t>(relocation.addend)) >>
        relocation.shift;
    std::memcpy(&bytes[relocation.offset], &address, relocation.bytes);
  }
  return true;
}

CUresult place_variables(Context& context, const Code& code, ptx::Instance& instance) {
  for (const auto& variable : code.variables) {
    uint64_t address = 0;
    if (variable.external) {
      log(LogLevel::kError, "variable %s is declared extern and defined nowhere",
          variable.name.c_str());
      return CUDA_ERROR_INVALID_IMAGE;
    }
    const CUresult result = allocate_device(
        context.device, std::max<uint64_t>(variable.size, 1),
        std::max<uint64_t>(variable.align, 256),
        {.kind = MemoryKind::kModule, .context = context.id, .writable = !variable.constant},
        &address);
    if (result != CUDA_SUCCESS) return result;
    instance.addresses.push_back(address);
  }
  for (size_t i = 0; i < code.variables.size(); ++i) {
    const auto& variable = code.variables[i];
    std::vector<std::byte> bytes = variable.initial;
    bytes.resize(variable.size);
    std::string error;
    if (!relocate(code, instance, i, bytes, error)) {
      log(LogLevel::kError, "%s", error.c_str());
      return CUDA_ERROR_INVALID_IMAGE;
    }
    std::memcpy(reinterpret_cast<void*>(instance.addresses[i]), bytes.data(), bytes.size());
  }
  return CUDA_SUCCESS;
}

void drop_variables(const ptx::Instance& instance) {
  for (const uint64_t address : instance.addresses) {
    if (const auto removed = driver().allocations.remove(address)) release_memory(*removed);
  }
}

}  // namespace

void Code::index() {
  for (size_t i = 0; i < kernels.size(); ++i) kernel_index.emplace(kernels[i].name, i);
  for (size_t i = 0; i < variables.size(); ++i) variable_index.emplace(variables[i].name, i);
}

CUresult make_module(const std::shared_ptr<Context>& context, const std::shared_ptr<Code>& code,
                     std::shared_ptr<Module>& out) {
  auto module = std::make_shared<Module>();
  module->context = context;
  module->code = code;
  module->instance.module = code->module;
  if (const CUresult result = place_variables(*context, *code, module->instance)) {
    drop_variables(module->instance);
    return result;
  }
  for (size_t i = 0; i < code->kernels.size(); ++i) {
    auto function = std::make_shared<Function>();
    function->module = module;
    function->code = code;
    function->index = i;
    driver().functions.add(function);
    module->functions.push_back(std::move(function));
  }
  driver().modules.add(module);
  out = std::move(module);
  return CUDA_SUCCESS;
}

void destroy_module(const std::shared_ptr<Module>& module) {
  for (const auto& function : module->functions) {
    driver().functions.remove(as_handle<void*>(function->id));
  }
  driver().modules.remove(as_handle<void*>(module->id));
  drop_variables(module->instance);
  module->instance.addresses.clear();
}

CUresult find_function(const std::shared_ptr<Context>& context, CUfunction handle,
                       std::shared_ptr<Function>& function) {
  function = driver().functions.find(handle);
  if (function) return CUDA_SUCCESS;
  const auto kernel = driver().kernels.find(handle);
  const auto library = kernel ? kernel->library.lock() : nullptr;
  if (!library) return CUDA_ERROR_INVALID_HANDLE;
  std::shared_ptr<Module> module;
  if (const CUresult result = library->module_in(context, module)) return result;
  function = module->functions[kernel->index];
  return CUDA_SUCCESS;
}

CUresult find_function(CUfunction handle, FoundFunction& found) {
  const Current current;
  if (!current) return current.error();
  found.context = current.shared();
  return find_function(found.context, handle, found.function);
}

namespace api {
namespace {

CUresult load(CUmodule* out, const void* image, unsigned count, CUjit_option* options,
              void** values) {
  const Current current;
  if (!current) return current.error();
  if (out == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_unsafe_call()) return result;
  JitLog log(count, options, values);
  current->output.flush();
  std::shared_ptr<Code> code;
  std::string error;
  if (const CUresult result = load_code(image, code, error)) {
    log.error(error);
    return result;
  }
  log.describe(*code);
  std::shared_ptr<Module> module;
  if (const CUresult result = make_module(current.shared(), code, module)) return result;
  *out = as_handle<CUmodule>(module->id);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuModuleLoadData(CUmodule* out, const void* image) {
  return load(out, image, 0, nullptr, nullptr);
}
CUresult cuModuleLoadDataEx(CUmodule* out, const void* image, unsigned count, CUjit_option* options,
                            void** values) {
  return load(out, image, count, options, values);
}
CUresult cuModuleLoadFatBinary(CUmodule* out, const void* image) {
  return load(out, image, 0, nullptr, nullptr);
}

CUresult cuModuleLoad(CUmodule* out, const char* path) {
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<char> content;
  if (!read_image_file(path, content)) return CUDA_ERROR_FILE_NOT_FOUND;
  return load(out, content.data(), 0, nullptr, nullptr);
}

CUresult cuModuleUnload(CUmodule handle) {
  const Current current;
  if (!current) return current.error();
  const auto module = driver().modules.find(handle);
  if (!module || module->library != 0) return CUDA_ERROR_INVALID_HANDLE;
  synchronize(*module->context);
  destroy_module(module);
  return CUDA_SUCCESS;
}

// Lazy unless asked otherwise: with EAGER the runtime loads every registered image at first use.
CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (mode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *mode = driver().config.eager_loading ? CU_MODULE_EAGER_LOADING : CU_MODULE_LAZY_LOADING;
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* out, CUmodule handle, const char* name) {
  const Current current;
  if (!current) return current.error();
  if (out == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto module = driver().modules.find(handle);
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  const auto found = module->code->kernel_index.find(std::string_view(name));
  if (found == module->code->kernel_index.end()) return CUDA_ERROR_NOT_FOUND;
  const auto& function = module->functions[found->second];
  if (const CUresult result = prepare_kernel(*function)) return result;
  *out = as_handle<CUfunction>(function->id);
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunctionCount(unsigned* count, CUmodule handle) {
  const Current current;
  if (!current) return current.error();
  const auto module = driver().modules.find(handle);
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *count = static_cast<unsigned>(module->functions.size());
  return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction* out, unsigned count, CUmodule handle) {
  const Current current;
  if (!current) return current.error();
  const auto module = driver().modules.find(handle);
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < std::min<size_t>(count, module->functions.size()); ++i) {
    out[i] = as_handle<CUfunction>(module->functions[i]->id);
  }
  return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule handle,
                              const char* name) {
  const Current current;
  if (!current) return current.error();
  const auto module = driver().modules.find(handle);
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto found = module->code->variable_index.find(std::string_view(name));
  if (found == module->code->variable_index.end()) return CUDA_ERROR_NOT_FOUND;
  if (address != nullptr) *address = module->instance.addresses[found->second];
  if (bytes != nullptr) *bytes = module->code->variables[found->second].size;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu

// Code: what an image holds (shared by contexts), and a module: its life in one context.
#pragma once

#include <cuda.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "softgpu/ptx/engine.h"

namespace vgpu::softgpu {

struct Context;

struct Code {
  std::shared_ptr<ptx::Module> module;  // null: SASS, which is never executed
  std::vector<ptx::Kernel> kernels;
  std::vector<ptx::Variable> variables;
  std::map<std::string, size_t, std::less<>> kernel_index, variable_index;
  void index();
};

// Any image kind. The log names what is wrong.
CUresult load_code(const void* image, std::shared_ptr<Code>& code, std::string& log);
CUresult code_of_texts(std::span<const std::string_view> texts, std::shared_ptr<Code>& code,
                       std::string& log);
// The same, when nothing that the first `own` texts need may be left undefined: what a linker
// promises. Undefined names are CUDA_ERROR_UNKNOWN, as they are for CUDA's.
CUresult linked_code(std::span<const std::string_view> texts, size_t own,
                     std::shared_ptr<Code>& code, std::string& log);
// The PTX texts in an image; NO_BINARY_FOR_GPU when it has none.
CUresult ptx_of_image(const void* image, std::vector<std::vector<std::byte>>& texts,
                      std::string& log);
// The PTX texts in a host object file or an archive; parts without PTX are left out, with a line in
// the log.
CUresult ptx_of_library(std::span<const std::byte> file, std::vector<std::vector<std::byte>>& texts,
                        std::string& error);

// What cuFuncSetAttribute and cuKernelSetAttribute change.
struct FunctionSettings {
  std::atomic<int> max_dynamic_shared{-1};  // -1: the default
  std::atomic<int> carveout{-1};
  std::atomic<int> non_portable_cluster{0};
  std::atomic<int> cluster_must_be_set{0};
  std::atomic<int> cluster_width{0}, cluster_height{0}, cluster_depth{0};
  std::atomic<int> cluster_policy{0};
  std::atomic<int> cache{0};
};

struct Module;
struct Function {
  uint64_t id = 0;
  std::weak_ptr<Module> module;
  std::shared_ptr<Code> code;
  size_t index = 0;
  FunctionSettings settings;
  [[nodiscard]] const ptx::Kernel& kernel() const { return code->kernels[index]; }
};

struct Module {
  uint64_t id = 0;
  std::shared_ptr<Context> context;
  std::shared_ptr<Code> code;
  uint64_t library = 0;  // handle; 0: loaded by cuModuleLoad
  ptx::Instance instance;
  std::vector<std::shared_ptr<Function>> functions;
};
CUresult make_module(const std::shared_ptr<Context>& context, const std::shared_ptr<Code>& code,
                     std::shared_ptr<Module>& module);
void destroy_module(const std::shared_ptr<Module>& module);

struct Library;
struct KernelHandle {
  uint64_t id = 0;
  std::weak_ptr<Library> library;
  size_t index = 0;
  CUlibrary library_handle = nullptr;
};
struct Library {
  uint64_t id = 0;
  std::shared_ptr<Code> code;
  std::vector<std::shared_ptr<KernelHandle>> kernels;
  std::mutex mutex;                                     // guards modules
  std::map<uint64_t, std::shared_ptr<Module>> modules;  // by context handle
  CUresult module_in(const std::shared_ptr<Context>& context, std::shared_ptr<Module>& module);
};

// A CUfunction, or a CUkernel in the given context.
CUresult find_function(const std::shared_ptr<Context>& context, CUfunction handle,
                       std::shared_ptr<Function>& function);
// The same in the current context.
struct FoundFunction {
  std::shared_ptr<Function> function;
  std::shared_ptr<Context> context;
};
CUresult find_function(CUfunction handle, FoundFunction& found);
// The cluster that launches must have; zeros when any will do.
ptx::Dim3 required_cluster(const Function& function);
CUresult function_attribute(const Function& function, const Context& context,
                            CUfunction_attribute attribute, int* value);
CUresult set_function_attribute(Function& function, const Context& context,
                                CUfunction_attribute attribute, int value);

}  // namespace vgpu::softgpu

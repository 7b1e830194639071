#include "stub/code.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <fstream>

#include "image/image.h"
#include "stub/log.h"
#include "stub/process.h"
#include "wire/calls.h"

namespace vgpu::stub {
namespace {

constexpr uint32_t kMaxFunctions = 1u << 16;

// What travels: one PTX or ELF image, or the slimmed fat binaries of one module.
struct Outgoing {
  image::Kind kind = image::Kind::kUnknown;
  std::vector<std::vector<std::byte>> owned;
  std::vector<std::span<const std::byte>> parts;
};

CUresult slim_part(std::span<const std::byte> fatbin, int capability, image::Preference preference,
                   Outgoing& out) {
  std::string error;
  auto slimmed = image::slim(fatbin, capability, preference, error);
  if (!slimmed) {
    log(LogLevel::kWarning, "no image for compute capability %d.%d: %s", capability / 10,
        capability % 10, error.c_str());
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  out.owned.push_back(std::move(*slimmed));
  out.parts.emplace_back(out.owned.back());
  return CUDA_SUCCESS;
}

CUresult prepare(const void* pointer, const Device& device, Outgoing& out) {
  const image::Image found = image::identify(pointer);
  const image::Preference preference = process()->worker.images;
  out.kind = found.kind;
  switch (found.kind) {
    case image::Kind::kUnknown:
      return CUDA_ERROR_INVALID_IMAGE;
    case image::Kind::kPtx:
      out.parts.push_back(found.bytes);
      return CUDA_SUCCESS;
    case image::Kind::kElf: {
      if (preference == image::Preference::kPtxOnly) {
        log(LogLevel::kWarning,
            "an ELF image (cubin) was loaded, but the device executes PTX only: set "
            "CUPY_COMPILE_WITH_PTX=1 or emit PTX");
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
      }
      out.parts.push_back(found.bytes);
      return CUDA_SUCCESS;
    }
    default:
      break;
  }
  out.kind = image::Kind::kFatbin;
  out.owned.reserve(found.prelinked.size() + 1);
  CUresult result = slim_part(found.bytes, device.capability(), preference, out);
  for (const auto& part : found.prelinked) {
    const CUresult slimmed = slim_part(part, device.capability(), preference, out);
    // One module of several fat binaries: those without code for this device add nothing.
    if (slimmed == CUDA_SUCCESS) result = CUDA_SUCCESS;
  }
  return result;
}

void read_info(wire::Reader& in, Function& function) {
  function.name = in.text();
  const auto attributes = in.get<uint32_t>();
  for (uint32_t i = 0; i < attributes && in.ok(); ++i) {
    const auto value = in.get<int32_t>();
    if (i < kFunctionAttributes) function.attributes[i] = value;
  }
  function.attribute_count = static_cast<int>(std::min<uint32_t>(attributes, kFunctionAttributes));
  const auto parameters = in.get<uint32_t>();
  function.parameters.clear();
  function.parameter_bytes = 0;
  for (uint32_t i = 0; i < parameters && in.ok(); ++i) {
    Parameter parameter;
    parameter.offset = in.get<uint64_t>();
    parameter.size = in.get<uint64_t>();
    const uint64_t end = parameter.offset + parameter.size;
    if (end > UINT16_MAX) in.fail();
    function.parameter_bytes = std::max(function.parameter_bytes, static_cast<uint32_t>(end));
    function.parameters.push_back(parameter);
  }
}

HandleTable<Function>& table(bool kernel) {
  return kernel ? process()->kernels : process()->functions;
}

void prepare_function(Function& fresh, const Module& module, bool kernel) {
  fresh.context = kernel ? nullptr : module.context;
  fresh.module = module.id.load();
  fresh.kernel = kernel;
  fresh.loaded = false;
  fresh.attribute_count = 0;
  fresh.parameters.clear();
}

Function* fresh_function(const Module& module, bool kernel) {
  return table(kernel).create([&](Function& fresh) { prepare_function(fresh, module, kernel); });
}

}  // namespace

void JitOptions::Log::store(std::string_view text) const {
  if (buffer == nullptr || size == 0) return;
  const size_t length = std::min<size_t>(text.size(), size - 1);
  std::memcpy(buffer, text.data(), length);
  buffer[length] = '\0';
  if (filled != nullptr) *filled = reinterpret_cast<void*>(length);
}

CUresult JitOptions::read(unsigned count, const CUjit_option* options, void** values) {
  if (count != 0 && (options == nullptr || values == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < count; ++i) {
    const auto value = reinterpret_cast<uint64_t>(values[i]);
    switch (static_cast<int>(options[i])) {
      case CU_JIT_INFO_LOG_BUFFER:
        info_.buffer = static_cast<char*>(values[i]);
        break;
      case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
        info_.size = value & UINT32_MAX;
        info_.filled = &values[i];
        break;
      case CU_JIT_ERROR_LOG_BUFFER:
        error_.buffer = static_cast<char*>(values[i]);
        break;
      case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
        error_.size = value & UINT32_MAX;
        error_.filled = &values[i];
        break;
      case CU_JIT_LOG_VERBOSE:
        verbose_ = value != 0;
        break;
      case CU_JIT_WALL_TIME:
      case CU_JIT_THREADS_PER_BLOCK:
        values[i] = nullptr;
        break;
      case 18:  // CU_JIT_GLOBAL_SYMBOL_NAMES, ADDRESSES, COUNT: they need the client's addresses
      case 19:
      case 20:
        return unsupported("the JIT options CU_JIT_GLOBAL_SYMBOL_*");
      default:
        values_.emplace_back(static_cast<uint32_t>(options[i]), value);
        break;
    }
  }
  if (info_.buffer == nullptr) info_.size = 0;
  if (error_.buffer == nullptr) error_.size = 0;
  return CUDA_SUCCESS;
}

void JitOptions::put_counts(Call& call) const {
  call.put(count());
  call.put(info_bytes());
  call.put(error_bytes());
}

void JitOptions::put_values(Call& call) const {
  for (const auto& [option, value] : values_) {
    call.put(option);
    call.put(value);
  }
}

void JitOptions::take_logs(Call& call, CUresult result, const char* what) const {
  const std::string_view info = call.reply().text();
  const std::string_view error = call.reply().text();
  if (!call.reply().ok()) return;
  info_.store(info);
  error_.store(error);
  if (result != CUDA_SUCCESS && !error.empty()) {
    log(LogLevel::kWarning, "%s failed with error %d: %.*s", what, static_cast<int>(result),
        static_cast<int>(error.size()), error.data());
  }
}

CUresult load_code(Opcode opcode, Context* context, uint64_t id, const void* image,
                   const JitOptions& options) {
  Outgoing out;
  if (const CUresult result = prepare(image, *context->device, out); result != CUDA_SUCCESS) {
    return result;
  }
  Call call(opcode, context);
  if (!call.ok()) return call.result();
  std::vector<std::byte> all;
  for (const auto& part : out.parts) all.insert(all.end(), part.begin(), part.end());
  const bool inline_bytes = all.size() <= wire::kMaxInline;
  if (!inline_bytes) {
    call.has_bulk();
    call.put(process()->link()->send_bulk(all.data(), all.size()));
  }
  wire::LoadImage head{};
  head.kind = static_cast<uint32_t>(out.kind);
  head.parts = static_cast<uint32_t>(out.parts.size());
  head.options = options.count();
  head.info_bytes = options.info_bytes();
  head.error_bytes = options.error_bytes();
  head.log_verbose = options.verbose();
  call.put(id);
  call.put(head);
  for (const auto& part : out.parts) call.put(static_cast<uint64_t>(part.size()));
  options.put_values(call);
  if (inline_bytes) call.tail(all.data(), all.size());
  const CUresult result = call.wait();
  options.take_logs(call, result, call_name(opcode));
  return result;
}

CUresult load_file(const char* name, std::vector<char>& bytes) {
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::ifstream file(name, std::ios::binary);
  if (!file) return CUDA_ERROR_FILE_NOT_FOUND;
  bytes.assign(std::istreambuf_iterator<char>(file), {});
  bytes.push_back('\0');  // PTX text is found by its end
  return CUDA_SUCCESS;
}

CUresult find_function(Module& module, const char* name, bool kernel, uint64_t* id) {
  const std::lock_guard lock(module.mutex);
  const auto known = module.functions.find(name);
  if (known != module.functions.end()) {
    *id = known->second;
    return CUDA_SUCCESS;
  }
  Function* function = fresh_function(module, kernel);
  if (function == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  Call call(kernel ? Opcode::cuLibraryGetKernel : Opcode::cuModuleGetFunction);
  call.put(module.id.load());
  call.put(function->id.load());
  call.text(name);
  CUresult result = call.wait();
  if (result == CUDA_SUCCESS) {
    read_info(call.reply(), *function);
    function->loaded = true;
    if (!call.reply().ok()) result = CUDA_ERROR_UNKNOWN;
  }
  if (result != CUDA_SUCCESS) {
    table(kernel).destroy(function->id);
    return result;
  }
  *id = module.functions[name] = function->id.load();
  return CUDA_SUCCESS;
}

CUresult enumerate(Module& module, bool kernels) {
  const std::lock_guard lock(module.mutex);
  if (module.all_enumerated) return CUDA_SUCCESS;
  const Opcode opcode =
      kernels ? Opcode::cuLibraryEnumerateKernels : Opcode::cuModuleEnumerateFunctions;
  uint32_t total = 0;
  {
    Call count(opcode);
    count.put(module.id.load());
    count.put(uint64_t{0});
    count.put(uint32_t{0});
    if (const CUresult result = count.wait(); result != CUDA_SUCCESS) return result;
    total = std::min(count.get<uint32_t>(), kMaxFunctions);
  }
  const auto functions = table(kernels).create_range(
      total, [&](Function& fresh) { prepare_function(fresh, module, kernels); });
  if (functions.size() != total) return CUDA_ERROR_OUT_OF_MEMORY;
  module.all_enumerated = true;
  if (total == 0) return CUDA_SUCCESS;
  Call call(opcode);
  call.put(module.id.load());
  call.put(functions.front()->id.load());
  call.put(total);
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  static_cast<void>(call.get<uint32_t>());
  const uint32_t came = std::min(call.get<uint32_t>(), total);
  for (uint32_t i = 0; i < came; ++i) {
    read_info(call.reply(), *functions[i]);
    module.functions.emplace(functions[i]->name, functions[i]->id.load());
    module.enumerated.push_back(functions[i]->id.load());
  }
  return call.reply().ok() ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

CUresult find_global(Module& module, const char* name, bool library, Global* global) {
  const std::lock_guard lock(module.mutex);
  const auto known = module.globals.find(name);
  if (known != module.globals.end()) {
    *global = known->second;
    return CUDA_SUCCESS;
  }
  Call call(library ? Opcode::cuLibraryGetGlobal : Opcode::cuModuleGetGlobal_v2);
  call.put(module.id.load());
  call.text(name);
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  global->address = call.get<uint64_t>();
  global->size = call.get<uint64_t>();
  module.globals[name] = *global;
  if (global->size != 0) {
    Allocation allocation;
    allocation.base = global->address;
    allocation.size = global->size;
    allocation.kind = AllocationKind::kGlobal;
    allocation.context = call.context();
    allocation.device = call.context() == nullptr ? nullptr : call.context()->device;
    allocation.owner = module.id.load();
    process()->allocations.add(allocation);
  }
  return CUDA_SUCCESS;
}

void forget_code(Module& module, bool kernels) {
  process()->allocations.remove_owner(module.id.load());
  const std::lock_guard lock(module.mutex);
  for (const auto& [name, id] : module.functions) table(kernels).destroy(id);
  for (const uint64_t id : module.enumerated) table(kernels).destroy(id);
  module.functions.clear();
  module.globals.clear();
  module.enumerated.clear();
  module.modules.clear();
  module.all_enumerated = false;
}

}  // namespace vgpu::stub

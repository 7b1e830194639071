#include "softgpu/driver/launch.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/graph_conditional.h"
#include "softgpu/driver/log.h"
#include "softgpu/driver/near.h"
#include "softgpu/driver/occupancy.h"
#include "softgpu/driver/per_thread.h"

namespace vgpu::softgpu {
namespace {

uint64_t volume(const ptx::Dim3& d) { return uint64_t{d.x} * d.y * d.z; }

bool same(const ptx::Dim3& a, const ptx::Dim3& b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

// The launch's cluster, or the one that the kernel requires; zeros without one.
ptx::Dim3 cluster_of(const KernelOperation& kernel) {
  return volume(kernel.cluster) != 0 ? kernel.cluster : required_cluster(*kernel.function);
}

CUresult error_of(ptx::FaultKind kind) {
  switch (kind) {
    case ptx::FaultKind::kIllegalAddress:
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case ptx::FaultKind::kMisalignedAddress:
      return CUDA_ERROR_MISALIGNED_ADDRESS;
    case ptx::FaultKind::kAssert:
      return CUDA_ERROR_ASSERT;
    case ptx::FaultKind::kIllegalInstruction:
      return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case ptx::FaultKind::kNone:
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_LAUNCH_FAILED;
  }
}

// The heap of device malloc: first fit over one region. The region is there before the first
// launch, since running blocks keep the memory map that they started with; its pages cost nothing
// until used.
class DeviceHeap {
 public:
  static void prepare(Context& context) {
    const std::lock_guard lock(mutex());
    if (context.heap_size == 0) reserve(context);
  }
  static uint64_t allocate(Context& context, uint64_t size) {
    const std::lock_guard lock(mutex());
    if (context.heap_size == 0) return 0;
    context.heap_used = true;
    auto& blocks = blocks_of(context);
    size = (std::max<uint64_t>(size, 1) + 15) / 16 * 16;
    uint64_t at = context.heap_begin;
    for (const auto& [begin, length] : blocks) {
      if (begin - at >= size) break;
      at = begin + length;
    }
    if (context.heap_begin + context.heap_size - at < size) return 0;
    blocks[at] = size;
    return at;
  }
  static void release(Context& context, uint64_t address) {
    const std::lock_guard lock(mutex());
    blocks_of(context).erase(address);
  }

 private:
  static std::mutex& mutex() {
    static auto* one = new std::mutex;
    return *one;
  }
  static std::map<uint64_t, uint64_t>& blocks_of(const Context& context) {
    static auto* all = new std::map<uint64_t, std::map<uint64_t, uint64_t>>;
    return (*all)[context.heap_begin];
  }
  static void reserve(Context& context) {
    const size_t size = context.limits.at(CU_LIMIT_MALLOC_HEAP_SIZE);
    // Apart from other regions, so that an access beside one of them is not one to the heap.
    void* region = mmap(nullptr, size + 2 * kHeapGuard, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) return;
    context.heap_begin = reinterpret_cast<uint64_t>(region) + kHeapGuard;
    context.heap_size = size;
    context.device.map.add(context.heap_begin, size);
    blocks_of(context).clear();
  }
};

std::string explained(const ptx::Fault& fault, const Context& context) {
  std::string message = "kernel " + fault.message;
  if (fault.bytes != 0) {
    message += ": " + explain_address(context.device, fault.address, fault.bytes, fault.write);
  }
  return message;
}

// What VGPU_SOFT_CHECK found: an error of the program, though none that CUDA reports.
void report_finding(const ptx::Fault& finding, const Context& context) {
  log(LogLevel::kError, "%s", explained(finding, context).c_str());
}

}  // namespace

CUresult check_launch(const KernelOperation& kernel, const Device& device) {
  const ptx::Dim3 &grid = kernel.grid, &block = kernel.block;
  const ptx::Kernel& facts = kernel.function->kernel();
  if (volume(grid) == 0 || volume(block) == 0) return CUDA_ERROR_INVALID_VALUE;
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) return CUDA_ERROR_INVALID_VALUE;
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || volume(block) > kThreadsPerBlock) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (volume(block) > max_threads(facts)) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  const ptx::Dim3& required = facts.required_threads;
  if (required.x != 0 && (block.x != required.x || block.y != std::max(required.y, 1u) ||
                          block.z != std::max(required.z, 1u))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (kernel.shared_bytes > dynamic_shared_limit(*kernel.function)) return CUDA_ERROR_INVALID_VALUE;
  if (facts.static_shared_bytes + kernel.shared_bytes > kSharedLimit) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const ptx::Dim3 cluster = cluster_of(kernel);
  const ptx::Dim3 only = required_cluster(*kernel.function);
  if (volume(only) != 0 && !same(cluster, only)) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  if (volume(cluster) != 0) {
    const unsigned limit =
        kernel.function->settings.non_portable_cluster != 0 ? 2 * kMaxCluster : kMaxCluster;
    if (volume(cluster) > limit || grid.x % cluster.x != 0 || grid.y % cluster.y != 0 ||
        grid.z % cluster.z != 0) {
      return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    }
  }
  if (kernel.cooperative) {
    const uint64_t resident =
        uint64_t{blocks_per_sm(*kernel.function, static_cast<unsigned>(volume(block)),
                               kernel.shared_bytes)} *
        static_cast<unsigned>(device.sms);
    if (volume(grid) > resident) return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
  }
  return CUDA_SUCCESS;
}

CUresult pack_parameters(const Function& function, void** parameters, void** extra,
                         std::vector<std::byte>& packed) {
  const ptx::Kernel& kernel = function.kernel();
  packed.assign(kernel.parameter_bytes, std::byte{0});
  if (parameters != nullptr && extra != nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (extra != nullptr) {
    const void* buffer = nullptr;
    size_t size = 0;
    for (void** at = extra; *at != CU_LAUNCH_PARAM_END; at += 2) {
      if (*at == CU_LAUNCH_PARAM_BUFFER_POINTER) {
        buffer = at[1];
      } else if (*at == CU_LAUNCH_PARAM_BUFFER_SIZE) {
        size = *static_cast<const size_t*>(at[1]);
      } else {
        return CUDA_ERROR_INVALID_VALUE;
      }
    }
    if (size != 0 && buffer == nullptr) return CUDA_ERROR_INVALID_VALUE;
    // A buffer may be shorter than the layout by its tail padding, and longer by the caller's.
    if (size != 0) std::memcpy(packed.data(), buffer, std::min(size, packed.size()));
    return CUDA_SUCCESS;
  }
  if (kernel.parameters.empty()) return CUDA_SUCCESS;
  if (parameters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < kernel.parameters.size(); ++i) {
    const ptx::Parameter& parameter = kernel.parameters[i];
    if (parameters[i] == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (parameter.offset + parameter.size > packed.size()) return CUDA_ERROR_INVALID_IMAGE;
    std::memcpy(&packed[parameter.offset], parameters[i], parameter.size);
  }
  return CUDA_SUCCESS;
}

CUresult apply_attributes(KernelOperation& kernel, const CUlaunchAttribute* attributes,
                          unsigned count) {
  if (count != 0 && attributes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < count; ++i) {
    const CUlaunchAttributeValue& value = attributes[i].value;
    switch (attributes[i].id) {
      case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        kernel.cooperative = value.cooperative != 0;
        break;
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        kernel.cluster = {value.clusterDim.x, value.clusterDim.y, value.clusterDim.z};
        break;
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
      case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
      case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
        return unsupported_attribute(attributes[i].id);
      default:
        break;  // hints about caches, priority, domains and early starts: no effect here
    }
    kernel.attributes.push_back(attributes[i]);
  }
  return CUDA_SUCCESS;
}

CUresult unsupported_attribute(CUlaunchAttributeID attribute) {
  const std::string name = "launch attribute " + std::to_string(attribute);
  return unsupported(name.c_str());
}

CUresult prepare_kernel(const Code& code, size_t index) {
  if (driver().config.skip_sass || !code.module) return CUDA_SUCCESS;
  std::string error;
  if (code.module->prepare(index, error)) return CUDA_SUCCESS;
  log(LogLevel::kError, "kernel %s cannot be executed: %s", code.kernels[index].name.c_str(),
      error.c_str());
  return CUDA_ERROR_INVALID_PTX;
}

CUresult prepare_kernel(const Function& function) {
  return prepare_kernel(*function.code, function.index);
}

void run_kernel(const KernelOperation& kernel, Context& context) {
  Driver& state = driver();
  const auto module = kernel.function->module.lock();
  if (!module) return;
  const auto start = std::chrono::steady_clock::now();
  const std::string& name = kernel.function->kernel().name;
  if (state.config.skip_sass) {
    state.summary.add_skipped(name);
  } else {
    DeviceHeap::prepare(context);
    ptx::Launch launch;
    launch.instance = &module->instance;
    launch.kernel = kernel.function->index;
    launch.grid = kernel.grid;
    launch.block = kernel.block;
    launch.cluster = cluster_of(kernel);
    if (volume(launch.cluster) == 0) launch.cluster = {1, 1, 1};
    launch.dynamic_shared_bytes = kernel.shared_bytes;
    launch.parameters = kernel.parameters;
    launch.memory = &context.device.map;
    launch.cooperative = kernel.cooperative;
    launch.sm_count = static_cast<uint32_t>(context.device.sms);
    launch.blocks_at_once =
        launch.sm_count * blocks_per_sm(*kernel.function,
                                        static_cast<unsigned>(volume(kernel.block)),
                                        kernel.shared_bytes);
    launch.compute_capability = context.device.major * 10 + context.device.minor;
    launch.print = [&context](std::string text) { context.output.print(std::move(text)); };
    launch.complain = [&context](std::string text) { context.output.complain(std::move(text)); };
    launch.allocate = [&context](uint64_t size) { return DeviceHeap::allocate(context, size); };
    launch.image = find_image;
    launch.release = [&context](uint64_t address) { DeviceHeap::release(context, address); };
    launch.set_conditional = set_conditional;
    launch.check_uninitialised = state.config.check_uninitialised;
    launch.check_races = state.config.check_races;
    launch.shadow = state.shadow.get();
    launch.report = [&context](const ptx::Fault& finding) { report_finding(finding, context); };
    ptx::RunStatistics counts;
    const ptx::Fault fault = state.engine().run(launch, &counts);
    state.launches.fetch_add(1, std::memory_order_relaxed);
    state.instructions.fetch_add(counts.instructions, std::memory_order_relaxed);
    state.lane_operations.fetch_add(counts.lane_operations, std::memory_order_relaxed);
    if (fault) context.fail(error_of(fault.kind), explained(fault, context));
    if (state.config.summary) {
      state.summary.add(name, volume(kernel.grid), counts,
                        std::chrono::steady_clock::now() - start);
    }
  }
  if (state.config.kernel_time_us != 0) {
    std::this_thread::sleep_until(start + std::chrono::microseconds(state.config.kernel_time_us));
  }
}

namespace api {
namespace {

CUresult prepare_launch(KernelOperation& kernel, const Stream& stream, void** parameters,
                        void** extra, const CUlaunchAttribute* attributes,
                        unsigned attribute_count) {
  const auto module = kernel.function->module.lock();
  if (!module || module->context != stream.context) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult result = apply_attributes(kernel, attributes, attribute_count)) return result;
  if (const CUresult result = check_launch(kernel, stream.context->device)) return result;
  if (const CUresult result =
          pack_parameters(*kernel.function, parameters, extra, kernel.parameters)) {
    return result;
  }
  return prepare_kernel(*kernel.function);
}

CUresult launch(CUfunction handle, KernelOperation kernel, CUstream stream_handle,
                void** parameters, void** extra, const CUlaunchAttribute* attributes,
                unsigned attribute_count) {
  const Current current;
  if (!current) return current.error();
  const auto stream = find_stream(current.shared(), stream_handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult result = find_function(stream->context, handle, kernel.function)) {
    return result;
  }
  if (const CUresult result =
          prepare_launch(kernel, *stream, parameters, extra, attributes, attribute_count)) {
    log(LogLevel::kInfo, "launch of %s refused with %d: grid %u %u %u, block %u %u %u, shared %u",
        kernel.function->kernel().name.c_str(), result, kernel.grid.x, kernel.grid.y, kernel.grid.z,
        kernel.block.x, kernel.block.y, kernel.block.z, kernel.shared_bytes);
    return result;
  }
  stream->context->output.flush();
  return issue(stream, std::move(kernel));
}

}  // namespace

CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                        unsigned by, unsigned bz, unsigned shared, CUstream stream,
                        void** parameters, void** extra) {
  KernelOperation kernel;
  kernel.grid = {gx, gy, gz};
  kernel.block = {bx, by, bz};
  kernel.shared_bytes = shared;
  return launch(f, std::move(kernel), stream, parameters, extra, nullptr, 0);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction f, void** parameters,
                          void** extra) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  KernelOperation kernel;
  kernel.grid = {config->gridDimX, config->gridDimY, config->gridDimZ};
  kernel.block = {config->blockDimX, config->blockDimY, config->blockDimZ};
  kernel.shared_bytes = config->sharedMemBytes;
  return launch(f, std::move(kernel), config->hStream, parameters, extra, config->attrs,
                config->numAttrs);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                   unsigned by, unsigned bz, unsigned shared, CUstream stream,
                                   void** parameters) {
  KernelOperation kernel;
  kernel.grid = {gx, gy, gz};
  kernel.block = {bx, by, bz};
  kernel.shared_bytes = shared;
  kernel.cooperative = true;
  return launch(f, std::move(kernel), stream, parameters, nullptr, nullptr, 0);
}

}  // namespace api
}  // namespace vgpu::softgpu

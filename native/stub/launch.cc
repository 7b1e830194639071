// Kernel launches: checked and packed here, appended, not waited for.
#include "stub/launch.h"

#include <cstring>

#include "generated/stub_api.h"
#include "stub/process.h"
#include "stub/shadow.h"
#include "stub/statistics.h"
#include "wire/calls.h"

namespace vgpu::stub {
namespace {

bool within(uint32_t value, int limit) {
  return value >= 1 && (limit <= 0 || value <= static_cast<uint32_t>(limit));
}

// The buffer and size of `extra`. False for a malformed list.
bool read_extra(void** extra, const void** buffer, size_t* size) {
  for (int i = 0; i < 8 && extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
    if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER) {
      *buffer = extra[i + 1];
    } else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[i + 1] != nullptr) {
      std::memcpy(size, extra[i + 1], sizeof *size);
    } else {
      return false;
    }
  }
  return *buffer != nullptr || *size == 0;
}

constexpr size_t kMaxParameterBytes = 32764;

// Negative where the driver did not say.
int attribute(const Function& function, int which) {
  return which < function.attribute_count
             ? function.attributes[which].load(std::memory_order_relaxed)
             : -1;
}

constexpr uint64_t kPortableCluster = 8;  // blocks; twice as many when the function allows it

// A cluster of the launch, or of the kernel, must divide the grid.
CUresult check_cluster(const Function& function, const LaunchShape& shape) {
  uint64_t blocks = 1;
  bool any = false;
  for (int i = 0; i < 3; ++i) {
    const int own = attribute(function, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH + i);
    const auto required = static_cast<uint32_t>(own > 0 ? own : 0);
    const uint32_t given = shape.cluster[i];
    if (given != 0 && required != 0 && given != required) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    const uint32_t side = given != 0 ? given : required;
    if (side == 0) continue;
    any = true;
    blocks *= side;
    if (shape.grid[i] % side != 0) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  }
  const bool wide = attribute(function, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED) > 0;
  const bool fits = blocks <= (wide ? 2 * kPortableCluster : kPortableCluster);
  return !any || fits ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CLUSTER_SIZE;
}

void find_cluster(const CUlaunchConfig& config, LaunchShape& shape) {
  for (unsigned i = 0; i < config.numAttrs && config.attrs != nullptr; ++i) {
    if (config.attrs[i].id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) continue;
    const auto& side = config.attrs[i].value.clusterDim;
    shape.cluster[0] = side.x;
    shape.cluster[1] = side.y;
    shape.cluster[2] = side.z;
  }
}

}  // namespace

CUresult check_shape(const Device& device, const Function& function, const LaunchShape& shape) {
  const auto& has = device.attributes;
  for (int i = 0; i < 3; ++i) {
    if (!within(shape.grid[i], has[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + i])) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    if (!within(shape.block[i], has[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i])) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  const uint64_t threads = uint64_t{shape.block[0]} * shape.block[1] * shape.block[2];
  const int most = has[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK];
  if (most > 0 && threads > static_cast<uint64_t>(most)) return CUDA_ERROR_INVALID_VALUE;
  const int own = attribute(function, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
  if (own > 0 && threads > static_cast<uint64_t>(own)) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  const int dynamic = attribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
  if (dynamic >= 0 && shape.shared_bytes > static_cast<uint32_t>(dynamic)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return check_cluster(function, shape);
}

void put_shape(Call& call, uint64_t function, const LaunchShape& shape) {
  wire::LaunchHeader header{};
  header.function = function;
  std::memcpy(header.grid, shape.grid, sizeof header.grid);
  std::memcpy(header.block, shape.block, sizeof header.block);
  header.shared_bytes = shape.shared_bytes;
  call.raw(&header, wire::kLaunchHeaderBytes);
}

CUresult put_parameters(Call& call, const Function& function, void** kernel_params, void** extra) {
  if (extra != nullptr) {
    if (kernel_params != nullptr) return CUDA_ERROR_INVALID_VALUE;
    const void* buffer = nullptr;
    size_t size = 0;
    if (!read_extra(extra, &buffer, &size) || size > kMaxParameterBytes) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    call.put(static_cast<uint32_t>(size));
    call.raw(buffer, size);
    return CUDA_SUCCESS;
  }
  if (kernel_params == nullptr && !function.parameters.empty()) return CUDA_ERROR_INVALID_VALUE;
  if (function.parameter_bytes > kMaxParameterBytes) return CUDA_ERROR_INVALID_VALUE;
  std::byte packed[4096];
  std::vector<std::byte> large;
  std::byte* at = packed;
  if (function.parameter_bytes > sizeof packed) {
    large.resize(function.parameter_bytes);
    at = large.data();
  } else {
    std::memset(packed, 0, function.parameter_bytes);
  }
  for (size_t i = 0; i < function.parameters.size(); ++i) {
    if (kernel_params[i] == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const auto& [offset, size] = function.parameters[i];
    std::memcpy(at + offset, kernel_params[i], size);
  }
  call.put(function.parameter_bytes);
  call.raw(at, function.parameter_bytes);
  return CUDA_SUCCESS;
}

CUresult put_attributes(Call& call, const CUlaunchAttribute* attributes, unsigned count) {
  static_assert(sizeof(CUlaunchAttributeValue) == 64);
  constexpr unsigned kMaxAttributes = 64;
  if (count > kMaxAttributes || (count != 0 && attributes == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  call.put(uint32_t{count});
  for (unsigned i = 0; i < count; ++i) {
    const auto& [id, pad, value] = attributes[i];
    if (id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT ||
        id == CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT) {
      // The handle in front of the value is the event's id already.
      call.handle(HandleKind::kEvent, value.programmaticEvent.event);
    }
    if (id == CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE) {
      return unsupported("launch attribute DEVICE_UPDATABLE_KERNEL_NODE");
    }
    call.put(static_cast<uint32_t>(id));
    call.put(uint32_t{0});
    call.raw(&value, sizeof value);
  }
  return call.result();
}

CUresult load_function(Function& function) {
  if (function.loaded.load(std::memory_order_relaxed)) [[likely]] {
    return CUDA_SUCCESS;
  }
  const auto& served = process()->worker.served;
  if (served[static_cast<size_t>(call_info(Opcode::cuFuncLoad) - kCalls)]) {
    Call call(Opcode::cuFuncLoad);
    call.put(function.id.load());
    if (const CUresult result = call.wait(); result != CUDA_SUCCESS) return result;
  }
  function.loaded = true;
  return CUDA_SUCCESS;
}

namespace {

bool is_cooperative(const CUlaunchAttribute* attributes, unsigned count) {
  bool cooperative = false;
  for (unsigned i = 0; attributes != nullptr && i < count; ++i) {
    if (attributes[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) {
      cooperative = attributes[i].value.cooperative != 0;
    }
  }
  return cooperative;
}

// All blocks of a cooperative launch must be resident at once; the answer is remembered per shape.
CUresult check_resident(const Device& device, CUfunction handle, const LaunchShape& shape) {
  int blocks = 0;
  const auto threads = static_cast<int>(shape.block[0] * shape.block[1] * shape.block[2]);
  const CUresult known = api::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
      &blocks, handle, threads, shape.shared_bytes, CU_OCCUPANCY_DEFAULT);
  if (known != CUDA_SUCCESS) return known;
  const uint64_t wanted = uint64_t{shape.grid[0]} * shape.grid[1] * shape.grid[2];
  const int units = device.attributes[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT];
  return wanted > static_cast<uint64_t>(blocks) * static_cast<uint64_t>(units)
             ? CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE
             : CUDA_SUCCESS;
}

// Everything in front of the payload that the three launch calls share.
CUresult begin_launch(Call& call, CUfunction handle, CUstream stream, const LaunchShape& shape,
                      bool cooperative, Function** function) {
  call.stream(stream);
  if (!call.ok()) return call.result();
  *function = process()->function(handle);
  if (*function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  Context* owner = (*function)->context;
  Context* current = this_thread().current();
  if (call.context() != current || (owner != nullptr && owner != current)) {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  CUresult result = check_shape(*current->device, **function, shape);
  if (result == CUDA_SUCCESS && cooperative) {
    result = check_resident(*current->device, handle, shape);
  }
  if (result == CUDA_SUCCESS) result = load_function(**function);
  return result == CUDA_SUCCESS ? push_shadows(call.ordered_by()) : result;
}

CUresult finish_launch(Call& call) {
  counters().launches.fetch_add(1, std::memory_order_relaxed);
  return call.send();
}

CUresult launch(Opcode opcode, CUfunction handle, const LaunchShape& shape, CUstream stream,
                void** kernel_params, void** extra) {
  Call call(opcode);
  Function* function = nullptr;
  const bool cooperative = opcode == Opcode::cuLaunchCooperativeKernel;
  CUresult result = begin_launch(call, handle, stream, shape, cooperative, &function);
  if (result != CUDA_SUCCESS) return result;
  put_shape(call, as_id(handle), shape);
  result = put_parameters(call, *function, kernel_params, extra);
  return result == CUDA_SUCCESS ? finish_launch(call) : result;
}

}  // namespace
}  // namespace vgpu::stub

namespace vgpu::stub::api {

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                        unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                        unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                        void** kernelParams, void** extra) {
  const LaunchShape shape{
      {gridDimX, gridDimY, gridDimZ}, {blockDimX, blockDimY, blockDimZ}, sharedMemBytes};
  return launch(Opcode::cuLaunchKernel, f, shape, hStream, kernelParams, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                   unsigned int gridDimZ, unsigned int blockDimX,
                                   unsigned int blockDimY, unsigned int blockDimZ,
                                   unsigned int sharedMemBytes, CUstream hStream,
                                   void** kernelParams) {
  const LaunchShape shape{
      {gridDimX, gridDimY, gridDimZ}, {blockDimX, blockDimY, blockDimZ}, sharedMemBytes};
  return launch(Opcode::cuLaunchCooperativeKernel, f, shape, hStream, kernelParams, nullptr);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction f, void** kernelParams,
                          void** extra) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  LaunchShape shape{{config->gridDimX, config->gridDimY, config->gridDimZ},
                    {config->blockDimX, config->blockDimY, config->blockDimZ},
                    config->sharedMemBytes};
  find_cluster(*config, shape);
  if (config->numAttrs == 0) {
    return launch(Opcode::cuLaunchKernel, f, shape, config->hStream, kernelParams, extra);
  }
  Call call(Opcode::cuLaunchKernelEx);
  Function* function = nullptr;
  const bool cooperative = is_cooperative(config->attrs, config->numAttrs);
  CUresult result = begin_launch(call, f, config->hStream, shape, cooperative, &function);
  if (result != CUDA_SUCCESS) return result;
  put_shape(call, as_id(f), shape);
  result = put_attributes(call, config->attrs, config->numAttrs);
  if (result == CUDA_SUCCESS) result = put_parameters(call, *function, kernelParams, extra);
  return result == CUDA_SUCCESS ? finish_launch(call) : result;
}

}  // namespace vgpu::stub::api

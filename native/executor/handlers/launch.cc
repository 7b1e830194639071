// Kernel launches and what is asked and set about kernels. Parameters arrive packed and go to the
// driver as a buffer, which it copies before it returns.
#include <cstring>

#include "executor/handlers/support.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

constexpr uint32_t kMostParameterBytes = 32764;
constexpr uint32_t kMostAttributes = 64;

// Attribute values that hold a handle; an unknown one passes as it is, since the driver checks it.
bool translate(Session& session, CUlaunchAttribute& attribute) {
  switch (attribute.id) {
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
      attribute.value.programmaticEvent.event = session.resolve<CUevent>(
          reinterpret_cast<uint64_t>(attribute.value.programmaticEvent.event));
      return true;
    case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
      attribute.value.launchCompletionEvent.event = session.resolve<CUevent>(
          reinterpret_cast<uint64_t>(attribute.value.launchCompletionEvent.event));
      return true;
    case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:  // hands out a handle
      return false;
    default:
      return true;
  }
}

}  // namespace

bool LaunchRequest::read_header(Session& session, wire::Reader& in) {
  wire::LaunchHeader header{};
  if (const auto bytes = in.take(wire::kLaunchHeaderBytes); in.ok()) {
    std::memcpy(&header, bytes.data(), wire::kLaunchHeaderBytes);
  }
  function = session.resolve<CUfunction>(header.function);
  config.gridDimX = header.grid[0];
  config.gridDimY = header.grid[1];
  config.gridDimZ = header.grid[2];
  config.blockDimX = header.block[0];
  config.blockDimY = header.block[1];
  config.blockDimZ = header.block[2];
  config.sharedMemBytes = header.shared_bytes;
  return in.ok();
}

bool LaunchRequest::read_parameters(wire::Reader& in) {
  const auto bytes = in.blob();
  if (!in.ok() || bytes.size() > kMostParameterBytes) return false;
  parameter_bytes_ = bytes.size();
  extra_[0] = CU_LAUNCH_PARAM_BUFFER_POINTER;
  extra_[1] = const_cast<std::byte*>(bytes.data());
  extra_[2] = CU_LAUNCH_PARAM_BUFFER_SIZE;
  extra_[3] = &parameter_bytes_;
  extra_[4] = CU_LAUNCH_PARAM_END;
  return true;
}

bool LaunchRequest::read_attributes(Session& session, wire::Reader& in) {
  const auto count = in.get<uint32_t>();
  if (count > kMostAttributes) return false;
  for (uint32_t i = 0; i < count; ++i) {
    CUlaunchAttribute attribute{};
    static_assert(sizeof(attribute.value) == 64);
    attribute.id = static_cast<CUlaunchAttributeID>(in.get<uint32_t>());
    in.get<uint32_t>();
    const auto value = in.take(sizeof(attribute.value));
    if (!in.ok()) return false;
    std::memcpy(&attribute.value, value.data(), value.size());
    if (!translate(session, attribute)) return false;
    attributes_.push_back(attribute);
  }
  config.attrs = attributes_.data();
  config.numAttrs = count;
  return true;
}

bool LaunchRequest::read(Session& session, const Command& command, wire::Reader& in, Form form) {
  if (!read_header(session, in)) return false;
  config.hStream = session.stream(command.header.stream);
  if (form != Form::kPlain && !read_attributes(session, in)) return false;
  return form == Form::kNoParameters || read_parameters(in);
}

CUresult cuLaunchKernel(Session& session, const Command& command, wire::Reader& in, wire::Writer&) {
  LaunchRequest launch;
  if (!launch.read(session, command, in, LaunchRequest::Form::kPlain)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const CUlaunchConfig& config = launch.config;
  return session.driver().cuLaunchKernel(launch.function, config.gridDimX, config.gridDimY,
                                         config.gridDimZ, config.blockDimX, config.blockDimY,
                                         config.blockDimZ, config.sharedMemBytes, config.hStream,
                                         nullptr, launch.extra());
}

CUresult cuLaunchKernelEx(Session& session, const Command& command, wire::Reader& in,
                          wire::Writer&) {
  LaunchRequest launch;
  if (!launch.read(session, command, in, LaunchRequest::Form::kExtended)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuLaunchKernelEx == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuLaunchKernelEx(&launch.config, launch.function, nullptr,
                                           launch.extra());
}

// The driver's own call of this name takes no packed parameters; its extended form does.
CUresult cuLaunchCooperativeKernel(Session& session, const Command& command, wire::Reader& in,
                                   wire::Writer&) {
  LaunchRequest launch;
  if (!launch.read(session, command, in, LaunchRequest::Form::kPlain)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuLaunchKernelEx == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUlaunchAttribute cooperative{};
  cooperative.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  cooperative.value.cooperative = 1;
  launch.config.attrs = &cooperative;
  launch.config.numAttrs = 1;
  return session.driver().cuLaunchKernelEx(&launch.config, launch.function, nullptr,
                                           launch.extra());
}

CUresult cuFuncSetAttribute(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto function = session.resolve<CUfunction>(in.get<uint64_t>());
  const auto attribute = static_cast<CUfunction_attribute>(in.get<uint32_t>());
  const auto value = in.get<int32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  return session.driver().cuFuncSetAttribute(function, attribute, value);
}

CUresult cuFuncSetCacheConfig(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto function = session.resolve<CUfunction>(in.get<uint64_t>());
  const auto config = static_cast<CUfunc_cache>(in.get<uint32_t>());
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuFuncSetCacheConfig == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuFuncSetCacheConfig(function, config);
}

CUresult cuFuncLoad(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto function = session.resolve<CUfunction>(in.get<uint64_t>());
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuFuncLoad == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuFuncLoad(function);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(Session& session, const Command&,
                                                              wire::Reader& in, wire::Writer& out) {
  const auto function = session.resolve<CUfunction>(in.get<uint64_t>());
  const auto block = in.get<int32_t>();
  const auto shared = in.get<uint64_t>();
  const auto flags = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  int blocks = 0;
  const CUresult result = call(&blocks, function, block, shared, flags);
  out.put(static_cast<int32_t>(blocks));
  return result;
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(Session& session, const Command&, wire::Reader& in,
                                                 wire::Writer& out) {
  const auto function = session.resolve<CUfunction>(in.get<uint64_t>());
  const auto blocks = in.get<int32_t>();
  const auto block_size = in.get<int32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuOccupancyAvailableDynamicSMemPerBlock;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  size_t bytes = 0;
  const CUresult result = call(&bytes, function, blocks, block_size);
  out.put(static_cast<uint64_t>(bytes));
  return result;
}

CUresult cuOccupancyMaxPotentialClusterSize(Session& session, const Command& command,
                                            wire::Reader& in, wire::Writer& out) {
  LaunchRequest launch;
  if (!launch.read(session, command, in, LaunchRequest::Form::kNoParameters)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuOccupancyMaxPotentialClusterSize;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  int size = 0;
  const CUresult result = call(&size, launch.function, &launch.config);
  out.put(static_cast<int32_t>(size));
  return result;
}

CUresult cuOccupancyMaxActiveClusters(Session& session, const Command& command, wire::Reader& in,
                                      wire::Writer& out) {
  LaunchRequest launch;
  if (!launch.read(session, command, in, LaunchRequest::Form::kNoParameters)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuOccupancyMaxActiveClusters;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  int clusters = 0;
  const CUresult result = call(&clusters, launch.function, &launch.config);
  out.put(static_cast<int32_t>(clusters));
  return result;
}

}  // namespace vgpu::executor::handlers

// The software GPU under several host threads, for the sanitizers (`make check-sanitizers`): what
// races, leaks or reads freed memory shows there, not in the values checked here.
#include <cuda.h>
#include <dlfcn.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>
#include <vector>

#include "check.h"

namespace {

constexpr const char* kPtx = R"(
.version 6.0
.target sm_50
.address_size 64
.visible .entry fill(.param .u64 out, .param .u32 value)
{
  .reg .b32 %r<6>; .reg .b64 %rd<4>;
  mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3;
  ld.param.u64 %rd1, [out];
  mul.wide.u32 %rd2, %r4, 4;
  add.u64 %rd3, %rd1, %rd2;
  ld.param.u32 %r5, [value];
  st.global.u32 [%rd3], %r5;
  ret;
}
.visible .entry count(.param .u64 counter)
{
  .reg .b32 %r<2>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [counter];
  atom.global.add.u32 %r1, [%rd1], 1;
  ret;
}
.visible .entry wild()
{
  .reg .b64 %rd<2>;
  mov.u64 %rd1, 4096;
  st.global.u64 [%rd1], %rd1;
  ret;
}
)";

constexpr unsigned kWords = 1024;
constexpr unsigned kBlock = 128;

template <typename Function>
Function* symbol(const char* name) {
  static void* library = [] {
    const auto tree = std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path();
    setenv("VGPU_SOFT_DEVICES", "2", 1);
    setenv("VGPU_SOFT_MEMORY", "256Mi", 1);
    setenv("VGPU_LOG", "error", 1);
    return dlopen((tree / "vgpu/native/softgpu/libcuda.so.1").c_str(), RTLD_NOW | RTLD_LOCAL);
  }();
  void* found = library == nullptr ? nullptr : dlsym(library, name);
  if (found == nullptr) {
    std::fprintf(stderr, "%s: %s\n", name, dlerror());
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}
#define CUDA(name) (*symbol<decltype(name)>(#name))
#define OK(call) CHECK_EQ(static_cast<int>(call), 0)

CUcontext primary(int ordinal = 0) {
  OK(CUDA(cuInit)(0));
  CUcontext context = nullptr;
  OK(CUDA(cuDevicePrimaryCtxRetain)(&context, ordinal));
  OK(CUDA(cuCtxSetCurrent)(context));
  return context;
}

struct Kernels {
  CUmodule module = nullptr;
  CUfunction fill = nullptr, count = nullptr, wild = nullptr;
  Kernels() {
    OK(CUDA(cuModuleLoadData)(&module, kPtx));
    OK(CUDA(cuModuleGetFunction)(&fill, module, "fill"));
    OK(CUDA(cuModuleGetFunction)(&count, module, "count"));
    OK(CUDA(cuModuleGetFunction)(&wild, module, "wild"));
  }
};

CUresult launch(CUfunction function, CUstream stream, std::vector<void*> parameters) {
  return CUDA(cuLaunchKernel)(function, kWords / kBlock, 1, 1, kBlock, 1, 1, 0, stream,
                              parameters.data(), nullptr);
}

void check_words(CUdeviceptr memory, uint32_t value) {
  std::vector<uint32_t> words(kWords);
  OK(CUDA(cuMemcpyDtoH_v2)(words.data(), memory, words.size() * 4));
  for (const uint32_t word : words) {
    if (word == value) continue;
    CHECK_EQ(word, value);
    return;
  }
}

void in_threads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body, i);
  for (auto& thread : threads) thread.join();
}

TEST(threads_with_contexts_of_their_own) {
  OK(CUDA(cuInit)(0));
  in_threads(3, [](int number) {
    CUcontext context = nullptr;
    OK(CUDA(cuCtxCreate_v2)(&context, 0, number % 2));
    const Kernels kernels;
    CUdeviceptr memory = 0;
    OK(CUDA(cuMemAlloc_v2)(&memory, kWords * 4));
    for (uint32_t round = 0; round < 5; ++round) {
      uint32_t value = static_cast<uint32_t>(number) << 8 | round;
      OK(launch(kernels.fill, CU_STREAM_PER_THREAD, {&memory, &value}));
      OK(CUDA(cuStreamSynchronize)(CU_STREAM_PER_THREAD));
      check_words(memory, value);
    }
    OK(CUDA(cuCtxDestroy_v2)(context));
  });
}

TEST(allocation_and_work_on_many_streams) {
  const CUcontext context = primary();
  const Kernels kernels;
  in_threads(3, [&](int number) {
    OK(CUDA(cuCtxSetCurrent)(context));
    CUstream streams[2] = {};
    for (auto& stream : streams) OK(CUDA(cuStreamCreate)(&stream, CU_STREAM_NON_BLOCKING));
    CUevent event = nullptr;
    OK(CUDA(cuEventCreate)(&event, CU_EVENT_DISABLE_TIMING));
    for (uint32_t round = 0; round < 10; ++round) {
      CUdeviceptr memory = 0;
      uint32_t value = static_cast<uint32_t>(number) << 8 | round;
      OK(CUDA(cuMemAllocAsync)(&memory, kWords * 4, streams[0]));
      OK(launch(kernels.fill, streams[0], {&memory, &value}));
      OK(CUDA(cuEventRecord)(event, streams[0]));
      OK(CUDA(cuStreamWaitEvent)(streams[1], event, 0));
      CUdeviceptr copy = 0;
      OK(CUDA(cuMemAlloc_v2)(&copy, kWords * 4));
      OK(CUDA(cuMemcpyDtoDAsync_v2)(copy, memory, kWords * 4, streams[1]));
      OK(CUDA(cuMemFreeAsync)(memory, streams[1]));
      OK(CUDA(cuStreamSynchronize)(streams[1]));
      check_words(copy, value);
      OK(CUDA(cuMemFree_v2)(copy));
    }
    for (const auto stream : streams) OK(CUDA(cuStreamDestroy_v2)(stream));
    OK(CUDA(cuEventDestroy_v2)(event));
  });
  OK(CUDA(cuModuleUnload)(kernels.module));
  OK(CUDA(cuDevicePrimaryCtxRelease_v2)(0));
}

TEST(one_counter_for_all_threads_and_streams) {
  const CUcontext context = primary();
  const Kernels kernels;
  CUdeviceptr counter = 0;
  OK(CUDA(cuMemAlloc_v2)(&counter, 4));
  OK(CUDA(cuMemsetD32_v2)(counter, 0, 1));
  in_threads(3, [&](int) {
    OK(CUDA(cuCtxSetCurrent)(context));
    for (int round = 0; round < 4; ++round) {
      OK(launch(kernels.count, CU_STREAM_PER_THREAD, {&counter}));
      OK(launch(kernels.count, CU_STREAM_LEGACY, {&counter}));
    }
    OK(CUDA(cuCtxSynchronize)());
  });
  uint32_t total = 0;
  OK(CUDA(cuMemcpyDtoH_v2)(&total, counter, 4));
  CHECK_EQ(total, 3u * 4 * 2 * kWords);
  OK(CUDA(cuDevicePrimaryCtxRelease_v2)(0));
}

TEST(modules_and_mappings_come_and_go) {
  const CUcontext context = primary();
  in_threads(2, [&](int number) {
    OK(CUDA(cuCtxSetCurrent)(context));
    CUmemAllocationProp properties{};
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    const CUmemAccessDesc access{properties.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    constexpr size_t kSize = size_t{2} << 20;
    for (uint32_t round = 0; round < 4; ++round) {
      const Kernels kernels;
      CUmemGenericAllocationHandle handle = 0;
      CUdeviceptr memory = 0;
      OK(CUDA(cuMemCreate)(&handle, kSize, &properties, 0));
      OK(CUDA(cuMemAddressReserve)(&memory, kSize, 0, 0, 0));
      OK(CUDA(cuMemMap)(memory, kSize, 0, handle, 0));
      OK(CUDA(cuMemRelease)(handle));
      OK(CUDA(cuMemSetAccess)(memory, kSize, &access, 1));
      uint32_t value = static_cast<uint32_t>(number) << 8 | round;
      OK(launch(kernels.fill, CU_STREAM_PER_THREAD, {&memory, &value}));
      OK(CUDA(cuStreamSynchronize)(CU_STREAM_PER_THREAD));
      check_words(memory, value);
      OK(CUDA(cuMemUnmap)(memory, kSize));
      OK(CUDA(cuMemAddressFree)(memory, kSize));
      OK(CUDA(cuModuleUnload)(kernels.module));
    }
  });
  OK(CUDA(cuDevicePrimaryCtxRelease_v2)(0));
}

TEST(a_fault_while_others_work) {
  OK(CUDA(cuInit)(0));
  in_threads(2, [](int number) {
    CUcontext context = nullptr;
    OK(CUDA(cuCtxCreate_v2)(&context, 0, 0));
    const Kernels kernels;
    CUdeviceptr memory = 0;
    OK(CUDA(cuMemAlloc_v2)(&memory, kWords * 4));
    uint32_t value = 7;
    OK(launch(kernels.fill, nullptr, {&memory, &value}));
    if (number == 0) {
      OK(launch(kernels.wild, nullptr, {}));
      CHECK_EQ(CUDA(cuCtxSynchronize)(), CUDA_ERROR_ILLEGAL_ADDRESS);
    } else {
      OK(CUDA(cuCtxSynchronize)());
      check_words(memory, value);
    }
    OK(CUDA(cuCtxDestroy_v2)(context));
  });
}

}  // namespace

// A C++ program against the plain driver API: loads PTX, adds two vectors, checks the sum.
// Expect "device: ..." and "1048576 sums are right".
//
//   g++ -std=c++20 -I "$CUDA_INCLUDE" examples/driver_vector_add.cpp -o vector_add -lcuda -L
//   "$(vgpu libdir)" vgpu run -- ./vector_add
#include <cuda.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr const char* kPtx = R"(
.version 7.0
.target sm_52
.address_size 64
.visible .entry vector_add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
{
  .reg .pred %p;
  .reg .f32 %f<4>;
  .reg .b32 %r<6>;
  .reg .b64 %rd<8>;
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.s32 %r4, %r1, %r2, %r3;
  ld.param.u32 %r5, [n];
  setp.ge.u32 %p, %r4, %r5;
  @%p bra done;
  ld.param.u64 %rd1, [a];
  ld.param.u64 %rd2, [b];
  ld.param.u64 %rd3, [c];
  mul.wide.u32 %rd4, %r4, 4;
  add.s64 %rd5, %rd1, %rd4;
  add.s64 %rd6, %rd2, %rd4;
  add.s64 %rd7, %rd3, %rd4;
  ld.global.f32 %f1, [%rd5];
  ld.global.f32 %f2, [%rd6];
  add.f32 %f3, %f1, %f2;
  st.global.f32 [%rd7], %f3;
done:
  ret;
}
)";

void check(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  const char* text = nullptr;
  cuGetErrorString(result, &text);
  std::fprintf(stderr, "%s: %s\n", what, text != nullptr ? text : "unknown error");
  std::exit(1);
}
#define CHECKED(call) check((call), #call)

}  // namespace

int main() {
  CHECKED(cuInit(0));
  CUdevice device = 0;
  CHECKED(cuDeviceGet(&device, 0));
  char name[256];
  CHECKED(cuDeviceGetName(name, sizeof name, device));
  std::printf("device: %s\n", name);
  CUcontext context = nullptr;
  CHECKED(cuDevicePrimaryCtxRetain(&context, device));
  CHECKED(cuCtxSetCurrent(context));
  CUmodule module = nullptr;
  CUfunction kernel = nullptr;
  CHECKED(cuModuleLoadData(&module, kPtx));
  CHECKED(cuModuleGetFunction(&kernel, module, "vector_add"));

  unsigned n = 1u << 20;
  std::vector<float> a(n), b(n), c(n);
  for (unsigned i = 0; i < n; ++i) {
    a[i] = static_cast<float>(i % 1000);
    b[i] = static_cast<float>(i % 77);
  }
  CUdeviceptr da = 0, db = 0, dc = 0;
  for (CUdeviceptr* pointer : {&da, &db, &dc}) CHECKED(cuMemAlloc(pointer, n * sizeof(float)));
  CHECKED(cuMemcpyHtoD(da, a.data(), n * sizeof(float)));
  CHECKED(cuMemcpyHtoD(db, b.data(), n * sizeof(float)));
  void* parameters[] = {&da, &db, &dc, &n};
  CHECKED(
      cuLaunchKernel(kernel, (n + 255) / 256, 1, 1, 256, 1, 1, 0, nullptr, parameters, nullptr));
  CHECKED(cuMemcpyDtoH(c.data(), dc, n * sizeof(float)));
  for (unsigned i = 0; i < n; ++i) {
    if (c[i] != a[i] + b[i]) {
      std::fprintf(stderr, "element %u is %g, not %g\n", i, c[i], a[i] + b[i]);
      return 1;
    }
  }
  std::printf("%u sums are right\n", n);
  for (CUdeviceptr pointer : {da, db, dc}) CHECKED(cuMemFree(pointer));
  CHECKED(cuModuleUnload(module));
  CHECKED(cuDevicePrimaryCtxRelease(device));
  return 0;
}

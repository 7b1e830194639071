// What a driver provides beneath the CUDA device runtime library (libcudadevrt), as PTX of our own.
#pragma once

#include <string_view>

namespace vgpu::softgpu {

// The library's cooperative groups functions end in these four; a link that mentions one gets the
// text. The handle of the grid is the launch's workspace (%envreg1 and 2, see ptx/block.h), 0 in a
// launch that is not cooperative. Bit 0 of CGS_sync's flags says that one thread comes for its
// whole block. The barrier counts arrivals in a word of the workspace that nobody else uses and
// never resets: round k is over when (k + 1) * blocks have come.
inline constexpr std::string_view kDeviceRuntimeMark = "__cuda_syscall_CGS_";
inline constexpr std::string_view kDeviceRuntime = R"(
.version 7.0
.target sm_70
.address_size 64
.func (.param .b64 total) vgpu_grid_blocks()
{
  .reg .u32 %n<3>; .reg .u64 %w<3>;
  mov.u32 %n0, %nctaid.x; mov.u32 %n1, %nctaid.y; mov.u32 %n2, %nctaid.z;
  cvt.u64.u32 %w0, %n0; cvt.u64.u32 %w1, %n1; cvt.u64.u32 %w2, %n2;
  mul.lo.u64 %w0, %w0, %w1; mul.lo.u64 %w0, %w0, %w2;
  st.param.b64 [total], %w0;
  ret;
}
.visible .func (.param .b64 result) __cuda_syscall_CGS_get_intrinsic_handle(.param .b32 scope)
{
  .reg .pred %p; .reg .b32 %r<3>; .reg .b64 %rd;
  ld.param.u32 %r0, [scope];
  mov.b32 %r1, %envreg2; mov.b32 %r2, %envreg1;
  mov.b64 %rd, {%r1, %r2};
  setp.ne.u32 %p, %r0, 1;
  @%p mov.u64 %rd, 0;
  st.param.b64 [result], %rd;
  ret;
}
.visible .func (.param .b32 result) __cuda_syscall_CGS_sync(.param .b64 handle, .param .b32 flags)
{
  .reg .pred %one, %first, %more; .reg .b32 %r<4>; .reg .u64 %rd<6>;
  ld.param.u64 %rd0, [handle];
  ld.param.u32 %r0, [flags];
  and.b32 %r1, %r0, 1;
  setp.eq.u32 %one, %r1, 1;
  @%one bra arrive;
  barrier.sync 0;
  mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z;
  or.b32 %r1, %r1, %r2; or.b32 %r1, %r1, %r3;
  setp.ne.u32 %first, %r1, 0;
  @%first bra meet;
arrive:
  { .param .b64 total; call (total), vgpu_grid_blocks, (); ld.param.b64 %rd1, [total]; }
  fence.acq_rel.gpu;
  atom.acq_rel.gpu.add.u64 %rd2, [%rd0+32], 1;
  div.u64 %rd2, %rd2, %rd1;
  add.u64 %rd2, %rd2, 1;
  mul.lo.u64 %rd2, %rd2, %rd1;
wait:
  ld.acquire.gpu.u64 %rd3, [%rd0+32];
  setp.lt.u64 %more, %rd3, %rd2;
  @%more bra wait;
  @%one bra done;
meet:
  barrier.sync 0;
done:
  st.param.b32 [result], 0;
  ret;
}
.visible .func (.param .b32 result) __cuda_syscall_CGS_get_size(.param .b64 threads, .param .b64 grids, .param .b64 handle)
{
  .reg .pred %p; .reg .b32 %r<4>; .reg .u64 %rd<3>;
  ld.param.u64 %rd0, [threads];
  ld.param.u64 %rd1, [grids];
  { .param .b64 total; call (total), vgpu_grid_blocks, (); ld.param.b64 %rd2, [total]; }
  cvt.u32.u64 %r0, %rd2;
  mov.u32 %r1, %ntid.x; mov.u32 %r2, %ntid.y; mov.u32 %r3, %ntid.z;
  mul.lo.u32 %r0, %r0, %r1; mul.lo.u32 %r0, %r0, %r2; mul.lo.u32 %r0, %r0, %r3;
  setp.ne.u64 %p, %rd0, 0;
  @%p st.u32 [%rd0], %r0;
  mov.u32 %r1, 1;
  setp.ne.u64 %p, %rd1, 0;
  @%p st.u32 [%rd1], %r1;
  st.param.b32 [result], 0;
  ret;
}
.visible .func (.param .b32 result) __cuda_syscall_CGS_get_rank(.param .b64 thread, .param .b64 grid, .param .b64 handle)
{
  .reg .pred %p; .reg .b32 %r<9>; .reg .u64 %rd<2>;
  ld.param.u64 %rd0, [thread];
  ld.param.u64 %rd1, [grid];
  mov.u32 %r0, %ctaid.z; mov.u32 %r1, %nctaid.y; mov.u32 %r2, %ctaid.y;
  mad.lo.u32 %r0, %r0, %r1, %r2;
  mov.u32 %r1, %nctaid.x; mov.u32 %r2, %ctaid.x;
  mad.lo.u32 %r0, %r0, %r1, %r2;
  mov.u32 %r1, %ntid.z; mov.u32 %r2, %tid.z;
  mad.lo.u32 %r0, %r0, %r1, %r2;
  mov.u32 %r1, %ntid.y; mov.u32 %r2, %tid.y;
  mad.lo.u32 %r0, %r0, %r1, %r2;
  mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x;
  mad.lo.u32 %r0, %r0, %r1, %r2;
  setp.ne.u64 %p, %rd0, 0;
  @%p st.u32 [%rd0], %r0;
  mov.u32 %r1, 0;
  setp.ne.u64 %p, %rd1, 0;
  @%p st.u32 [%rd1], %r1;
  st.param.b32 [result], 0;
  ret;
}
)";

}  // namespace vgpu::softgpu

// The PTX interpreter on texts written by hand.
#include <cstdint>

#include "check.h"
#include "ptx_harness.h"

using ptx_harness::Program;
using ptx_harness::with_header;
using vgpu::softgpu::ptx::FaultKind;

namespace {

// out[i] = a result that `body` computes into %r0 from %r1 (the thread's global index).
std::string one_value(const std::string& body) {
  return with_header(R"(
.visible .entry k(.param .u64 out) {
  .reg .b32 %r<64>; .reg .b64 %d<16>; .reg .pred %p<16>; .reg .f32 %f<16>; .reg .b16 %h<16>;
  mov.u32 %r60, %ctaid.x; mov.u32 %r61, %ntid.x; mov.u32 %r62, %tid.x;
  mad.lo.s32 %r1, %r60, %r61, %r62;
)" + body + R"(
  ld.param.u64 %d14, [out];
  cvta.to.global.u64 %d14, %d14;
  mul.wide.u32 %d15, %r1, 4;
  add.s64 %d14, %d14, %d15;
  st.global.u32 [%d14], %r0;
  ret;
})");
}

std::vector<uint32_t> run_values(const std::string& body, uint32_t threads = 32, uint32_t blocks = 1) {
  Program program(one_value(body));
  std::vector<uint32_t> out(threads * blocks, 0xdeadbeef);
  const uint64_t address = program.buffer(out);
  const auto fault = program.run("k", {blocks, 1, 1}, {threads, 1, 1}, address);
  CHECK_EQ(fault.message, std::string());
  return out;
}

}  // namespace

TEST(vector_add) {
  Program program(with_header(R"(
.visible .entry va(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n) {
  .reg .pred %p<2>; .reg .f32 %f<4>; .reg .b32 %r<6>; .reg .b64 %rd<11>;
  ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.param.u64 %rd3, [c]; ld.param.u32 %r2, [n];
  mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x;
  mad.lo.s32 %r1, %r3, %r4, %r5;
  setp.ge.s32 %p1, %r1, %r2;
  @%p1 bra $DONE;
  mul.wide.s32 %rd5, %r1, 4;
  add.s64 %rd6, %rd1, %rd5; add.s64 %rd8, %rd2, %rd5; add.s64 %rd10, %rd3, %rd5;
  ld.global.f32 %f1, [%rd8]; ld.global.f32 %f2, [%rd6];
  add.f32 %f3, %f2, %f1;
  st.global.f32 [%rd10], %f3;
$DONE:
  ret;
})"));
  std::vector<float> a(1000), b(1000), c(1000);
  for (int i = 0; i < 1000; ++i) {
    a[i] = static_cast<float>(i);
    b[i] = 0.5f * static_cast<float>(i);
  }
  const auto pa = program.buffer(a), pb = program.buffer(b), pc = program.buffer(c);
  const auto fault = program.run("va", {8, 1, 1}, {128, 1, 1}, pa, pb, pc, 1000u);
  CHECK_EQ(fault.message, std::string());
  for (int i = 0; i < 1000; ++i) CHECK_EQ(c[i], 1.5f * static_cast<float>(i));
}

TEST(lanes_diverge_and_meet) {
  const auto out = run_values(R"(
    and.b32 %r2, %r1, 3; mov.u32 %r0, 0;
  $LOOP:
    setp.eq.u32 %p1, %r2, 0; @%p1 bra $END;
    add.u32 %r0, %r0, %r1; sub.u32 %r2, %r2, 1; bra $LOOP;
  $END:
    add.u32 %r0, %r0, 1;
  )", 48, 2);
  for (uint32_t i = 0; i < out.size(); ++i) CHECK_EQ(out[i], i * (i & 3) + 1);
}

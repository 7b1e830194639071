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

std::vector<uint32_t> run_values(const std::string& body, uint32_t threads = 32,
                                 uint32_t blocks = 1) {
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
  )",
                              48, 2);
  for (uint32_t i = 0; i < out.size(); ++i) CHECK_EQ(out[i], i * (i & 3) + 1);
}

// Each lane takes a lock that only one can hold, and releases it after the others have begun to
// spin.
TEST(spin_lock_within_a_warp) {
  Program program(with_header(R"(
.visible .entry k(.param .u64 lock, .param .u64 sum) {
  .reg .b32 %r<9>; .reg .b64 %d<4>; .reg .pred %p<3>;
  ld.param.u64 %d1, [lock]; ld.param.u64 %d2, [sum];
SPIN:
  atom.global.cas.b32 %r1, [%d1], 0, 1;
  setp.ne.u32 %p1, %r1, 0;
  @%p1 bra SPIN;
  ld.volatile.global.u32 %r2, [%d2];
  add.u32 %r2, %r2, 1;
  st.volatile.global.u32 [%d2], %r2;
  membar.gl;
  atom.global.exch.b32 %r3, [%d1], 0;
  ret;
})"));
  std::vector<uint32_t> words(2);
  const uint64_t lock = program.buffer(words);
  const auto fault = program.run("k", {4, 1, 1}, {64, 1, 1}, lock, lock + 4);
  CHECK_EQ(fault.message, std::string());
  CHECK_EQ(words[1], 256u);
}

TEST(blocks_wait_for_each_other) {
  for (const unsigned threads : {1u, 3u}) {
    Program program(with_header(R"(
.visible .entry k(.param .u64 count, .param .u64 out, .param .u32 blocks) {
  .reg .b32 %r<9>; .reg .b64 %d<4>; .reg .pred %p<3>;
  ld.param.u64 %d1, [count]; ld.param.u64 %d2, [out]; ld.param.u32 %r5, [blocks];
  mov.u32 %r1, %tid.x; setp.ne.u32 %p1, %r1, 0;
  @%p1 bra WAIT;
  atom.global.add.u32 %r2, [%d1], 1;
SPIN:
  ld.volatile.global.u32 %r3, [%d1];
  setp.lt.u32 %p2, %r3, %r5;
  @%p2 bra SPIN;
WAIT:
  bar.sync 0;
  atom.global.add.u32 %r4, [%d2], 1;
  ret;
})"));
    program.threads = threads;
    program.blocks_at_once = 12;
    std::vector<uint32_t> words(2);
    const uint64_t address = program.buffer(words);
    const auto fault = program.run("k", {12, 1, 1}, {96, 1, 1}, address, address + 4, 12u);
    CHECK_EQ(fault.message, std::string());
    CHECK_EQ(words[0], 12u);
    CHECK_EQ(words[1], 12u * 96u);
  }
}

TEST(shuffle_of_lanes_that_diverged) {
  // Even and odd lanes come to the same instruction on different ways, and name each other.
  const auto out = run_values(R"(
    and.b32 %r2, %r1, 1; mov.u32 %r3, %r1;
    setp.eq.u32 %p1, %r2, 0; @%p1 bra EVEN;
    add.u32 %r3, %r3, 100;
  EVEN:
    shfl.sync.bfly.b32 %r0, %r3, 1, 0x1f, 0xffffffff;
  )");
  for (uint32_t i = 0; i < 32; ++i) CHECK_EQ(out[i], (i ^ 1) + ((i & 1) == 0 ? 100u : 0u));
  // Half a warp shuffles alone.
  const auto half = run_values(R"(
    mov.u32 %r0, 7;
    setp.ge.u32 %p1, %r1, 16; @%p1 bra END;
    shfl.sync.down.b32 %r0|%p2, %r1, 8, 0x1f, 0xffff;
  END:
  )");
  for (uint32_t i = 0; i < 32; ++i) CHECK_EQ(half[i], i < 8 ? i + 8 : i < 16 ? half[i] : 7u);
}

TEST(lanes_wait_for_those_they_name) {
  // Lane 0 loops a while before it comes; the others wait at the instruction.
  const auto out = run_values(R"(
    mov.u32 %r2, 0; setp.ne.u32 %p1, %r1, 0; @%p1 bra MEET;
  LOOP:
    add.u32 %r2, %r2, 1; setp.lt.u32 %p2, %r2, 5000; @%p2 bra LOOP;
  MEET:
    bar.warp.sync 0xffffffff;
    vote.sync.ballot.b32 %r0, %p1, 0xffffffff;
    redux.sync.add.u32 %r3, %r1, 0xffffffff;
    add.u32 %r0, %r0, %r3;
  )");
  for (uint32_t i = 0; i < 32; ++i) CHECK_EQ(out[i], 0xfffffffeu + 496u);
}

TEST(named_barriers_with_counts) {
  // Warps 0 and 1 meet at barrier 1, warps 2 and 3 at barrier 2; a producer arrives without
  // waiting.
  Program program(with_header(R"(
.visible .entry k(.param .u64 out) {
  .shared .align 4 .b8 s[512];
  .reg .b32 %r<12>; .reg .b64 %d<4>; .reg .pred %p<3>;
  mov.u32 %r1, %tid.x; shr.u32 %r2, %r1, 6; add.u32 %r3, %r2, 1;
  shl.b32 %r4, %r1, 2; mov.u32 %r5, s; add.u32 %r6, %r5, %r4;
  st.shared.u32 [%r6], %r1;
  barrier.sync %r3, 64;
  xor.b32 %r7, %r1, 32; shl.b32 %r7, %r7, 2; add.u32 %r7, %r7, %r5;
  ld.shared.u32 %r8, [%r7];
  setp.eq.u32 %p1, %r2, 0;
  @%p1 bar.arrive 3, 128;
  @%p1 bra OUT;
  bar.sync 3, 128;
OUT:
  bar.red.popc.u32 %r9, 0, %p1;
  add.u32 %r8, %r8, %r9;
  ld.param.u64 %d1, [out]; mul.wide.u32 %d2, %r1, 4; add.s64 %d1, %d1, %d2;
  st.global.u32 [%d1], %r8;
  ret;
})"));
  std::vector<uint32_t> out(128);
  const auto fault = program.run("k", {1, 1, 1}, {128, 1, 1}, program.buffer(out));
  CHECK_EQ(fault.message, std::string());
  for (uint32_t i = 0; i < 128; ++i) CHECK_EQ(out[i], (i ^ 32) + 64);
}

TEST(barrier_counts_without_exited_threads) {
  Program program(with_header(R"(
.visible .entry k(.param .u64 out) {
  .reg .b32 %r<4>; .reg .b64 %d<4>; .reg .pred %p<3>;
  mov.u32 %r1, %tid.x; setp.gt.u32 %p1, %r1, 40; @%p1 exit;
  bar.sync 0;
  ld.param.u64 %d1, [out]; atom.global.add.u32 %r2, [%d1], 1;
  ret;
})"));
  std::vector<uint32_t> out(1);
  const auto fault = program.run("k", {1, 1, 1}, {100, 1, 1}, program.buffer(out));
  CHECK_EQ(fault.message, std::string());
  CHECK_EQ(out[0], 41u);
}

TEST(faults_say_where) {
  const std::string text = with_header(R"(
.visible .entry k(.param .u64 out, .param .u32 bad) {
  .reg .b32 %r<4>; .reg .b64 %d<4>; .reg .pred %p<3>;
  .loc 1 77 3
  ld.param.u64 %d1, [out]; ld.param.u32 %r2, [bad];
  mov.u32 %r1, %tid.x; mul.wide.u32 %d2, %r1, 4; add.s64 %d1, %d1, %d2;
  cvt.u64.u32 %d3, %r2; add.s64 %d1, %d1, %d3;
  st.global.u32 [%d1], %r1;
  ret;
})");
  {
    Program program(text);
    std::vector<uint32_t> out(64);
    const auto fault = program.run("k", {1, 1, 1}, {65, 1, 1}, program.buffer(out), 0u);
    CHECK(fault.kind == FaultKind::kIllegalAddress);
    for (const char* part : {"k: invalid write of 4 bytes at global address 0x", "PTX line 11",
                             "(file 1:77)", "block (0,0,0)", "thread (64,0,0)"}) {
      if (fault.message.find(part) == std::string::npos)
        check::fail(__FILE__, __LINE__, fault.message);
    }
  }
  {
    Program program(text);
    std::vector<uint32_t> out(64);
    const auto fault = program.run("k", {1, 1, 1}, {32, 1, 1}, program.buffer(out), 2u);
    CHECK(fault.kind == FaultKind::kMisalignedAddress);
  }
}

TEST(trap_and_barrier_that_never_completes) {
  Program program(with_header(R"(
.visible .entry t() { trap; }
.visible .entry b() {
  .reg .b32 %r<4>; .reg .pred %p<2>;
  mov.u32 %r1, %tid.x; setp.ne.u32 %p1, %r1, 0; @%p1 bra ONE;
  bar.sync 1; bra END;
ONE:
  bar.sync 2;
END:
  ret;
})"));
  CHECK(program.run("t", {1, 1, 1}, {1, 1, 1}).kind == FaultKind::kTrap);
  const auto fault = program.run("b", {1, 1, 1}, {64, 1, 1});
  CHECK(fault.kind == FaultKind::kTrap);
  CHECK(fault.message.find("can never be complete") != std::string::npos);
}

TEST(printf_formats_on_the_host) {
  Program program(with_header(R"(
.extern .func (.param .b32 func_retval0) vprintf (.param .b64 p0, .param .b64 p1);
.global .align 1 .b8 fmt[29] = {37, 100, 32, 37, 115, 32, 37, 46, 50, 102, 32, 37, 108, 108, 120, 32, 37, 53, 117, 124, 37, 99, 37, 37, 10};
.global .align 1 .b8 word[4] = {97, 98, 99};
.visible .entry k() {
  .local .align 8 .b8 depot[40];
  .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f64 %f<2>;
  mov.u64 %d1, depot; cvta.local.u64 %d2, %d1;
  mov.u32 %r1, -5; st.local.u32 [%d1], %r1;
  mov.u64 %d3, word; cvta.global.u64 %d3, %d3; st.local.u64 [%d1+8], %d3;
  mov.f64 %f1, 0d3FF8000000000000; st.local.f64 [%d1+16], %f1;
  mov.u64 %d4, 0x123456789abcdef; st.local.u64 [%d1+24], %d4;
  mov.u32 %r2, 42; st.local.u32 [%d1+32], %r2; mov.u32 %r3, 122; st.local.u32 [%d1+36], %r3;
  mov.u64 %d5, fmt; cvta.global.u64 %d5, %d5;
  { .param .b64 a; st.param.b64 [a+0], %d5; .param .b64 b; st.param.b64 [b+0], %d2; .param .b32 r;
    call.uni (r), vprintf, (a, b); ld.param.b32 %r4, [r+0]; }
  ret;
})"));
  const auto fault = program.run("k", {1, 1, 1}, {1, 1, 1});
  CHECK_EQ(fault.message, std::string());
  CHECK_EQ(program.printed, std::string("-5 abc 1.50 123456789abcdef    42|z%\n"));
}

TEST(functions_recurse_and_are_called_through_pointers) {
  Program program(with_header(R"(
.func (.param .b32 r) fib (.param .b32 n) {
  .reg .pred %p<2>; .reg .b32 %r<9>;
  ld.param.u32 %r8, [n]; setp.lt.s32 %p1, %r8, 2; @%p1 bra END;
  add.s32 %r4, %r8, -1;
  { .param .b32 a; st.param.b32 [a+0], %r4; .param .b32 v; call.uni (v), fib, (a); ld.param.b32 %r5, [v+0]; }
  add.s32 %r6, %r8, -2;
  { .param .b32 a; st.param.b32 [a+0], %r6; .param .b32 v; call.uni (v), fib, (a); ld.param.b32 %r7, [v+0]; }
  add.s32 %r8, %r7, %r5;
END:
  st.param.b32 [r+0], %r8; ret;
}
.func (.param .b32 r) twice (.param .b32 n) {
  .reg .b32 %r<3>; ld.param.u32 %r1, [n]; shl.b32 %r1, %r1, 1; st.param.b32 [r+0], %r1; ret;
}
.global .align 8 .u64 table[2] = {fib, twice};
.visible .entry k(.param .u64 out) {
  .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .pred %p<2>;
  mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 1; mul.wide.u32 %d1, %r2, 8;
  mov.u64 %d2, table; add.s64 %d2, %d2, %d1; ld.global.u64 %d3, [%d2];
  { .param .b32 a; st.param.b32 [a+0], %r1; .param .b32 v;
    proto : .callprototype (.param .b32 _) _ (.param .b32 _);
    call (v), %d3, (a), proto; ld.param.b32 %r3, [v+0]; }
  ld.param.u64 %d4, [out]; mul.wide.u32 %d5, %r1, 4; add.s64 %d4, %d4, %d5; st.global.u32 [%d4], %r3;
  ret;
})"));
  std::vector<uint32_t> out(16);
  const auto fault = program.run("k", {1, 1, 1}, {16, 1, 1}, program.buffer(out));
  CHECK_EQ(fault.message, std::string());
  const uint32_t fib[] = {0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610};
  for (uint32_t i = 0; i < 16; ++i) CHECK_EQ(out[i], (i & 1) == 0 ? fib[i] : 2 * i);
}

TEST(integer_edges) {
  CHECK_EQ(run_values("mov.u32 %r2, 1; shl.b32 %r0, %r2, 32;")[0], 0u);
  CHECK_EQ(run_values("mov.u32 %r2, 1; add.u32 %r3, %r1, 40; shl.b32 %r0, %r2, %r3;")[0], 0u);
  CHECK_EQ(run_values("mov.s32 %r2, -8; shr.s32 %r0, %r2, 99;")[0], 0xffffffffu);
  CHECK_EQ(run_values("mov.u32 %r2, 7; mov.u32 %r3, 0; div.u32 %r0, %r2, %r3;")[0], 0xffffffffu);
  CHECK_EQ(run_values("mov.u32 %r2, 7; mov.u32 %r3, 0; rem.u32 %r0, %r2, %r3;")[0], 7u);
  CHECK_EQ(run_values("mov.s32 %r2, 0x80000000; mov.s32 %r3, -1; div.s32 %r0, %r2, %r3;")[0],
           0x80000000u);
  CHECK_EQ(run_values("mov.u32 %r2, 0x12345678; bfe.u32 %r0, %r2, 8, 12;")[0], 0x456u);
  CHECK_EQ(
      run_values("mov.u32 %r2, 0x12345678; mov.u32 %r3, 0xff; bfi.b32 %r0, %r3, %r2, 8, 8;")[0],
      0x1234ff78u);
  CHECK_EQ(
      run_values(
          "mov.u32 %r2, 0x03020100; mov.u32 %r3, 0x07060504; prmt.b32 %r0, %r2, %r3, 0x7531;")[0],
      0x07050301u);
  CHECK_EQ(run_values("mov.u32 %r2, 0xf0f0f0f0; mov.u32 %r3, 0xcccccccc; mov.u32 %r4, 0xaaaaaaaa; "
                      "lop3.b32 %r0, %r2, %r3, %r4, 0x96;")[0],
           0xf0f0f0f0u ^ 0xccccccccu ^ 0xaaaaaaaau);
  CHECK_EQ(
      run_values(
          "mov.u32 %r2, 0x80000001; mov.u32 %r3, 0x12345678; shf.l.wrap.b32 %r0, %r2, %r3, 4;")[0],
      0x23456788u);
  CHECK_EQ(run_values(
               "mov.u32 %r2, -1; mov.u32 %r3, 5; add.cc.u32 %r4, %r2, 1; addc.u32 %r0, %r3, 0;")[0],
           6u);
  CHECK_EQ(run_values("mov.u32 %r2, 0; sub.cc.u32 %r4, %r2, 1; subc.u32 %r0, 10, 0;")[0], 9u);
}

TEST(scopes_of_inline_assembly) {
  // The same names in neighbouring scopes are different registers and labels.
  const auto out = run_values(R"(
    mov.u32 %r0, 0;
    { .reg .pred p; .reg .b32 t; mov.u32 t, 5; setp.gt.u32 p, %r1, 3; @p bra SKIP; add.u32 %r0, %r0, t; SKIP: }
    { .reg .pred p; .reg .b32 t; mov.u32 t, 70; setp.gt.u32 p, %r1, 8; @!p bra SKIP; add.u32 %r0, %r0, t; SKIP: }
  )");
  for (uint32_t i = 0; i < 32; ++i) CHECK_EQ(out[i], (i > 3 ? 0u : 5u) + (i > 8 ? 70u : 0u));
}

TEST(bad_texts_are_refused) {
  for (const char* text :
       {"", "hello", ".version 8.0\n.target sm_90\n.visible .entry k( {",
        ".version 8.0\n.entry k() { ret", ".version 8.0\n.global .align 8 .b8 x[99999999999999];",
        ".version 429496730.0\n.target sm_90\n", ".version 8.0\n.target sm_9000000000000\n",
        ".version 8.0\n.target sm_90\n.visible .entry k() { frobnicate.u32 %r1; }",
        ".version 8.0\n.target sm_90\n.visible .entry k() { this is not PTX }"}) {
    Program program(text);
    CHECK(program.module() == nullptr);
    CHECK(!program.log.empty());
  }
  Program unknown(
      with_header(".visible .entry bad() { .reg .b32 %r<4>; wgmma.fence.sync.aligned; }\n"
                  ".visible .entry good() { ret; }"));
  // What looks strange and is none: modifiers with `::`, guards, labels, comments, line directives.
  Program strange(with_header(R"(
.visible .entry k(.param .u64 p) {
  .reg .pred %p<2>; .reg .b32 %r<3>; .reg .b64 %rd<3>;
  .loc 1 2 3
  ld.param.u64 %rd1, [p]; // a comment; with a semicolon
  createpolicy.fractional.L2::evict_last.b64 %rd2, 1.0;
$L__BB0_1: @!%p1 bra $L__BB0_2; /* another; one */
$L__BB0_2:
  { mov.u32 %r1, 1; }
  ret;
})"));
  CHECK(strange.module() != nullptr);
  // An instruction that PTX has and we lack: its kernel is refused, its neighbours work.
  CHECK(unknown.module() != nullptr);
  std::string log;
  CHECK(!unknown.module()->prepare(0, log));
  CHECK(log.find("bad, line 4: wgmma.fence") != std::string::npos);
  CHECK(unknown.module()->prepare(1, log));
}

TEST(shared_addresses_wrap_at_32_bits) {
  const auto out = run_values(R"(
    .shared .align 4 .b8 s[128];
    mov.u32 %r2, s; shl.b32 %r3, %r1, 2; add.u32 %r3, %r3, %r2; sub.u32 %r3, %r3, 4096;
    st.shared.u32 [%r3+4096], %r1;
    bar.sync 0;
    xor.b32 %r4, %r1, 5; shl.b32 %r4, %r4, 2; add.u32 %r4, %r4, %r2; add.u32 %r4, %r4, 64;
    ld.shared.u32 %r0, [%r4+-64];
  )");
  for (uint32_t i = 0; i < 32; ++i) CHECK_EQ(out[i], i ^ 5);
}

TEST(signed_bytes_fill_their_register) {
  const auto out = run_values(R"(
    .shared .align 4 .b8 s[128];
    mov.u32 %r2, s; add.u32 %r2, %r2, %r1; mov.u16 %h1, 0x80; st.shared.u8 [%r2], %h1;
    ld.shared.s8 %h2, [%r2]; cvt.s32.s16 %r0, %h2;
  )");
  CHECK_EQ(out[3], 0xffffff80u);
}

// What is the same for all threads is computed once per launch, and nothing else is.
TEST(launch_constants) {
  const auto program_of = [](const std::string& body) {
    return Program(with_header(R"(
.visible .entry k(.param .u64 out, .param .u32 n, .param .u32 m) {
  .reg .b32 %r<32>; .reg .b64 %d<16>; .reg .pred %p<8>;
  ld.param.u64 %d1, [out]; ld.param.u32 %r1, [n]; ld.param.u32 %r2, [m];
  mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x; mov.u32 %r6, %nctaid.x;
  mad.lo.s32 %r7, %r3, %r4, %r5; mul.wide.u32 %d2, %r7, 4; add.s64 %d3, %d1, %d2;
)" + body + R"(
  st.global.u32 [%d3], %r0;
  ret;
})"));
  };
  const auto values = [](Program& program, uint32_t n, uint32_t m) {
    std::vector<uint32_t> out(80);
    CHECK_EQ(program.run("k", {2, 1, 1}, {40, 1, 1}, program.buffer(out), n, m).message,
             std::string());
    return out;
  };
  auto constants = program_of(R"(
  mul.lo.u32 %r8, %r1, %r6; add.u32 %r9, %r8, %r2; setp.gt.u32 %p1, %r9, 100;
  selp.b32 %r10, %r9, 7, %p1; div.u32 %r11, %r10, %r2;
  @%p1 bra $BIG; mov.u32 %r0, 1; bra $END;
$BIG: add.u32 %r0, %r10, %r11;
$END:
)");
  const uint64_t before = constants.statistics.instructions;
  for (const uint32_t one : values(constants, 60, 5)) CHECK_EQ(one, 125u + 25u);
  // 4 warps, each: two indices, three address steps, the branch, the sum, a join, store, exit.
  CHECK_EQ((constants.statistics.instructions - before) / 4, 10u);
  for (const uint32_t one : values(constants, 1, 5)) CHECK_EQ(one, 1u);
  // A division that no lane would execute does no harm, whatever it divides by.
  for (const uint32_t one : values(constants, 1, 0)) CHECK_EQ(one, 1u);
  auto changing = program_of(R"(
  mov.u32 %r0, %r1; setp.gt.u32 %p1, %r5, 20; @%p1 mov.u32 %r0, %r2;
  mov.u32 %r8, 0;
$LOOP: add.u32 %r0, %r0, %r1; add.u32 %r8, %r8, 1; setp.lt.u32 %p2, %r8, %r2; @%p2 bra $LOOP;
)");
  const auto out = values(changing, 10, 3);
  for (uint32_t i = 0; i < 80; ++i) CHECK_EQ(out[i], i % 40 > 20 ? 33u : 40u);
  auto guarded = program_of(R"(
  mov.u32 %r0, 5; setp.gt.u32 %p1, %r5, 20; @%p1 add.u32 %r8, %r1, 1; @%p1 mov.u32 %r0, %r8;
)");
  const auto some = values(guarded, 10, 3);
  for (uint32_t i = 0; i < 80; ++i) CHECK_EQ(some[i], i % 40 > 20 ? 11u : 5u);
}

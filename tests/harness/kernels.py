"""PTX of the kernels that tests launch: small, written by hand, valid since sm_50."""

HEADER = ".version 6.0\n.target sm_50\n.address_size 64\n"

#: fill(u64 out, u32 value, u32 n): out[i] = value
FILL = """
.visible .entry fill(.param .u64 out, .param .u32 value, .param .u32 n)
{
  .reg .pred %p; .reg .b32 %r<6>; .reg .b64 %rd<4>;
  mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3;
  ld.param.u32 %r5, [n];
  setp.ge.u32 %p, %r4, %r5;
  @%p bra done;
  ld.param.u64 %rd1, [out];
  mul.wide.u32 %rd2, %r4, 4;
  add.u64 %rd3, %rd1, %rd2;
  ld.param.u32 %r5, [value];
  st.global.u32 [%rd3], %r5;
done:
  ret;
}
"""

#: increment(u64 counter): atomically adds 1 per thread
INCREMENT = """
.visible .entry increment(.param .u64 counter)
{
  .reg .b32 %r<2>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [counter];
  atom.global.add.u32 %r1, [%rd1], 1;
  ret;
}
"""

#: mixed(u8 a, u64 b, u16 c, f64 d, u64 out): parameters of several sizes, with padding between
MIXED = """
.visible .entry mixed(.param .u8 a, .param .u64 b, .param .u16 c, .param .f64 d, .param .u64 out)
{
  .reg .b16 %h<3>; .reg .b64 %rd<6>; .reg .f64 %fd<2>;
  ld.param.u8 %h1, [a];
  ld.param.u64 %rd1, [b];
  ld.param.u16 %h2, [c];
  ld.param.f64 %fd1, [d];
  ld.param.u64 %rd2, [out];
  cvt.u64.u16 %rd3, %h1;
  cvt.u64.u16 %rd4, %h2;
  st.global.u64 [%rd2], %rd3;
  st.global.u64 [%rd2+8], %rd1;
  st.global.u64 [%rd2+16], %rd4;
  st.global.f64 [%rd2+24], %fd1;
  ret;
}
"""

#: wild(): stores to an address that nobody allocated
WILD = """
.visible .entry wild()
{
  .reg .b32 %r<2>; .reg .b64 %rd<2>;
  mov.u64 %rd1, 4096;
  mov.u32 %r1, 1;
  st.global.u32 [%rd1], %r1;
  ret;
}
"""

#: reverse(u64 data): reverses 64 words of one block through shared memory
REVERSE = """
.visible .entry reverse(.param .u64 data)
{
  .reg .b32 %r<8>; .reg .b64 %rd<5>;
  .shared .align 4 .b8 tile[256];
  mov.u32 %r1, %tid.x;
  ld.param.u64 %rd1, [data];
  mul.wide.u32 %rd2, %r1, 4;
  add.u64 %rd3, %rd1, %rd2;
  ld.global.u32 %r2, [%rd3];
  mov.u32 %r3, tile;
  shl.b32 %r4, %r1, 2;
  add.u32 %r5, %r3, %r4;
  st.shared.u32 [%r5], %r2;
  bar.sync 0;
  sub.u32 %r6, 252, %r4;
  add.u32 %r6, %r3, %r6;
  ld.shared.u32 %r7, [%r6];
  st.global.u32 [%rd3], %r7;
  ret;
}
"""

#: read_answer(u64 out): out[0] = the module's global `answer`
GLOBAL = """
.visible .global .align 4 .u32 answer = 42;
.visible .global .align 8 .b8 table[64];
.visible .entry read_answer(.param .u64 out)
{
  .reg .b32 %r<2>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [out];
  ld.global.u32 %r1, [answer];
  st.global.u32 [%rd1], %r1;
  ret;
}
"""

#: chase(u64 out, u64 head): follows pointers stored in device memory, counts the nodes
CHASE = """
.visible .entry chase(.param .u64 out, .param .u64 head)
{
  .reg .pred %p; .reg .b32 %r<2>; .reg .b64 %rd<3>;
  ld.param.u64 %rd1, [head];
  mov.u32 %r1, 0;
next:
  setp.eq.u64 %p, %rd1, 0;
  @%p bra done;
  add.u32 %r1, %r1, 1;
  ld.global.u64 %rd1, [%rd1];
  bra next;
done:
  ld.param.u64 %rd2, [out];
  st.global.u32 [%rd2], %r1;
  ret;
}
"""

#: spin(u64 flag): waits until flag[0] is not 0, then stores 7 to flag[1]
SPIN = """
.visible .entry spin(.param .u64 flag)
{
  .reg .pred %p; .reg .b32 %r<3>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [flag];
again:
  ld.volatile.global.u32 %r1, [%rd1];
  setp.eq.u32 %p, %r1, 0;
  @%p bra again;
  mov.u32 %r2, 7;
  st.global.u32 [%rd1+4], %r2;
  ret;
}
"""

#: burn(u64 out, u32 rounds): a dependent chain of `rounds` additions, then out[0] = rounds
BURN = """
.visible .entry burn(.param .u64 out, .param .u32 rounds)
{
  .reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<2>;
  ld.param.u32 %r1, [rounds];
  mov.u32 %r2, 0;
more:
  add.u32 %r2, %r2, 1;
  setp.lt.u32 %p, %r2, %r1;
  @%p bra more;
  ld.param.u64 %rd1, [out];
  st.global.u32 [%rd1], %r2;
  ret;
}
"""

#: count_down(u64 counter, u64 handle): counter[0] -= 1, then the conditional's value = counter[0]
COUNT_DOWN = """
.extern .func cudaGraphSetConditional(.param .b64 handle, .param .b32 value)
;
.visible .entry count_down(.param .u64 counter, .param .u64 handle)
{
  .reg .b32 %r<2>; .reg .b64 %rd<3>;
  .param .b64 argument0; .param .b32 argument1;
  ld.param.u64 %rd1, [counter];
  ld.global.u32 %r1, [%rd1];
  sub.u32 %r1, %r1, 1;
  st.global.u32 [%rd1], %r1;
  ld.param.u64 %rd2, [handle];
  st.param.b64 [argument0], %rd2;
  st.param.b32 [argument1], %r1;
  call.uni cudaGraphSetConditional, (argument0, argument1);
  ret;
}
"""

ALL = HEADER + FILL + INCREMENT + MIXED + WILD + REVERSE + GLOBAL + CHASE + SPIN + BURN

"""PTX of a kernel whose blocks wait for each other."""

from harness.kernels import HEADER

#: gather(u64 state): every thread adds 1 to state[0]; when all blocks have, every thread of block 0
#: adds the sum that it sees to state[2 + thread]. state[1] counts the blocks that arrived.
GATHER = (
    HEADER
    + """
.visible .entry gather(.param .u64 state)
{
  .reg .pred %p<3>; .reg .b32 %r<10>; .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [state];
  mov.u32 %r1, %tid.x;
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %nctaid.x;
  atom.global.add.u32 %r4, [%rd1], 1;
  membar.gl;
  bar.sync 0;
  setp.ne.u32 %p1, %r1, 0;
  @%p1 bra wait;
  atom.global.add.u32 %r5, [%rd1+4], 1;
wait:
  ld.volatile.global.u32 %r6, [%rd1+4];
  setp.lt.u32 %p2, %r6, %r3;
  @%p2 bra wait;
  setp.ne.u32 %p1, %r2, 0;
  @%p1 bra done;
  ld.volatile.global.u32 %r7, [%rd1];
  mul.wide.u32 %rd2, %r1, 4;
  add.u64 %rd3, %rd1, %rd2;
  st.global.u32 [%rd3+8], %r7;
done:
  ret;
}
"""
)

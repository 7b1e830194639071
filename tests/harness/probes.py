"""PTX of kernels that look at memory: what they read and write tells who may use what."""

from harness.kernels import HEADER

#: peek(u64 out, u64 address): out[0] = the word at the address
#: poke(u64 address, u32 value): the word at the address = value
#: misaligned(u64 address): reads a word at address + 1
ACCESS = (
    HEADER
    + """
.visible .entry peek(.param .u64 out, .param .u64 address)
{
  .reg .b32 %r<2>; .reg .b64 %rd<3>;
  ld.param.u64 %rd1, [out];
  ld.param.u64 %rd2, [address];
  ld.global.u32 %r1, [%rd2];
  st.global.u32 [%rd1], %r1;
  ret;
}
.visible .entry poke(.param .u64 address, .param .u32 value)
{
  .reg .b32 %r<2>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [address];
  ld.param.u32 %r1, [value];
  st.global.u32 [%rd1], %r1;
  ret;
}
.visible .entry misaligned(.param .u64 address)
{
  .reg .b32 %r<2>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [address];
  ld.global.u32 %r1, [%rd1+1];
  st.global.u32 [%rd1], %r1;
  ret;
}
"""
)

#: small(u64 counter): counts its threads; at most 64 of them in a block
BOUNDED = (
    HEADER
    + """
.visible .entry small(.param .u64 counter) .maxntid 64, 1, 1
{
  .reg .b32 %r<2>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [counter];
  atom.global.add.u32 %r1, [%rd1], 1;
  ret;
}
"""
)

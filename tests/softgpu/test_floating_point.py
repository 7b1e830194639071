"""The host's floating-point environment stays outside kernels, and kernels' outside the host."""

import ctypes
import struct

from softgpu import child

PTX = """.version 8.0
.target sm_80
.address_size 64
.visible .entry work(.param .u64 p_out)
{
.reg .f32 %f<3>; .reg .b64 %p; .reg .b32 %at;
ld.param.u64 %p, [p_out];
mov.u32 %at, %ctaid.x;
mad.wide.u32 %p, %at, 8, %p;
ld.global.f32 %f0, [%p];
mul.rn.f32 %f1, %f0, 0f3F000000;
st.global.f32 [%p], %f1;
ld.global.f32 %f0, [%p+4];
add.rn.f32 %f1, %f0, 0f30000000;
add.rp.f32 %f2, %f0, 0f30000000;
st.global.f32 [%p+4], %f1;
ret;
}
"""
BLOCKS = 64
# Of MXCSR: flush to zero, denormals are zero, round upwards.
UNUSUAL = 0x8040 | 0x4000
DENORMAL, HALF_OF_IT, ONE = 0x00400000, 0x00200000, 0x3F800000


def test_the_programs_environment_does_not_matter():
    def body(cuda):
        library = ctypes.CDLL("libm.so.6")
        environment = (ctypes.c_uint32 * 8)()  # x86-64: MXCSR is its last word
        library.fegetenv(environment)
        environment[7] |= UNUSUAL
        library.fesetenv(environment)
        cuda.start()
        function = cuda.function(cuda.module(PTX), "work")
        place = cuda.upload(struct.pack("<2I", DENORMAL, ONE) * BLOCKS)
        cuda.launch(function, (BLOCKS, 1, 1), (1, 1, 1), ctypes.c_uint64(place))
        cuda.cuCtxSynchronize()
        got = struct.unpack(f"<{2 * BLOCKS}I", cuda.download(place, 8 * BLOCKS))
        assert set(got[::2]) == {HALF_OF_IT}
        assert set(got[1::2]) == {ONE}
        after = (ctypes.c_uint32 * 8)()
        library.fegetenv(after)
        assert after[7] & 0xE040 == environment[7] & 0xE040

    child.run(body)

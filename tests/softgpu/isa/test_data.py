"""Variables of modules and their initial values (PTX ISA 5.1, 5.4), and .weak and .common."""

import numpy as np

from softgpu.isa import device

HEAD = ".version 9.0\n.target sm_120\n.address_size 64\n"


def values(declarations: str, name: str, count: int, dtype: type, prefix: str = "") -> list:
    """What a kernel reads in a variable."""
    size = np.dtype(dtype).itemsize * count
    ptx = (
        HEAD
        + declarations
        + f"""
.visible .entry test(.param .u64 out)
{{
.reg .b64 %rd<4>; .reg .b16 %h; .reg .b32 %r; .reg .pred %p;
ld.param.u64 %rd1, [out]; mov.u64 %rd2, {name}; mov.u32 %r, 0;
MORE:
ld.b8 %h, [%rd2]; st.global.b8 [%rd1], %h;
add.u64 %rd1, %rd1, 1; add.u64 %rd2, %rd2, 1; add.u32 %r, %r, 1;
setp.lt.u32 %p, %r, {size}; @%p bra MORE;
ret;
}}
"""
    )
    got = device.variant("avx2").run(ptx, "test", np.zeros(size, np.uint8), block=1)
    return got[0].view(dtype).tolist()


def test_scalars_and_arrays():
    assert values(".global .u32 x = 0x12345678;", "x", 1, np.uint32) == [0x12345678]
    assert values(".global .s64 x = -5;", "x", 1, np.int64) == [-5]
    assert values(".const .s16 x[4] = {1, -2, 0x7fff};", "x", 4, np.int16) == [1, -2, 32767, 0]
    assert values(".global .b8 x[] = {1, 2, 3, 4, 5};", "x", 5, np.uint8) == [1, 2, 3, 4, 5]
    matrix = ".global .u32 x[2][3] = {{1, 2, 3}, {4, 5, 6}};"
    assert values(matrix, "x", 6, np.uint32) == [1, 2, 3, 4, 5, 6]
    assert values(".global .u32 x[8];", "x", 8, np.uint32) == [0] * 8
    assert values(".global .v4 .b32 x = {1, 2, 3, 4};", "x", 4, np.uint32) == [1, 2, 3, 4]
    assert values(".global .u32 a, b = 7, c = 9;", "c", 1, np.uint32) == [9]


def test_inner_lists_that_are_short_are_filled_with_zeros():
    text = ".global .u16 x[3][4] = {{1, 2}, {3}, {4, 5, 6, 7}};"
    assert values(text, "x", 12, np.uint16) == [1, 2, 0, 0, 3, 0, 0, 0, 4, 5, 6, 7]


def test_floats():
    text = ".global .f32 x[5] = {1.5, -2.0, 0f3f800000, 0d4000000000000000, 3};"
    assert values(text, "x", 4, np.float32) == [1.5, -2.0, 1.0, 2.0]
    text = ".global .f64 x[4] = {1.5, -2.5e-1, 0f3f800000, 0d4000000000000000};"
    assert values(text, "x", 4, np.float64) == [1.5, -0.25, 1.0, 2.0]


def test_constant_expressions():
    text = ".global .s32 x[1 + 2 * 2] = {1 << 4, 7 % 4 - 5, (3 > 2) ? 10 : 20, ~0, -(2 + 3)};"
    assert values(text, "x", 5, np.int32) == [16, -2, 10, -1, -5]


def test_addresses():
    text = """.global .align 8 .b8 a[64]; .const .align 8 .u64 c[2];
.global .align 8 .u64 x[6] = {a, a+8, generic(a)+16, c, generic(c), 77};"""
    a, plus, generic, c, generic_c, last = values(text, "x", 6, np.uint64)
    assert (plus - a, generic - a, generic_c - c, last) == (8, 16, 0, 77)
    assert a not in (0, c)


def test_bytes_of_an_address():
    text = """.global .align 8 .b8 a[64]; .global .u64 whole = a+4;
.global .align 8 .b8 x[16] = {0xFF(a+4), 0xFF00(a+4), 0xFF0000(a+4), 0xFF000000(a+4),
0xFF00000000(a+4), 0xFF0000000000(a+4), 0xFF000000000000(a+4), 0xFF00000000000000(a+4), 1, 2};
.global .align 8 .u64 both[3] = {x, whole, a+4};"""
    text += "\n.global .align 8 .u64 unused = x;"
    assert values(text, "x", 10, np.uint8)[8:] == [1, 2]
    pair = text.replace("x[16] =", "x[24] =").replace(", 1, 2}", "}")
    ptx_bytes = values(pair, "x", 8, np.uint8)
    assert any(ptx_bytes)
    # The bytes are those of the address of `a` in the same module, which `whole` holds.
    kernel = (
        HEAD
        + pair
        + """
.visible .entry test(.param .u64 out)
{ .reg .b64 %rd<6>; .reg .b64 %x, %y, %z;
ld.param.u64 %rd1, [out]; mov.u64 %rd2, x; ld.b64 %x, [%rd2];
mov.u64 %rd3, whole; ld.b64 %y, [%rd3];
mov.u64 %z, a; st.global.b64 [%rd1], %x; st.global.b64 [%rd1+8], %y;
st.global.b64 [%rd1+16], %z; ret; }
"""
    )
    (got,) = device.variant("avx2").run(kernel, "test", np.zeros(3, np.uint64), block=1)
    assert got[0] == got[1] == got[2] + 4


def test_weak_and_common():
    assert values(".weak .global .u32 x = 5;", "x", 1, np.uint32) == [5]
    assert values(".common .global .u32 x;", "x", 1, np.uint32) == [0]
    assert values(".extern .global .u32 x;\n.visible .global .u32 x = 3;", "x", 1, np.uint32) == [3]


def test_extern_shared_has_no_size_of_its_own():
    ptx = (
        HEAD
        + """
.extern .shared .align 16 .b8 first[]; .extern .shared .align 4 .b8 second[];
.shared .align 4 .b8 fixed[12];
.visible .entry test(.param .u64 out)
{
.reg .b32 %r<6>; .reg .b64 %rd<2>;
ld.param.u64 %rd1, [out]; mov.u32 %r1, first; mov.u32 %r2, second; mov.u32 %r3, fixed;
sub.u32 %r4, %r2, %r1; sub.u32 %r5, %r1, %r3;
st.shared.u32 [first+96], %r1; ld.shared.u32 %r1, [second+96];
st.global.v2.b32 [%rd1], {%r4, %r5}; and.b32 %r1, %r1, 15; st.global.b32 [%rd1+8], %r1;
ret;
}
"""
    )
    (got,) = device.variant("portable").run(
        ptx, "test", np.zeros(3, np.uint32), block=1, shared=100
    )
    assert got[0] == 0  # both name the dynamic part
    assert got[1] >= 12
    assert got[2] == 0

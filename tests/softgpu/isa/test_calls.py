"""Device functions (PTX ISA 7, 9.7.12): the .param ABI, recursion, pointers, the stack."""

import numpy as np
import pytest

from softgpu.isa import device
from softgpu.isa.device import Refused
from softgpu.isa.instruction import Instruction, check

#: A structure by value, one returned, and every scalar width.
STRUCTURES = """
.func (.param .align 16 .b8 result[32]) mix(.param .align 8 .b8 s[24],
  .param .b8 small, .param .b16 half, .param .b64 big)
{
.reg .b64 %x<4>; .reg .b32 %y<4>; .reg .b16 %z<4>;
ld.param.b64 %x0, [s]; ld.param.b32 %y0, [s+8]; ld.param.u8 %z0, [s+12]; ld.param.b64 %x1, [s+16];
ld.param.s8 %z1, [small]; ld.param.s16 %y1, [half]; ld.param.b64 %x2, [big];
cvt.u64.u16 %x3, %z0; add.u64 %x0, %x0, %x3;
cvt.s64.s16 %x3, %z1; add.u64 %x1, %x1, %x3;
add.u32 %y0, %y0, %y1;
st.param.b64 [result], %x0; st.param.b64 [result+8], %x1; st.param.b32 [result+16], %y0;
st.param.b64 [result+24], %x2;
ret;
}
"""


def test_structures_and_scalars_by_value():
    text = """{{ .param .align 8 .b8 s[24]; .param .b8 small; .param .b16 half; .param .b64 big;
.param .align 16 .b8 result[32]; .reg .b16 %small; .reg .b16 %half;
cvt.u16.u64 %small, {b}; shr.u16 %half, %small, 8;
st.param.b64 [s], {a}; st.param.b32 [s+8], {c}; st.param.b8 [s+12], %half; st.param.b64 [s+16], {b};
st.param.b8 [small], %small; st.param.b16 [half], %small; st.param.b64 [big], {x};
call (result), mix, (s, small, half, big);
ld.param.b64 {d}, [result]; ld.param.b64 {e}, [result+8]; ld.param.b32 {f}, [result+16];
ld.param.b64 {g}, [result+24]; }}"""

    def signed(v: int, bits: int) -> int:
        v &= (1 << bits) - 1
        return v - (1 << bits) if v >> (bits - 1) else v

    check(
        Instruction(text, declare=STRUCTURES, d="b64", e="b64", f="b32", g="b64",
                    a="b64", b="b64", c="b32", x="b64"),
        lambda a, b, c, x: (a + (b >> 8 & 255), b + signed(b, 8), c + signed(b, 16), x),
        edges=dict.fromkeys("abcx", (0, 0x80FF, -1)),
    )  # fmt: skip


def test_registers_and_constants_as_arguments():
    """Formals in .reg, actuals in registers or literals (PTX ISA 7.1)."""
    declare = """
.func (.reg .b32 sum, .param .b64 wide) add_up(.reg .b32 x, .reg .b64 y, .param .b32 z)
{
.reg .b32 t; .reg .pred p;
ld.param.b32 t, [z];
add.u32 sum, x, t;
st.param.b64 [wide], y;
setp.eq.u32 p, x, 7;
@p ret;
add.u32 sum, sum, 1000;
ret;
}
"""
    check(
        Instruction(
            "{{ .reg .b32 %s; .reg .b64 %w; call ({d}, {e}), add_up, ({a}, {b}, 5);"
            " call (%s, %w), add_up, (7, {b}, {a}); mov.b32 {f}, %s; }}",
            declare=declare, d="b32", e="b64", f="b32", a="b32", b="b64",
        ),
        lambda a, b: (a + 5 + (1000 if a != 7 else 0), b, a + 7),
        edges={"a": [0, 7, 8, -1]},
    )  # fmt: skip


FIBONACCI = """
.func (.param .b32 result) fibonacci(.param .b32 n)
{
.reg .b32 %r<6>; .reg .pred %p;
ld.param.b32 %r0, [n];
setp.lt.s32 %p, %r0, 2;
mov.b32 %r3, %r0;
@%p bra DONE;
sub.s32 %r1, %r0, 1;
{ .param .b32 x; .param .b32 y; st.param.b32 [x], %r1;
  call (y), fibonacci, (x); ld.param.b32 %r2, [y]; }
sub.s32 %r1, %r0, 2;
{ .param .b32 x; .param .b32 y; st.param.b32 [x], %r1;
  call (y), fibonacci, (x); ld.param.b32 %r3, [y]; }
add.s32 %r3, %r3, %r2;
DONE:
st.param.b32 [result], %r3;
ret;
}
"""


def test_recursion_that_differs_by_lane():
    def fibonacci(n: int) -> int:
        a, b = 0, 1
        for _ in range(n):
            a, b = b, a + b
        return a

    check(
        Instruction(
            "{{ .param .b32 x; .param .b32 y; rem.u32 {a}, {a}, 9; st.param.b32 [x], {a};"
            " call (y), fibonacci, (x); ld.param.b32 {d}, [y]; }}",
            declare=FIBONACCI, d="b32", a="b32",
        ),
        lambda a: fibonacci(a % 9),
        count=32,
    )  # fmt: skip


def test_endless_recursion_is_a_stack_overflow():
    declare = """
.func endless(.param .b32 n)
{
.local .b8 frame[64]; .reg .b32 %r<2>; .param .b32 x;
ld.param.b32 %r0, [n]; st.local.b32 [frame], %r0; st.param.b32 [x], %r0;
call endless, (x);
ret;
}
"""
    text = "{{ .param .b32 x; st.param.b32 [x], {a}; call endless, (x); }}"
    with pytest.raises(Refused, match="stack overflow"):
        check(Instruction(text, declare=declare, a="b32"), lambda a: ())


TABLE = """
.func (.param .b32 r) twice(.param .b32 v) { .reg .b32 %a; ld.param.b32 %a, [v]; add.u32 %a, %a, %a;
  st.param.b32 [r], %a; ret; }
.func (.param .b32 r) next(.param .b32 v) { .reg .b32 %a; ld.param.b32 %a, [v]; add.u32 %a, %a, 1;
  st.param.b32 [r], %a; ret; }
.func (.param .b32 r) negated(.param .b32 v) { .reg .b32 %a; ld.param.b32 %a, [v]; neg.s32 %a, %a;
  st.param.b32 [r], %a; ret; }
.global .align 8 .u64 table[3] = {twice, next, negated};
"""


@pytest.mark.parametrize("kind", ["prototype", "targets", "table"])
def test_indirect_calls_that_differ_by_lane(kind):
    last = {"prototype": "proto", "targets": "list", "table": "table"}[kind]
    text = f"""{{{{ .param .b32 x; .param .b32 y; .reg .b64 %f; .reg .b32 %i; .reg .pred %last;
proto: .callprototype (.param .b32 _) _ (.param .b32 _);
list: .calltargets twice, next, negated;
rem.u32 %i, {{b}}, 3;
mov.u64 %f, table; mad.wide.u32 %f, %i, 8, %f; ld.global.u64 %f, [%f];
setp.eq.u32 %last, %i, 2; @%last mov.u64 %f, negated;
st.param.b32 [x], {{a}};
call (y), %f, (x), {last};
ld.param.b32 {{d}}, [y]; }}}}"""
    check(
        Instruction(text, declare=TABLE, d="b32", a="b32", b="b32"),
        lambda a, b: (a + a, a + 1, -a)[b % 3],
    )


def test_a_wild_function_pointer_is_a_fault():
    text = """{{ .param .b32 x; .param .b32 y; .reg .b64 %f;
proto: .callprototype (.param .b32 _) _ (.param .b32 _);
mov.u64 %f, 4096; st.param.b32 [x], {a}; call (y), %f, (x), proto; ld.param.b32 {d}, [y]; }}"""
    with pytest.raises(Refused, match="715"):
        check(Instruction(text, declare=TABLE, d="b32", a="b32"), lambda a: 0)


def test_a_function_that_does_not_fit_its_prototype_is_a_fault():
    text = """{{ .param .align 8 .b8 x[64]; .param .b32 y; .reg .b64 %f;
proto: .callprototype (.param .b32 _) _ (.param .align 8 .b8 _[64]);
mov.u64 %f, twice; call (y), %f, (x), proto; ld.param.b32 {d}, [y]; }}"""
    with pytest.raises(Refused, match="prototype"):
        check(Instruction(text, declare=TABLE, d="b32", a="b32"), lambda a: 0)


def test_brx_takes_every_lane_its_own_way():
    text = """{{ .reg .b32 %i;
ways: .branchtargets A, B, C, A;
and.b32 %i, {a}, 3;
brx.idx %i, ways;
A: add.u32 {d}, {a}, 10; bra.uni OUT;
B: mul.lo.u32 {d}, {a}, 3; bra OUT;
C: mov.b32 {d}, 7;
OUT: }}"""
    check(
        Instruction(text, d="b32", a="b32"),
        lambda a: (a + 10, a * 3, 7, a + 10)[a & 3],
    )


def test_alias():
    declare = TABLE + ".func (.param .b32 r) other(.param .b32 v);\n.alias other, next;\n"
    text = """{{ .param .b32 x; .param .b32 y; st.param.b32 [x], {a}; call (y), other, (x);
ld.param.b32 {d}, [y]; }}"""
    check(Instruction(text, declare=declare, d="b32", a="b32"), lambda a: a + 1, count=8)


def test_alloca():
    """Blocks of a size that differs by lane do not overlap, and stackrestore gives them back."""
    text = """{{ .reg .u64 %top, %x, %y, %again; .reg .b64 %size; .reg .pred %same;
and.b32 {a}, {a}, 63; cvt.u64.u32 %size, {a};
stacksave.u64 %top;
alloca.u64 %x, %size; alloca.u64 %y, 64, 32;
st.local.b32 [%y], {a}; st.local.b32 [%y+60], {b};
setp.lt.u32 %same, {a}, 4; @%same bra SMALL;
st.local.b8 [%x], {b};
SMALL:
{ .param .b32 p; .param .b32 q; st.param.b32 [p], {b}; call (q), uses_stack, (p);
ld.param.b32 {f}, [q]; }
ld.local.b32 {d}, [%y]; ld.local.b32 {e}, [%y+60];
and.b64 %y, %y, 31; setp.ne.u64 %same, %y, 0; @%same mov.b32 {d}, 0xbad;
stackrestore.u64 %top; alloca.u64 %again, %size; setp.ne.u64 %same, %x, %again;
@%same mov.b32 {e}, 0xbad; }}"""
    declare = """
.func (.param .b32 r) uses_stack(.param .b32 v)
{
.reg .b32 %a, %b; .reg .u32 %p; .local .align 4 .b8 own[8];
ld.param.b32 %a, [v]; st.local.b32 [own+4], %a;
alloca.u32 %p, 16, 16; st.local.b32 [%p], 0; st.local.b32 [%p+12], 1;
ld.local.b32 %a, [own+4]; ld.local.b32 %b, [%p+12]; add.u32 %a, %a, %b;
st.param.b32 [r], %a; ret;
}
"""
    inner = text.replace("{ .param", "{{ .param").replace("[q]; }", "[q]; }}")
    check(
        Instruction(inner, declare=declare, d="b32", e="b32", f="b32", a="b32", b="b32"),
        lambda a, b: (a & 63, b, b + 1),
        count=32,
    )


def test_alloca_without_end_is_a_stack_overflow():
    text = "{{ .reg .u64 %x; alloca.u64 %x, 0x100000000; cvt.u32.u64 {d}, %x; }}"
    with pytest.raises(Refused, match="stack overflow"):
        check(Instruction(text, d="b32"), lambda: 0)


def test_exit_and_trap():
    head = ".version 8.0\n.target sm_80\n.address_size 64\n"
    ptx = (
        head
        + """.visible .entry test(.param .u64 out) {
.reg .b32 %r<3>; .reg .b64 %rd<3>; .reg .pred %p;
ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mad.wide.u32 %rd1, %r1, 4, %rd1;
call leaves; st.global.u32 [%rd1], 1; ret;
}"""
    )
    leaves = """.func leaves() { .reg .b32 %r; .reg .pred %p; mov.u32 %r, %tid.x;
setp.lt.u32 %p, %r, 20; @%p exit; ret; }
"""
    for variant in device.VARIANTS:
        text = ptx.replace(".visible", leaves + ".visible", 1)
        (got,) = device.variant(variant).run(text, "test", np.zeros(64, np.uint32), block=64)
        assert got.tolist() == [0] * 20 + [1] * 44
    with pytest.raises(Refused, match="719"):
        check(Instruction("trap;", a="b32"), lambda a: ())

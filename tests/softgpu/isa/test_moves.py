"""mov with every vector shape (PTX ISA 9.7.9.4, 9.7.9.5), literals, and vector registers."""

import pytest

from softgpu.isa.instruction import Instruction, check
from softgpu.isa.values import WIDTHS

SHAPES = [("b16", 2), ("b32", 2), ("b32", 4), ("b64", 2), ("b64", 4), ("b128", 2)]


@pytest.mark.parametrize(("whole", "count"), SHAPES)
def test_pack_and_unpack(whole, count):
    width = WIDTHS[whole] // count
    element = f"b{width}"
    names = "abcx"[:count]
    parts = ", ".join(f"{{{n}}}" for n in names)
    check(
        Instruction(
            f"mov.{whole} {{d}}, {{{{{parts}}}}};", d=whole, **dict.fromkeys(names, element)
        ),
        lambda *values: sum(v << (width * i) for i, v in enumerate(values)),
    )
    results = "defg"[:count]
    parts = ", ".join(f"{{{n}}}" for n in results)
    check(
        Instruction(
            f"mov.{whole} {{{{{parts}}}}}, {{a}};", a=whole, **dict.fromkeys(results, element)
        ),
        lambda a: tuple(a >> (width * i) for i in range(count)),
    )
    sink = ", ".join(["_"] * (count - 1))
    check(
        Instruction(f"mov.{whole} {{{{{sink}, {{d}}}}}}, {{a}};", a=whole, d=element),
        lambda a: a >> (width * (count - 1)),
    )


@pytest.mark.parametrize("kind", ["b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "s64",
                                  "f64", "b128", "pred"])  # fmt: skip
def test_plain(kind):
    check(Instruction(f"mov.{kind} {{d}}, {{a}};", d=kind, a=kind), lambda a: a)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0x1234ABCD", 0x1234ABCD), ("0X7fffffffU", 0x7FFFFFFF), ("017", 15), ("0b1011", 11),
     ("-1", -1), ("-0x80000000", 0x80000000), ("~5", ~5), ("4294967295", -1), ("WARP_SZ", 32),
     ("(1 << 20) + 3", (1 << 20) + 3), ("7 * (2 - 5) / 4", -5), ("1 ? 10 : 20", 10),
     ("!3 || 0x10 >> 2 == 4", 1), ("~0 & 0xff ^ 0x0f | 0x100", 0x1F0), ("17 % 5 != 2", 0),
     ("(.u64)0xffffffff00000000 >> 32", 0xFFFFFFFF), ("-7 / 2", -3), ("0 && 1", 0)],
)  # fmt: skip
def test_literals(text, value):
    """PTX ISA 4.5: radices, operators, and their precedence."""
    check(Instruction(f"mov.b32 {{d}}, {text};", d="b32"), lambda: value)


@pytest.mark.parametrize(
    ("kind", "text", "bits"),
    [("f32", "0f3F800000", 0x3F800000), ("f32", "1.5", 0x3FC00000), ("f32", "-0.0", 0x80000000),
     ("f64", "0d3FF0000000000000", 0x3FF0000000000000), ("f64", "2.5e-1", 0x3FD0000000000000),
     ("f64", "0f40000000", 0x4000000000000000), ("f32", "0d3FF8000000000000", 0x3FC00000)],
)  # fmt: skip
def test_float_literals(kind, text, bits):
    check(Instruction(f"mov.{kind} {{d}}, {text};", d=kind), lambda: bits)


def test_vector_registers():
    """.reg .v2 and .v4 with components x, y, z, w or r, g, b, a (PTX ISA 5.4.2)."""
    check(
        Instruction(
            "mov.b32 %v.x, {a}; mov.b32 %v.y, {b}; mov.b32 %v.b, {c}; add.u32 %v.w, %v.r, %v.g;"
            " mov.b32 {d}, %v.w; mov.b32 {e}, %v.z; mov.b64 {f}, %two; mov.b64 %two, {x};"
            " mov.b32 {g}, %two.y;",
            setup=".reg .v4 .b32 %v; .reg .v2 .b32 %two; mov.b32 %two.x, 5; mov.b32 %two.y, 6;",
            d="b32", e="b32", f="b64", g="b32", a="b32", b="b32", c="b32", x="b64",
        ),
        lambda a, b, c, x: (a + b, c, 5 | 6 << 32, x >> 32),
        edges=dict.fromkeys("abcx", (0, 1, -1, 0x0123456789ABCDEF)),
    )  # fmt: skip

"""Comparison and selection of integers (PTX ISA 9.7.6), and conversion among them (9.7.9.21)."""

import operator

import pytest

from softgpu.isa.instruction import Instruction, check
from softgpu.isa.values import WIDTHS, is_signed

ORDER = {"lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge}
EQUAL = {"eq": operator.eq, "ne": operator.ne}
UNSIGNED_NAMES = {"lo": operator.lt, "ls": operator.le, "hi": operator.gt, "hs": operator.ge}
BOOLEANS = {
    "and": lambda t, c: t and c,
    "or": lambda t, c: t or c,
    "xor": lambda t, c: bool(t) != bool(c),
}
KINDS = ["b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64"]


def comparisons(kind: str):
    if kind[0] == "b":
        return EQUAL
    return EQUAL | ORDER | (UNSIGNED_NAMES if kind[0] == "u" else {})


@pytest.mark.parametrize("kind", KINDS)
def test_setp(kind):
    for name, compare in comparisons(kind).items():
        check(
            Instruction(f"setp.{name}.{kind} {{d}}, {{a}}, {{b}};", d="pred", a=kind, b=kind),
            compare,
            count=64,
        )


@pytest.mark.parametrize("boolean", BOOLEANS)
def test_setp_with_booleans(boolean):
    combine = BOOLEANS[boolean]
    for name, kind in (("lt", "s32"), ("hs", "u64"), ("ne", "b16")):
        compare = comparisons(kind)[name]

        def model(a: int, b: int, c: int, compare=compare) -> tuple[bool, bool]:
            truth = compare(a, b)
            return combine(truth, bool(c)), combine(not truth, bool(c))

        kinds = {"d": "pred", "a": kind, "b": kind, "c": "pred"}
        text = f"setp.{name}.{boolean}.{kind}"
        check(Instruction(f"{text} {{d}}|{{e}}, {{a}}, {{b}}, {{c}};", e="pred", **kinds), model)
        check(
            Instruction(f"{text} {{d}}, {{a}}, {{b}}, !{{c}};", **kinds),
            lambda a, b, c, model=model: model(a, b, not c)[0],
        )
        check(
            Instruction(f"{text} _|{{d}}, {{a}}, {{b}}, {{c}};", **kinds),
            lambda a, b, c, model=model: model(a, b, c)[1],
        )
        # The results may be the predicate that is combined.
        check(
            Instruction(
                "{{ .reg .pred %t; mov.pred %t, {c}; "
                f"{text} %t|{{d}}, {{a}}, {{b}}, %t; mov.pred {{e}}, %t; }}}}",
                e="pred", **kinds,
            ),
            lambda a, b, c, model=model: model(a, b, c)[::-1],
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["b16", "b32", "b64", "u16", "s16", "u32", "s32", "u64", "s64"])
def test_set(kind):
    for name, compare in comparisons(kind).items():
        for result, truth in (("u32", 0xFFFFFFFF), ("s32", -1), ("f32", 0x3F800000)):
            check(
                Instruction(
                    f"set.{name}.{result}.{kind} {{d}}, {{a}}, {{b}};", d=result, a=kind, b=kind
                ),
                lambda a, b, compare=compare, truth=truth: truth if compare(a, b) else 0,
                count=32,
            )
    check(
        Instruction(
            f"set.ne.xor.u32.{kind} {{d}}, {{a}}, {{b}}, {{c}};", d="u32", a=kind, b=kind, c="pred"
        ),
        lambda a, b, c: -1 if (a != b) != bool(c) else 0,
    )


@pytest.mark.parametrize("kind", [*KINDS, "f32", "f64"])
def test_selp_and_slct(kind):
    check(
        Instruction(f"selp.{kind} {{d}}, {{a}}, {{b}}, {{c}};", d=kind, a=kind, b=kind, c="pred"),
        lambda a, b, c: a if c else b,
    )
    check(
        Instruction(f"selp.{kind} {{d}}, {{a}}, {{b}}, !{{c}};", d=kind, a=kind, b=kind, c="pred"),
        lambda a, b, c: b if c else a,
    )
    check(
        Instruction(
            f"slct.{kind}.s32 {{d}}, {{a}}, {{b}}, {{c}};", d=kind, a=kind, b=kind, c="s32"
        ),
        lambda a, b, c: a if c >= 0 else b,
    )
    for flush in ("", ".ftz"):

        def by_float(a: int, b: int, c: int, flush: str = flush) -> int:
            magnitude = c & 0x7FFFFFFF
            if magnitude > 0x7F800000:
                return b  # a NaN is not greater than or equal to zero
            zero = magnitude == 0 or (flush and magnitude < 0x00800000)
            return a if zero or not c >> 31 else b

        check(
            Instruction(
                f"slct{flush}.{kind}.f32 {{d}}, {{a}}, {{b}}, {{c}};",
                d=kind,
                a=kind,
                b=kind,
                c="f32",
            ),
            by_float,
        )


INTEGERS = ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"]


@pytest.mark.parametrize("source", INTEGERS)
def test_conversions(source):
    for result in INTEGERS:
        check(
            Instruction(f"cvt.{result}.{source} {{d}}, {{a}};", d=result, a=source),
            lambda a: a,
            count=64,
        )
        low = -(1 << (WIDTHS[result] - 1)) if is_signed(result) else 0
        high = low + (1 << WIDTHS[result]) - 1
        check(
            Instruction(f"cvt.sat.{result}.{source} {{d}}, {{a}};", d=result, a=source),
            lambda a, low=low, high=high: max(low, min(a, high)),
            count=64,
        )


def test_cvt_pack():
    def clamp(bits: int, signed: bool, value: int) -> int:
        low = -(1 << (bits - 1)) if signed else 0
        return max(low, min(value, low + (1 << bits) - 1)) & ((1 << bits) - 1)

    for kind in ("u16", "s16"):
        check(
            Instruction(f"cvt.pack.sat.{kind}.s32 {{d}}, {{a}}, {{b}};", d="b32", a="s32", b="s32"),
            lambda a, b, s=kind == "s16": clamp(16, s, a) << 16 | clamp(16, s, b),
        )
    for kind in ("u8", "s8"):
        check(
            Instruction(
                f"cvt.pack.sat.{kind}.s32.b32 {{d}}, {{a}}, {{b}}, {{c}};",
                d="b32", a="s32", b="s32", c="b32",
            ),
            lambda a, b, c, s=kind == "s8": c << 16 | clamp(8, s, a) << 8 | clamp(8, s, b),
        )  # fmt: skip
    for kind, bits in (("u4", 4), ("s4", 4), ("u2", 2), ("s2", 2)):
        check(
            Instruction(
                f"cvt.pack.sat.{kind}.s32.b32 {{d}}, {{a}}, {{b}}, {{c}};",
                d="b32", a="s32", b="s32", c="b32",
            ),
            lambda a, b, c, s=kind[0] == "s", n=bits: (
                c << 2 * n | clamp(n, s, a) << n | clamp(n, s, b)
            ),
        )  # fmt: skip

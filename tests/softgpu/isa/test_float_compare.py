"""Comparison and selection of floating-point values (PTX ISA 9.3.1, 9.7.6, 9.7.7)."""

import itertools
from fractions import Fraction

import pytest

from softgpu.isa.floats import FORMATS
from softgpu.isa.instruction import Instruction, check
from softgpu.isa.values import float_edges

ORDERED = ("eq", "ne", "lt", "le", "gt", "ge")
COMPARISONS = (*ORDERED, *(f"{name}u" for name in ORDERED), "num", "nan")
COMBINE = {
    "": lambda t, c: t,
    ".and": lambda t, c: t and c,
    ".or": lambda t, c: t or c,
    ".xor": lambda t, c: t != c,
}
KINDS = ["f16", "bf16", "f32", "f64"]
ORDER = {
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
}


def value(x):
    """A number that Python orders; infinities lie beyond all others."""
    size = Fraction(2) ** 2000 if x.kind == "inf" else Fraction(x.m) * Fraction(2) ** x.e
    return -size if x.negative else size


def holds(name, kind, a, b, ftz=False):
    fmt = FORMATS[kind]
    if ftz:
        a, b = fmt.flush(a), fmt.flush(b)
    x, y = fmt.decode(a), fmt.decode(b)
    unordered = "nan" in (x.kind, y.kind)
    if name in ("num", "nan"):
        return unordered == (name == "nan")
    if unordered:
        return name.endswith("u")
    return ORDER[name.removesuffix("u")](value(x), value(y))


def flushing(kind):
    return ("", ".ftz") if kind in ("f16", "f32") else ("",)


@pytest.mark.parametrize("kind", KINDS)
def test_setp(kind):
    # Two comparisons at a time; single and double precision have a second result, the complement.
    both = kind in ("f32", "f64")
    pairs = zip(COMPARISONS[::2], COMPARISONS[1::2], strict=True)
    combine = itertools.cycle(COMBINE)
    modifiers = itertools.cycle(flushing(kind))
    for first, second in pairs:
        how, ftz = next(combine), next(modifiers)
        tail = f"{how}{ftz}.{kind} %s, {{a}}, {{b}}{', {c}' if how else ''};"
        results = ("{d}|{e}", "{f}|{g}") if both else ("{d}", "{e}")
        text = f"setp.{first}{tail % results[0]} setp.{second}{tail % results[1]}"

        def model(a, b, c, names=(first, second), how=how, ftz=bool(ftz)):
            truths = [holds(name, kind, a, b, ftz) for name in names]
            wanted = [v for t in truths for v in ((t, not t) if both else (t,))]
            return tuple(COMBINE[how](v, bool(c)) for v in wanted)

        predicates = dict.fromkeys("defg" if both else "de", "pred")
        check(Instruction(text, **predicates, a=kind, b=kind, c="pred"), model, count=64)


@pytest.mark.parametrize("kind", ["f16x2", "bf16x2"])
def test_setp_of_pairs(kind):
    single = kind.removesuffix("x2")
    for name, how in zip(COMPARISONS, itertools.cycle(COMBINE)):
        tail = ", !{c};" if how else ";"

        def model(a, b, c, name=name, how=how):
            halves = ((a & 0xFFFF, b & 0xFFFF), (a >> 16, b >> 16))
            return tuple(COMBINE[how](holds(name, single, x, y), not c) for x, y in halves)

        check(
            Instruction(
                f"setp.{name}{how}.{kind} {{d}}|{{e}}, {{a}}, {{b}}{tail}",
                d="pred", e="pred", a=kind, b=kind, c="pred",
            ),
            model,
            count=64,
        )  # fmt: skip


#: Destination type: what it holds for true.
ONE = {
    "u32": 0xFFFFFFFF,
    "s32": -1,
    "f32": 0x3F800000,
    "u16": 0xFFFF,
    "f16": 0x3C00,
    "bf16": 0x3F80,
}


@pytest.mark.parametrize("kind", KINDS)
def test_set(kind):
    destinations = ["u32", "s32", "f32"]
    if kind in ("f16", "bf16"):
        destinations = ["u32", "s32", "u16", kind]
    for (to, how), name in zip(
        itertools.product(destinations, COMBINE), itertools.cycle(COMPARISONS[::-1])
    ):
        tail = ", {c};" if how else ";"

        def model(a, b, c, to=to, how=how, name=name):
            return ONE[to] if COMBINE[how](holds(name, kind, a, b), bool(c)) else 0

        check(
            Instruction(
                f"set.{name}{how}.{to}.{kind} {{d}}, {{a}}, {{b}}{tail}",
                d=to, a=kind, b=kind, c="pred",
            ),
            model,
            count=64,
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["f16x2", "bf16x2"])
def test_set_of_pairs(kind):
    single = kind.removesuffix("x2")
    for to, name in itertools.product([kind, "u32"], ["ge", "neu"]):
        one = 0xFFFF if to == "u32" else ONE[single]

        def model(a, b, one=one, name=name):
            low = one if holds(name, single, a & 0xFFFF, b & 0xFFFF) else 0
            return low | (one if holds(name, single, a >> 16, b >> 16) else 0) << 16

        text = f"set.{name}.{to}.{kind} {{d}}, {{a}}, {{b}};"
        check(Instruction(text, d=to, a=kind, b=kind), model, count=64)


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_selp(kind):
    text = f"selp.{kind} {{d}}, {{a}}, {{b}}, {{c}}; selp.{kind} {{e}}, {{a}}, {{b}}, !{{c}};"
    check(
        Instruction(text, d=kind, e=kind, a=kind, b=kind, c="pred"),
        lambda a, b, c: (a, b) if c else (b, a),
    )


@pytest.mark.parametrize("kind", ["b16", "b32", "b64", "u16", "s32", "f32", "f64"])
def test_slct_by_a_float(kind):
    for ftz in ("", ".ftz"):

        def model(a, b, c, ftz=bool(ftz)):
            return a if holds("ge", "f32", c, 0, ftz) else b

        check(
            Instruction(
                f"slct{ftz}.{kind}.f32 {{d}}, {{a}}, {{b}}, {{c}};", d=kind, a=kind, b=kind, c="f32"
            ),
            model,
            edges={"a": [1, 2], "b": [3], "c": float_edges("f32")},
            count=64,
        )

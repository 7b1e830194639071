"""Video instructions (PTX ISA 9.7.19) against exact integers."""

import itertools
import operator

import pytest

from softgpu.isa.instruction import Instruction, check
from softgpu.isa.values import wrap

TYPES = ["u32", "s32"]
COMPARES = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt,
    "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip
ARITHMETIC = {
    "vadd": lambda a, b: a + b,
    "vsub": lambda a, b: a - b,
    "vabsdiff": lambda a, b: abs(a - b),
    "vmin": min,
    "vmax": max,
}
EDGES = [0, 1, 0x7F80, 0x8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x12F48095]
FEW = dict.fromkeys("abc", EDGES)
COUNT = 16


def part(value: int, kind: str, select: str) -> int:
    """The byte, half or word that a selector names, extended by the type."""
    sign = kind[0]
    if not select:
        return wrap(kind, value)
    width = 8 if select[0] == "b" else 16
    return wrap(f"{sign}{width}", value >> (width * int(select[1])))


def clamp(value: int, kind: str, width: int) -> int:
    low = -(1 << (width - 1)) if kind == "s32" else 0
    return max(low, min(value, low + (1 << width) - 1))


def width_of(select: str) -> int:
    return {"": 32, "b": 8, "h": 16}[select[:1]]


def merge(value: int, select: str, c: int) -> int:
    width = width_of(select)
    at = width * int(select[1]) if select else 0
    mask = ((1 << width) - 1) << at
    return (c & ~mask) | (value << at & mask)


SECONDARY = {"add": lambda x, c: x + c, "min": min, "max": max}


def dotted(name: str) -> str:
    return f".{name}" if name else ""


def operands(select_a: str, select_b: str) -> str:
    return f"{{a}}{dotted(select_a)}, {{b}}{dotted(select_b)}"


SELECTIONS = [("", ""), ("b3", "h1"), ("h0", "b0")]


@pytest.mark.parametrize("name", ARITHMETIC)
def test_scalar(name):
    compute = ARITHMETIC[name]
    secondaries = itertools.cycle(SECONDARY.items())
    selects = itertools.cycle(("b1", "h0", "h1", "b3", "b0"))
    selections = itertools.cycle(SELECTIONS)
    for to, ka, kb, sat in itertools.product(TYPES, TYPES, TYPES, ("", ".sat")):
        first, second = next(selections)
        text = f"{name}.{to}.{ka}.{kb}{sat}"

        def value(a: int, b: int, width: int, to=to, ka=ka, kb=kb, pair=(first, second), sat=sat):
            result = compute(part(a, ka, pair[0]), part(b, kb, pair[1]))
            return clamp(result, to, width) if sat else result

        check(
            Instruction(f"{text} {{d}}, {operands(first, second)};", d=to, a="b32", b="b32"),
            lambda a, b, value=value: value(a, b, 32), edges=FEW, count=COUNT,
        )  # fmt: skip
        for second_op, combine in [next(secondaries)]:
            check(
                Instruction(
                    f"{text}.{second_op} {{d}}, {operands(first, second)}, {{c}};",
                    d=to, a="b32", b="b32", c=to,
                ),
                lambda a, b, c, value=value, combine=combine: combine(value(a, b, 32), c),
                edges=FEW, count=COUNT,
            )  # fmt: skip
        for select in (next(selects),):
            check(
                Instruction(
                    f"{text} {{d}}.{select}, {operands(first, second)}, {{c}};",
                    d="b32", a="b32", b="b32", c="b32",
                ),
                lambda a, b, c, value=value, select=select: merge(
                    value(a, b, width_of(select)), select, c
                ),
                edges=FEW, count=COUNT,
            )  # fmt: skip


@pytest.mark.parametrize("name", ["vshl", "vshr"])
@pytest.mark.parametrize("mode", ["clamp", "wrap"])
def test_shifts(name, mode):
    for to, ka in itertools.product(TYPES, TYPES):
        for sat in ("", ".sat"):

            def model(a: int, b: int, c: int, to=to, ka=ka, sat=sat) -> int:
                count = (
                    min(part(b, "u32", "h0"), 32) if mode == "clamp" else part(b, "u32", "h0") & 31
                )
                value = part(a, ka, "")
                value = value << count if name == "vshl" else value >> count
                return c + (clamp(value, to, 32) if sat else value)

            check(
                Instruction(
                    f"{name}.{to}.{ka}.u32{sat}.{mode}.add {{d}}, {{a}}, {{b}}.h0, {{c}};",
                    d=to, a="b32", b="b32", c=to,
                ),
                model, edges=FEW | {"b": [0, 1, 31, 32, 33, 255, 0xFFFF]}, count=COUNT,
            )  # fmt: skip


@pytest.mark.parametrize("compare", COMPARES)
def test_vset(compare):
    truth = COMPARES[compare]
    for ka, kb in itertools.product(TYPES, TYPES):
        check(
            Instruction(
                f"vset.{ka}.{kb}.{compare} {{d}}, {{a}}.h1, {{b}}.b0;", d="u32", a="b32", b="b32"
            ),
            lambda a, b, ka=ka, kb=kb: truth(part(a, ka, "h1"), part(b, kb, "b0")),
            edges=FEW, count=COUNT,
        )  # fmt: skip
        check(
            Instruction(
                f"vset.{ka}.{kb}.{compare} {{d}}.b2, {{a}}, {{b}}, {{c}};",
                d="u32", a="b32", b="b32", c="b32",
            ),
            lambda a, b, c, ka=ka, kb=kb: merge(truth(part(a, ka, ""), part(b, kb, "")), "b2", c),
            edges=FEW, count=COUNT,
        )  # fmt: skip


def test_vmad():
    for ka, kb, sign, scale in itertools.product(TYPES, TYPES, ("", "a", "c", "po"), (0, 15)):
        final = "s32" if "s32" in (ka, kb) or sign in ("a", "c") else "u32"
        for sat in ("", ".sat"):

            def model(
                a: int, b: int, c: int, ka=ka, kb=kb, sign=sign, scale=scale, sat=sat, final=final
            ):
                product = part(a, ka, "h1") * part(b, kb, "")
                if sign == "a":
                    product = -product
                third = wrap(final, ~c + 0 if sign == "c" else c)
                result = product + third + (sign in ("c", "po")) >> scale
                return clamp(result, final, 32) if sat else result

            po = ".po" if sign == "po" else ""
            shift = f".shr{scale}" if scale else ""
            check(
                Instruction(
                    f"vmad.{final}.{ka}.{kb}{po}{sat}{shift} {{d}}, {'-' * (sign == 'a')}{{a}}.h1,"
                    f" {{b}}, {'-' * (sign == 'c')}{{c}};",
                    d="b32", a="b32", b="b32", c="b32",
                ),
                model, edges=FEW, count=COUNT,
            )  # fmt: skip


def average(a: int, b: int) -> int:
    return (a + b + 1) >> 1 if a + b >= 0 else (a + b) >> 1


SIMD = {
    2: [("", "", ""), ("h1", "h23", "h01"), ("h0", "h00", "h33")],
    4: [("", "", ""), ("b310", "b7263", "b0451"), ("b2", "b1111", "b7654")],
}


def elements(a: int, b: int, select: str, kind: str, n: int, first: int) -> list[int]:
    """The n chosen elements, the least significant first."""
    width = 32 // n
    places = [int(c) for c in reversed(select[1:])] or list(range(first, first + n))
    both = b << 32 | a
    return [wrap(f"{kind[0]}{width}", both >> (width * p)) for p in places]


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("name", [*ARITHMETIC, "vavrg", "vset"])
def test_simd(name, n):
    width = 32 // n
    compute = (ARITHMETIC | {"vavrg": average}).get(name)
    kinds = itertools.cycle(itertools.product(TYPES, TYPES, TYPES))
    compares = itertools.cycle(COMPARES)
    forms = ("", ".add") if name == "vset" else ("", ".sat", ".add")
    for (taken, first, second), form in itertools.product(SIMD[n], forms):
        to, ka, kb = next(kinds)
        compare = next(compares)
        work = compute or COMPARES[compare]
        places = {int(c) for c in taken[1:]} or set(range(n))

        def model(
            a, b, c, to=to, ka=ka, kb=kb, pair=(first, second), form=form, work=work, places=places
        ):
            va = elements(a, b, pair[0], ka, n, 0)
            vb = elements(a, b, pair[1], kb, n, n)
            results = [int(work(x, y)) for x, y in zip(va, vb, strict=True)]
            if form == ".add":
                return c + sum(results[i] for i in places)
            merged = c
            for i in places:
                value = clamp(results[i], to, width) if form == ".sat" else results[i]
                mask = ((1 << width) - 1) << (width * i)
                merged = (merged & ~mask) | (value << (width * i) & mask)
            return merged

        types = f".{ka}.{kb}.{compare}" if name == "vset" else f".{to}.{ka}.{kb}"
        kind = "u32" if name == "vset" else to
        check(
            Instruction(
                f"{name}{n}{types}{form} {{d}}{dotted(taken)}, {operands(first, second)}, {{c}};",
                d=kind, a="b32", b="b32", c=kind,
            ),
            model, edges=FEW, count=COUNT,
        )  # fmt: skip

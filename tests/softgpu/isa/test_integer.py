"""Integer arithmetic (PTX ISA 9.7.1, 9.7.2) against exact integers."""

import pytest

from softgpu.isa.instruction import Instruction, check
from softgpu.isa.values import WIDTHS, is_signed, wrap

UNSIGNED = ["u16", "u32", "u64"]
SIGNED = ["s16", "s32", "s64"]
ALL = UNSIGNED + SIGNED
WIDE = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}


def clamp(kind: str, value: int) -> int:
    width = WIDTHS[kind]
    low = -(1 << (width - 1)) if is_signed(kind) else 0
    return max(low, min(value, low + (1 << width) - 1))


def quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def binary(name: str, kind: str, result: str | None = None) -> Instruction:
    return Instruction(f"{name}.{kind} {{d}}, {{a}}, {{b}};", d=result or kind, a=kind, b=kind)


def ternary(name: str, kind: str, result: str | None = None) -> Instruction:
    wide = result or kind
    return Instruction(f"{name}.{kind} {{d}}, {{a}}, {{b}}, {{c}};", d=wide, a=kind, b=kind, c=wide)


@pytest.mark.parametrize("kind", ALL)
def test_add_sub_mul(kind):
    check(binary("add", kind), lambda a, b: a + b)
    check(binary("sub", kind), lambda a, b: a - b)
    check(binary("mul.lo", kind), lambda a, b: a * b)
    check(binary("mul.hi", kind), lambda a, b: a * b >> WIDTHS[kind])
    check(ternary("mad.lo", kind), lambda a, b, c: a * b + c)
    check(ternary("mad.hi", kind), lambda a, b, c: (a * b >> WIDTHS[kind]) + c)


@pytest.mark.parametrize("kind", WIDE)
def test_wide_products(kind):
    check(binary("mul.wide", kind, WIDE[kind]), lambda a, b: a * b)
    check(ternary("mad.wide", kind, WIDE[kind]), lambda a, b, c: a * b + c)


def test_saturating_forms():
    check(binary("add.sat", "s32"), lambda a, b: clamp("s32", a + b))
    check(binary("sub.sat", "s32"), lambda a, b: clamp("s32", a - b))
    check(ternary("mad.hi.sat", "s32"), lambda a, b, c: clamp("s32", (a * b >> 32) + c))


@pytest.mark.parametrize("kind", ["u32", "s32"])
def test_24_bits(kind):
    def part(v: int) -> int:
        v &= 0xFFFFFF
        return v - (1 << 24) if kind == "s32" and v >> 23 else v

    check(binary("mul24.lo", kind), lambda a, b: part(a) * part(b))
    check(binary("mul24.hi", kind), lambda a, b: part(a) * part(b) >> 16)
    check(ternary("mad24.lo", kind), lambda a, b, c: part(a) * part(b) + c)

    def high(a: int, b: int) -> int:
        return wrap(kind, part(a) * part(b) >> 16)

    check(ternary("mad24.hi", kind), lambda a, b, c: high(a, b) + c)
    if kind == "s32":
        check(ternary("mad24.hi.sat", kind), lambda a, b, c: clamp(kind, high(a, b) + c))


@pytest.mark.parametrize("kind", ALL)
def test_sad_div_rem(kind):
    check(ternary("sad", kind), lambda a, b, c: c + abs(a - b))
    # Division by zero and of the lowest by -1 have no result in PTX; they must only not trap.
    least = -(1 << (WIDTHS[kind] - 1))

    def defined(a: int, b: int) -> bool:
        return b != 0 and not (is_signed(kind) and a == least and b == -1)

    check(binary("div", kind), lambda a, b: quotient(a, b) if defined(a, b) else None)
    check(binary("rem", kind), lambda a, b: a - b * quotient(a, b) if defined(a, b) else None)


@pytest.mark.parametrize("kind", SIGNED)
def test_abs_neg(kind):
    check(Instruction(f"abs.{kind} {{d}}, {{a}};", d=kind, a=kind), abs)
    check(Instruction(f"neg.{kind} {{d}}, {{a}};", d=kind, a=kind), lambda a: -a)


@pytest.mark.parametrize("kind", ALL)
def test_min_max(kind):
    check(binary("min", kind), min)
    check(binary("max", kind), max)


def test_min_max_relu():
    check(binary("min.relu", "s32"), lambda a, b: max(min(a, b), 0))
    check(binary("max.relu", "s32"), lambda a, b: max(a, b, 0))


def halves(kind: str, value: int) -> list[int]:
    return [wrap(kind, value), wrap(kind, value >> 16)]


@pytest.mark.parametrize("kind", ["u16x2", "s16x2"])
def test_packed_halves(kind):
    half = kind[:3]

    def packed(of_half):
        def model(a: int, b: int) -> int:
            low, high = (
                of_half(x, y) & 0xFFFF
                for x, y in zip(halves(half, a), halves(half, b), strict=True)
            )
            return low | high << 16

        return model

    check(binary("add", kind), packed(lambda x, y: x + y))
    check(binary("min", kind), packed(min))
    check(binary("max", kind), packed(max))
    if kind == "s16x2":
        check(binary("min.relu", kind), packed(lambda x, y: max(min(x, y), 0)))
        check(binary("max.relu", kind), packed(lambda x, y: max(x, y, 0)))


BYTES = {"u32": "u8", "s32": "s8"}
WORDS = {"u32": "u16", "s32": "s16"}


@pytest.mark.parametrize("first", BYTES)
@pytest.mark.parametrize("second", BYTES)
def test_dot_products(first, second):
    result = "u32" if first == second == "u32" else "s32"

    def byte(kind: str, value: int, k: int) -> int:
        return wrap(BYTES[kind], value >> (8 * k))

    text = f"{first}.{second} {{d}}, {{a}}, {{b}}, {{c}};"
    check(
        Instruction(f"dp4a.{text}", d=result, a=first, b=second, c=result),
        lambda a, b, c: c + sum(byte(first, a, k) * byte(second, b, k) for k in range(4)),
    )
    for mode, base in (("lo", 0), ("hi", 2)):

        def two(a: int, b: int, c: int, base: int = base) -> int:
            parts = [wrap(WORDS[first], a >> (16 * k)) for k in range(2)]
            return c + sum(parts[k] * byte(second, b, base + k) for k in range(2))

        check(Instruction(f"dp2a.{mode}.{text}", d=result, a=first, b=second, c=result), two)


# -- the condition code register (PTX ISA 9.7.2) ----------------------------------------------


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_carry_chains(kind):
    width = WIDTHS[kind]
    plain = f"u{width}"

    def chain(text: str) -> Instruction:
        return Instruction(text.replace("T", kind), d=plain, e=plain, f=plain,
                           a=plain, b=plain, x=plain, y=plain)  # fmt: skip

    def words(value: int) -> tuple[int, int, int]:
        """Two words, then the carry out of them added to zero (or subtracted, for a borrow)."""
        return value, value >> width, value >> (2 * width)

    # The third word must see the carry of the second, and `setp` between must not disturb it.
    check(
        chain("add.cc.T {d}, {a}, {b}; addc.cc.T {e}, {x}, {y}; addc.T {f}, 0, 0;"),
        lambda a, b, x, y: words((a | x << width) + (b | y << width)),
    )
    check(
        chain("sub.cc.T {d}, {a}, {b}; subc.cc.T {e}, {x}, {y}; subc.T {f}, 0, 0;"),
        lambda a, b, x, y: words((a | x << width) - (b | y << width)),
    )


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_carrying_multiplications(kind):
    width = WIDTHS[kind]
    plain = f"u{width}"
    mask = (1 << width) - 1

    def model(a: int, b: int, x: int, y: int) -> tuple[int, int, int]:
        product = wrap(kind, a) * wrap(kind, b)
        low = (product & mask) + x
        high = (product >> width & mask) + y + (low >> width)
        return low, high, high >> width

    check(
        Instruction(
            f"mad.lo.cc.{kind} {{d}}, {{a}}, {{b}}, {{x}};"
            f" madc.hi.cc.{kind} {{e}}, {{a}}, {{b}}, {{y}}; addc.{kind} {{f}}, 0, 0;",
            d=plain,
            e=plain,
            f=plain,
            a=plain,
            b=plain,
            x=plain,
            y=plain,
        ),
        model,
    )
    check(
        Instruction(
            f"mad.hi.cc.{kind} {{d}}, {{a}}, {{b}}, {{x}};"
            f" madc.lo.cc.{kind} {{e}}, {{a}}, {{b}}, {{y}}; addc.{kind} {{f}}, 0, 0;",
            d=plain,
            e=plain,
            f=plain,
            a=plain,
            b=plain,
            x=plain,
            y=plain,
        ),
        lambda a, b, x, y: _high_then_low(kind, a, b, x, y),
    )


def _high_then_low(kind: str, a: int, b: int, x: int, y: int) -> tuple[int, int, int]:
    width = WIDTHS[kind]
    mask = (1 << width) - 1
    product = wrap(kind, a) * wrap(kind, b)
    first = (product >> width & mask) + x
    second = (product & mask) + y + (first >> width)
    return first, second, second >> width

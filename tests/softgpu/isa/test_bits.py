"""Bit fields, logic, shifts and permutations (PTX ISA 9.7.1, 9.7.8, 9.7.9.7) on exact integers."""

import pytest

from softgpu.isa.instruction import Instruction, check
from softgpu.isa.values import WIDTHS, is_signed, wrap

COUNTS = [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 255, 256, 0x7FFFFFFF, -1]
ONES = 0xFFFFFFFF


def width_of(kind: str) -> int:
    return WIDTHS[kind]


def unary(name: str, kind: str, result: str | None = None) -> Instruction:
    return Instruction(f"{name}.{kind} {{d}}, {{a}};", d=result or kind, a=kind)


@pytest.mark.parametrize("kind", ["b32", "b64"])
def test_counts_and_reversal(kind):
    width = WIDTHS[kind]
    check(unary("popc", kind, "u32"), int.bit_count)
    check(unary("clz", kind, "u32"), lambda a: width - a.bit_length())
    check(unary("brev", kind), lambda a: int(f"{a:0{width}b}"[::-1], 2))


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_bfind(kind):
    def find(a: int) -> int:
        return (~a if a < 0 else a).bit_length() - 1

    check(unary("bfind", kind, "u32"), find)
    check(
        unary("bfind.shiftamt", kind, "u32"),
        lambda a: -1 if find(a) < 0 else WIDTHS[kind] - 1 - find(a),
    )


def test_fns():
    def model(mask: int, base: int, offset: int) -> int:
        if offset == 0:
            return base if mask >> base & 1 else -1
        places = range(base, 32) if offset > 0 else range(base, -1, -1)
        found = [p for p in places if mask >> p & 1]
        return found[abs(offset) - 1] if abs(offset) <= len(found) else -1

    check(
        Instruction("fns.b32 {d}, {a}, {b}, {c};", d="b32", a="b32", b="u32", c="s32"),
        lambda a, b, c: model(a, b, c) if b < 32 else None,  # PTX: base is a bit position
        edges={"b": list(range(32)), "c": [0, 1, -1, 2, -2, 5, -5, 31, 32, -33, -(1 << 31)]},
    )


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_bfe(kind):
    width = WIDTHS[kind]

    def model(a: int, position: int, length: int) -> int:
        position, length = position & 255, length & 255
        bits = a & ((1 << width) - 1)
        sign = 0
        if is_signed(kind) and length:
            sign = bits >> min(position + length - 1, width - 1) & 1
        return sum(
            (bits >> (position + i) & 1 if i < length and position + i < width else sign) << i
            for i in range(width)
        )

    check(
        Instruction(f"bfe.{kind} {{d}}, {{a}}, {{b}}, {{c}};", d=kind, a=kind, b="u32", c="u32"),
        model,
        edges={"b": COUNTS, "c": COUNTS},
    )


@pytest.mark.parametrize("kind", ["b32", "b64"])
def test_bfi(kind):
    width = WIDTHS[kind]

    def model(a: int, b: int, position: int, length: int) -> int:
        position, length = position & 255, length & 255
        field = ((1 << length) - 1) << position & ((1 << width) - 1)
        return (b & ~field) | (a << position & field)

    check(
        Instruction(
            f"bfi.{kind} {{d}}, {{a}}, {{b}}, {{c}}, {{x}};",
            d=kind,
            a=kind,
            b=kind,
            c="u32",
            x="u32",
        ),
        model,
        edges={"a": [0, -1, 0x12345678], "b": [0, -1], "c": COUNTS, "x": COUNTS},
    )


@pytest.mark.parametrize("mode", ["clamp", "wrap"])
def test_bmsk_and_szext(mode):
    def cut(v: int) -> int:
        return v & 31 if mode == "wrap" else v

    def mask(a: int, b: int) -> int:
        position, length = cut(a), cut(b)
        return ((1 << min(length, 32)) - 1) << position if position < 32 else 0

    check(
        Instruction(f"bmsk.{mode}.b32 {{d}}, {{a}}, {{b}};", d="b32", a="b32", b="b32"),
        mask,
        edges={"a": COUNTS, "b": COUNTS},
    )
    for kind in ("u32", "s32"):

        def extend(a: int, b: int, kind: str = kind) -> int:
            length = cut(b)
            if length >= 32:
                return a
            low = a & ((1 << length) - 1)
            negative = kind == "s32" and length and low >> (length - 1)
            return low - (1 << length) if negative else low

        check(
            Instruction(f"szext.{mode}.{kind} {{d}}, {{a}}, {{b}};", d=kind, a=kind, b="u32"),
            extend,
            edges={"b": COUNTS},
        )


@pytest.mark.parametrize("kind", ["b16", "b32", "b64", "pred"])
def test_logic(kind):
    for name, model in (
        ("and", lambda a, b: a & b),
        ("or", lambda a, b: a | b),
        ("xor", lambda a, b: a ^ b),
    ):
        check(Instruction(f"{name}.{kind} {{d}}, {{a}}, {{b}};", d=kind, a=kind, b=kind), model)
    check(unary("not", kind), lambda a: ~a)
    if kind != "pred":
        check(unary("cnot", kind), lambda a: a == 0)


@pytest.mark.parametrize("table", [0x00, 0x01, 0x80, 0x96, 0xE8, 0xCA, 0x1B, 0xFE, 0xFF])
def test_lop3(table):
    def model(a: int, b: int, c: int) -> int:
        return sum(
            (table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1) << i
            for i in range(32)
        )

    text = f"{{a}}, {{b}}, {{c}}, {table:#x}"
    check(
        Instruction(f"lop3.b32 {{d}}, {text};", d="b32", a="b32", b="b32", c="b32"),
        model,
        count=64,
    )
    for name, combine in (("or", lambda x, q: x or q), ("and", lambda x, q: x and q)):

        def predicated(a: int, b: int, c: int, q: int, combine=combine) -> tuple[int, int]:
            value = model(a, b, c)
            return value, combine(value != 0, bool(q))

        kinds = {"a": "b32", "b": "b32", "c": "b32", "q": "pred"}
        few = {n: [0, -1, 0x0F0F3355] for n in "abc"}
        check(
            Instruction(f"lop3.{name}.b32 {{d}}|{{e}}, {text}, {{q}};", d="b32", e="pred", **kinds),
            predicated, edges=few, count=64,
        )  # fmt: skip
        check(
            Instruction(f"lop3.{name}.b32 _|{{e}}, {text}, !{{q}};", e="pred", **kinds),
            lambda a, b, c, q, p=predicated: p(a, b, c, not q)[1], edges=few, count=64,
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64"])
def test_shifts(kind):
    if kind[0] == "b":
        check(
            Instruction(f"shl.{kind} {{d}}, {{a}}, {{n}};", d=kind, a=kind, n="u32"),
            lambda a, n: a << min(n, 64),
            edges={"n": COUNTS},
        )
    check(
        Instruction(f"shr.{kind} {{d}}, {{a}}, {{n}};", d=kind, a=kind, n="u32"),
        lambda a, n: a >> min(n, 64),
        edges={"n": COUNTS},
    )


@pytest.mark.parametrize("mode", ["clamp", "wrap"])
def test_funnel_shifts(mode):
    def count(n: int) -> int:
        return n & 31 if mode == "wrap" else min(n, 32)

    kinds = {"d": "b32", "a": "b32", "b": "b32", "c": "u32"}
    for side, model in (
        ("l", lambda a, b, c: (b << 32 | a) << count(c) >> 32),
        ("r", lambda a, b, c: (b << 32 | a) >> count(c)),
    ):
        check(
            Instruction(f"shf.{side}.{mode}.b32 {{d}}, {{a}}, {{b}}, {{c}};", **kinds),
            model,
            edges={"c": COUNTS},
        )


#: PTX ISA 9.7.9.7: for each mode the selected bytes, most significant first, by c[1:0].
PERMUTATIONS = {
    "f4e": ("3210", "4321", "5432", "6543"),
    "b4e": ("5670", "6701", "7012", "0123"),
    "rc8": ("0000", "1111", "2222", "3333"),
    "ecl": ("3210", "3211", "3222", "3333"),
    "ecr": ("0000", "1110", "2210", "3210"),
    "rc16": ("1010", "3232", "1010", "3232"),
}


def test_prmt():
    def model(a: int, b: int, c: int) -> int:
        result = 0
        for k in range(4):
            selector = c >> (4 * k) & 15
            byte = (b << 32 | a) >> (8 * (selector & 7)) & 255
            if selector & 8:
                byte = 255 if byte & 128 else 0
            result |= byte << (8 * k)
        return result

    kinds = {"d": "b32", "a": "b32", "b": "b32", "c": "b32"}
    selectors = [0x3210, 0x7654, 0xFEDC, 0x89AB, 0x0123, 0x5140, 0xFFFF3210, 0x4447]
    check(
        Instruction("prmt.b32 {d}, {a}, {b}, {c};", **kinds),
        model,
        edges={"a": [0x80017FFE, 0x12345678], "b": [0xFF00807F, 0x9ABCDEF0], "c": selectors},
    )
    for mode, rows in PERMUTATIONS.items():

        def chosen(a: int, b: int, c: int, rows: tuple[str, ...] = rows) -> int:
            return int(
                "".join(f"{(b << 32 | a) >> (8 * int(s)) & 255:02x}" for s in rows[c & 3]), 16
            )

        check(Instruction(f"prmt.b32.{mode} {{d}}, {{a}}, {{b}}, {{c}};", **kinds), chosen)


@pytest.mark.parametrize("kind", ["s8", "u8"])
def test_bytes_extend_into_wider_registers(kind):
    """A register may be wider than the type of an instruction's result (PTX ISA 9.4.1)."""
    for register in ("b16", "b32", "b64"):
        check(
            Instruction(f"cvt.{kind}.s32 {{d}}, {{a}};", d=register, a="s32"),
            lambda a: wrap(kind, a),
        )

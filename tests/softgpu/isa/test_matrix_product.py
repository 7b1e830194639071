"""mma.sync: every shape and type, element by element (PTX ISA 9.7.14.5).

The fragments below are written down from the ISA's formulas, one per shape, and know nothing of the
implementation's common rule. Small integers make every sum exact in every format.
"""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest

from softgpu.isa import floats
from softgpu.isa.device import VARIANTS, Refused, variant

LANES = 32
Place = Callable[[int, int], tuple[int, int]]  # lane, element: row, column

HEADER = ".version 9.0\n.target sm_120a\n.address_size 64\n"


def f16_16816_a(lane, i):
    row = lane // 4 + (0 if i < 2 or 4 <= i < 6 else 8)
    return row, lane % 4 * 2 + (i & 1) + (8 if i >= 4 else 0)


def f16_1688_a(lane, i):
    return lane // 4 + (0 if i < 2 else 8), lane % 4 * 2 + (i & 1)


def s8_16832_a(lane, i):
    row = lane // 4 + (0 if i < 4 or 8 <= i < 12 else 8)
    return row, lane % 4 * 4 + (i & 3) + (16 if i >= 8 else 0)


def s8_16816_a(lane, i):
    return lane // 4 + (0 if i < 4 else 8), lane % 4 * 4 + (i & 3)


def s4_16864_a(lane, i):
    row = lane // 4 + (0 if i < 8 or 16 <= i < 24 else 8)
    return row, lane % 4 * 8 + (i & 7) + (32 if i >= 16 else 0)


def s4_16832_a(lane, i):
    return lane // 4 + (0 if i < 8 else 8), lane % 4 * 8 + (i & 7)


def b1_168256_a(lane, i):
    row = lane // 4 + (0 if i < 32 or 64 <= i < 96 else 8)
    return row, lane % 4 * 32 + (i & 31) + (128 if i >= 64 else 0)


def b1_168128_a(lane, i):
    return lane // 4 + (0 if i < 32 else 8), lane % 4 * 32 + (i & 31)


def tf32_1688_a(lane, i):
    return lane // 4 + (0 if i in (0, 2) else 8), lane % 4 + (0 if i < 2 else 4)


def f64_16816_a(lane, i):
    column = i * 2 + lane % 4 if i % 2 == 0 else i * 2 - 2 + lane % 4
    return lane // 4 + (0 if i % 2 == 0 else 8), column


def eight_rows_a(run):
    return lambda lane, i: (lane // 4, lane % 4 * run + i)


def one_column_b(run, step):
    """B: ``run`` elements to a thread, then ``step`` rows on."""
    return lambda lane, i: (lane % 4 * run + i % run + step * (i // run), lane // 4)


def place_c(lane, i):
    return lane // 4 + (0 if i < 2 else 8), lane % 4 * 2 + (i & 1)


A = {
    (16, 16, 16): f16_16816_a, (16, 8, 16): f16_1688_a,
    (16, 32, 8): s8_16832_a, (16, 16, 8): s8_16816_a, (8, 16, 8): eight_rows_a(4),
    (16, 64, 4): s4_16864_a, (16, 32, 4): s4_16832_a, (8, 32, 4): eight_rows_a(8),
    (16, 256, 1): b1_168256_a, (16, 128, 1): b1_168128_a, (8, 128, 1): eight_rows_a(32),
    (16, 8, 32): tf32_1688_a, (16, 4, 32): tf32_1688_a,
    (8, 4, 64): eight_rows_a(1), (16, 4, 64): tf32_1688_a, (16, 8, 64): tf32_1688_a,
    (16, 16, 64): f64_16816_a,
}  # fmt: skip
B = {
    16: one_column_b(2, 8), 8: one_column_b(4, 16), 4: one_column_b(8, 32),
    1: one_column_b(32, 128), 32: one_column_b(1, 4), 64: one_column_b(1, 4),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Kind:
    """An element type: its width in a register, and numbers to and from its bits."""

    bits: int
    encode: Callable[[float], int]
    decode: Callable[[int], float]
    integers: range  # small ones that it holds exactly


def of_format(fmt, bits, shift=0, low=-3):
    def encode(value):
        number = floats.integer(int(value))
        return fmt.round(number, finite=True) << shift

    def decode(code):
        x = fmt.decode(code >> shift)
        return {"nan": np.nan, "inf": np.inf}.get(x.kind, float(x.m) * 2.0**x.e) * (
            -1 if x.negative else 1
        )

    return Kind(bits, encode, decode, range(low, -low + 1))


def of_integers(bits, signed):
    mask = (1 << bits) - 1
    low = -(1 << bits - 1) if signed else 0
    return Kind(
        bits,
        lambda v: int(v) & mask,
        lambda c: c - (1 << bits) if signed and c >> (bits - 1) else c,
        range(low, low + (1 << bits)),
    )


KINDS = {
    "f16": of_format(floats.F16, 16, low=-9), "bf16": of_format(floats.BF16, 16, low=-9),
    "tf32": of_format(floats.TF32, 32, 13, low=-60), "f32": of_format(floats.F32, 32),
    "f64": of_format(floats.F64, 64, low=-900),
    "e4m3": of_format(floats.E4M3, 8), "e5m2": of_format(floats.E5M2, 8),
    "e2m3": of_format(floats.E2M3, 8), "e3m2": of_format(floats.E3M2, 8),
    "e2m1": of_format(floats.E2M1, 8, 2),
    "s8": of_integers(8, True), "u8": of_integers(8, False),
    "s4": of_integers(4, True), "u4": of_integers(4, False), "b1": of_integers(1, False),
    "s32": of_integers(32, True),
}  # fmt: skip


def pack(kind, matrix, place, count):
    """Registers [lane][register] of a fragment with ``count`` elements per lane."""
    word = max(kind.bits, 32)
    per = word // kind.bits
    out = np.zeros((LANES, count // per), f"u{word // 8}")
    for lane, i in itertools.product(range(LANES), range(count)):
        bits = kind.encode(matrix[place(lane, i)]) << (i % per * kind.bits)
        out[lane, i // per] |= out.dtype.type(bits)
    return out


def unpack(kind, registers, place, shape):
    per = registers.itemsize * 8 // kind.bits
    out = np.full(shape, np.nan)
    for lane, i in itertools.product(range(LANES), range(registers.shape[1] * per)):
        code = int(registers[lane, i // per]) >> (i % per * kind.bits) & (1 << kind.bits) - 1
        out[place(lane, i)] = kind.decode(code)
    return out


def kernel(instruction, a, b, c, d_count, wide):
    """A kernel of one warp: operands from registers' images in memory, D back."""
    width = 64 if wide else 32
    lines, lists = [], {}
    for name, count in (("a", a.shape[1]), ("b", b.shape[1]), ("c", c.shape[1]), ("d", d_count)):
        registers = [f"%{name}{i}" for i in range(count)]
        lists[name] = "{" + ", ".join(registers) + "}"
        lines.append(f".reg .b{width} {', '.join(registers)}; .reg .b64 %p{name};")
        lines.append(f"ld.param.u64 %p{name}, [p_{name}];")
        lines.append(f"mad.wide.u32 %p{name}, %lane, {count * width // 8}, %p{name};")
        if name != "d":
            lines += [
                f"ld.global.b{width} {register}, [%p{name}+{i * width // 8}];"
                for i, register in enumerate(registers)
            ]
    lines.append(instruction.format(**lists))
    lines += [f"st.global.b{width} [%pd+{i * width // 8}], %d{i};" for i in range(d_count)]
    parameters = ", ".join(f".param .u64 p_{n}" for n in "abcd")
    return (
        HEADER + f".visible .entry test({parameters})\n{{\n"
        + ".reg .b32 %lane;\nmov.u32 %lane, %laneid;\n"
        + "\n".join(lines) + "\nret;\n}\n"
    )  # fmt: skip


def run(instruction, name, a, b, c, d_count):
    wide = a.dtype.itemsize == 8
    out = np.zeros((LANES, d_count), a.dtype)
    ptx = kernel(instruction, a, b, c, d_count, wide)
    return variant(name).run(ptx, "test", a, b, c, out)[3]


def draw(generator, kind, shape):
    return generator.integers(kind.integers.start, kind.integers.stop, shape).astype(np.float64)


def product(instruction, shape, types, name, saturate=False, combine=None):
    """Runs one form on small integers; got and wanted D."""
    m, n, k = shape
    kind_d, kind_a, kind_b, kind_c = (KINDS[t] for t in types)
    generator = np.random.default_rng(m * n * k + len(instruction))
    a, b = draw(generator, kind_a, (m, k)), draw(generator, kind_b, (k, n))
    c = generator.integers(-100, 101, (m, n)).astype(np.float64)
    elements = m * n // LANES
    got = run(
        instruction,
        name,
        pack(kind_a, a, A[m, k, kind_a.bits], m * k // LANES),
        pack(kind_b, b, B[kind_b.bits], k * n // LANES),
        pack(kind_c, c, place_c, elements),
        elements * kind_d.bits // max(kind_d.bits, 32),
    )
    want = combine(a, b) + c if combine else a @ b + c
    return unpack(kind_d, got, place_c, (m, n)), want


SHAPES = {
    "f16": [(16, 8, 8), (16, 8, 16)],
    "bf16": [(16, 8, 8), (16, 8, 16)],
    "tf32": [(16, 8, 4), (16, 8, 8)],
    "f64": [(8, 8, 4), (16, 8, 4), (16, 8, 8), (16, 8, 16)],
    "8": [(8, 8, 16), (16, 8, 16), (16, 8, 32)],
    "4": [(8, 8, 32), (16, 8, 32), (16, 8, 64)],
    "b1": [(8, 8, 128), (16, 8, 128), (16, 8, 256)],
}
TWICE = list(itertools.product((0, 1), repeat=2))
SUMS, EIGHT, BYTES, NIBBLES = ("f16", "f32"), ("e4m3", "e5m2"), ("s8", "u8"), ("s4", "u4")
FORMS = [
    *((s, (d, "f16", "f16", d)) for s in SHAPES["f16"] for d in SUMS),
    *((s, ("f32", t, t, "f32")) for t in ("bf16", "tf32") for s in SHAPES[t]),
    *((s, ("f64",) * 4) for s in SHAPES["f64"]),
    *((s, (d, EIGHT[i], EIGHT[j], d)) for s in SHAPES["8"][1:] for d in SUMS for i, j in TWICE),
    *((s, ("s32", BYTES[i], BYTES[j], "s32")) for s in SHAPES["8"] for i, j in TWICE),
    *((s, ("s32", NIBBLES[i], NIBBLES[j], "s32")) for s in SHAPES["4"] for i, j in TWICE),
]


def named(shape, types, extra="", kind=""):
    text = f"mma.sync.aligned.m{shape[0]}n{shape[1]}k{shape[2]}.row.col{kind}{extra}."
    return text + ".".join(types) + " {d}, {a}, {b}, {c};"


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("shape", "types"), FORMS, ids=str)
def test_exact(shape, types, name):
    got, want = product(named(shape, types), shape, types, name)
    assert np.array_equal(got, want)


SMALL = ("e4m3", "e5m2", "e3m2", "e2m3", "e2m1")


@pytest.mark.parametrize(("x", "y"), list(itertools.product(SMALL, repeat=2)))
def test_formats_of_different_width(x, y):
    types = ("f32", x, y, "f32")
    shape = (16, 8, 32)
    got, want = product(named(shape, types, kind=".kind::f8f6f4"), shape, types, "avx2")
    assert np.array_equal(got, want)


#: Kind, scales of a row, their type, k, and the elements' types.
SCALED = [
    *(
        ("mxf8f6f4", 1, "ue8m0", 32, x, y)
        for x, y in zip(SMALL, SMALL[2:] + SMALL[:2], strict=True)
    ),
    ("mxf4", 2, "ue8m0", 64, "e2m1", "e2m1"),
    ("mxf4nvf4", 2, "ue8m0", 64, "e2m1", "e2m1"),
    ("mxf4nvf4", 4, "ue4m3", 64, "e2m1", "e2m1"),
]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("form", SCALED, ids=str)
def test_block_scaling(form, selector, name):
    """PTX ISA 9.7.14.3: which threads and bytes hold the scales of which rows and columns."""
    kind, count, scale, k, x, y = form
    generator = np.random.default_rng(k + count)
    kinds = [KINDS[x], KINDS[y]]
    if k == 64:
        kinds = [of_format(floats.E2M1, 4)] * 2
    a, b = draw(generator, kinds[0], (16, k)), draw(generator, kinds[1], (k, 8))
    c = generator.integers(-100, 101, (16, 8)).astype(np.float64)
    byte = {1: 3 * selector, 2: 2 * selector, 4: 0}[count]
    threads = {"a": selector, "b": 3 * selector}
    # Codes and what they stand for: powers of two around one.
    powers = {
        "a": generator.integers(-3, 4, (16, count)),
        "b": generator.integers(-3, 4, (8, count)),
    }
    registers = {x: generator.integers(0, 1 << 32, LANES).astype(np.uint32) for x in "ab"}

    def place(letter, lane, line):
        word = int(registers[letter][lane])
        for block in range(count):
            power = int(powers[letter][line, block])
            code = power + 127 if scale == "ue8m0" else (power + 7) << 3
            at = 8 * (byte + block)
            word = word & ~(0xFF << at) | code << at
        registers[letter][lane] = word

    for row in range(16):
        place("a", row % 8 * 4 + 2 * threads["a"] + row // 8, row)
    for column in range(8):
        place("b", column * 4 + threads["b"], column)
    # The scales ride behind C, in a fifth and a sixth register of each lane.
    image = np.concatenate(
        [pack(KINDS["f32"], c, place_c, 4), registers["a"][:, None], registers["b"][:, None]],
        axis=1,
    )
    vector = "" if kind in ("mxf4", "mxf8f6f4") and selector else f".scale_vec::{count}X"
    text = (
        f".reg .b16 %byte, %ta, %tb; mov.b16 %byte, {byte}; mov.b16 %ta, {threads['a']};"
        f" mov.b16 %tb, {threads['b']};\n"
        f"mma.sync.aligned.m16n8k{k}.row.col.kind::{kind}.block_scale{vector}.f32.{x}.{y}.f32.{scale}"
        " {d}, {a}, {b}, {{%c0, %c1, %c2, %c3}}, %c4, {{%byte, %ta}}, %c5, {{%byte, %tb}};"
    )
    place_a, place_b = (A[16, k, kinds[0].bits], B[kinds[1].bits])
    got = run(
        text, name, pack(kinds[0], a, place_a, 16 * k // LANES),
        pack(kinds[1], b, place_b, 8 * k // LANES), image, 4,
    )  # fmt: skip
    run_length = k // count
    scaled_a = a * np.repeat(2.0 ** powers["a"], run_length, axis=1)
    scaled_b = b * np.repeat(2.0 ** powers["b"], run_length, axis=1).T
    assert np.array_equal(unpack(KINDS["f32"], got, place_c, (16, 8)), scaled_a @ scaled_b + c)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("operation", ["xor", "and"])
@pytest.mark.parametrize("shape", SHAPES["b1"], ids=str)
def test_bits(shape, operation, name):
    types = ("s32", "b1", "b1", "s32")
    text = named(shape, types).replace(" {d}", f".{operation}.popc {{d}}", 1)

    def combine(a, b):
        rows, columns = a[:, :, None].astype(int), b[None, :, :].astype(int)
        return (rows ^ columns if operation == "xor" else rows & columns).sum(axis=1)

    got, want = product(text, shape, types, name, combine=combine)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("d_half", "c_half"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize(
    ("a_layout", "b_layout"), list(itertools.product(("row", "col"), repeat=2))
)
def test_four_products_at_once(a_layout, b_layout, d_half, c_half, name):
    """m8n8k4 with .f16: lanes q*4.. and 16+q*4.. hold product q (PTX ISA 9.7.14.5.1)."""
    generator = np.random.default_rng(3)
    half, single = KINDS["f16"], KINDS["f32"]
    a, b = (generator.integers(-5, 6, (4, *s)).astype(float) for s in ((8, 4), (4, 8)))
    c = generator.integers(-50, 51, (4, 8, 8)).astype(float)

    def upper(lane):
        return 0 if lane < 16 else 4

    def place_a(lane, i):
        row, column = lane % 4 + upper(lane), i
        if a_layout == "col":
            row, column = i % 4 + upper(lane), lane % 4
        return lane % 16 // 4, row, column

    def place_b(lane, i):
        row, column = lane % 4, i + upper(lane)
        if b_layout == "col":
            row, column = i, lane % 4 + upper(lane)
        return lane % 16 // 4, row, column

    def place_half(lane, i):
        return lane % 16 // 4, lane % 4 + upper(lane), i

    def place_single(lane, i):
        row = (lane & 1) + (i & 2) + upper(lane)
        return lane % 16 // 4, row, (i & 4) + (lane & 2) + (i & 1)

    kind_c, place_in = (half, place_half) if c_half else (single, place_single)
    kind_d, place_out = (half, place_half) if d_half else (single, place_single)
    # B by rows: a lane's four elements run along a row, whose first half lanes below 16 hold.
    text = (
        f"mma.sync.aligned.m8n8k4.{a_layout}.{b_layout}.{'f16' if d_half else 'f32'}.f16.f16."
        f"{'f16' if c_half else 'f32'} {{d}}, {{a}}, {{b}}, {{c}};"
    )
    got = run(
        text, name, pack(half, a, place_a, 4), pack(half, b, place_b, 4),
        pack(kind_c, c, place_in, 8), 4 if d_half else 8,
    )  # fmt: skip
    assert np.array_equal(unpack(kind_d, got, place_out, (4, 8, 8)), a @ b + c)


# --- Rounding, overflow, special values ---

FLOATS = [form for form in FORMS if form[1][0] == "f32" and form[1][1] in ("f16", "bf16", "tf32")]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("shape", "types"), FLOATS, ids=str)
def test_accumulation_error(shape, types, name):
    """At least single precision: k roundings of sums no larger than the magnitudes' sum."""
    m, n, k = shape
    kind = KINDS[types[1]]
    generator = np.random.default_rng(5)
    fmt = {"f16": floats.F16, "bf16": floats.BF16, "tf32": floats.TF32}[types[1]]
    shift = 13 if types[1] == "tf32" else 0
    codes = [
        generator.integers(0, fmt.infinite * 3 // 4, s) | generator.integers(0, 2, s) * fmt.sign
        for s in ((m, k), (k, n))
    ]
    # Exponents around one, so that no sum overflows.
    span = 6 << fmt.mantissa
    codes = [(c & fmt.sign) | (c % span + ((fmt.bias - 3) << fmt.mantissa)) for c in codes]
    a, b = (np.vectorize(lambda v: kind.decode(int(v) << shift))(c) for c in codes)
    raw = Kind(kind.bits, lambda v: int(v) << shift, float, range(1))
    c = np.zeros((m, n))
    got = run(
        named(shape, (types[0], types[1], types[2], "f32")),
        name,
        pack(raw, codes[0], A[m, k, kind.bits], m * k // LANES),
        pack(raw, codes[1], B[kind.bits], k * n // LANES),
        pack(KINDS["f32"], c, place_c, 4),
        4,
    )
    d = unpack(KINDS["f32"], got, place_c, (m, n))
    assert np.all(np.abs(d - a @ b) <= (k + 1) * 2.0**-23 * (np.abs(a) @ np.abs(b)))


@pytest.mark.parametrize("name", VARIANTS)
def test_tf32_ignores_the_low_bits(name):
    shape, types = (16, 8, 8), ("f32", "tf32", "tf32", "f32")
    noisy = Kind(32, lambda v: KINDS["tf32"].encode(v) | 0x1FFF, float, range(1))
    a, b = np.ones((16, 8)), np.full((8, 8), 3.0)
    got = run(
        named(shape, types), name, pack(noisy, a, tf32_1688_a, 4), pack(noisy, b, B[32], 2),
        np.zeros((LANES, 4), np.uint32), 4,
    )  # fmt: skip
    assert np.array_equal(unpack(KINDS["f32"], got, place_c, (16, 8)), np.full((16, 8), 24.0))


@pytest.mark.parametrize("name", VARIANTS)
def test_infinity_times_zero_is_the_canonical_nan(name):
    shape, types = (16, 8, 16), ("f32", "f16", "f16", "f32")
    infinite = np.full((LANES, 4), 0x7C007C00, np.uint32)
    zero = np.zeros((LANES, 2), np.uint32)
    got = run(named(shape, types), name, infinite, zero, np.zeros((LANES, 4), np.uint32), 4)
    assert np.all(got == 0x7FFFFFFF)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("saturate", [False, True])
def test_integers_wrap_or_saturate(saturate, name):
    shape, types = (16, 8, 32), ("s32", "s8", "s8", "s32")
    ones = np.full((LANES, 4), 0x01010101, np.uint32)
    for c, factor in ((0x7FFFFFF0, 1), (-0x7FFFFFF0, -1)):
        second = np.full((LANES, 2), 0x01010101 if factor == 1 else 0xFFFFFFFF, np.uint32)
        start = np.full((LANES, 4), c & 0xFFFFFFFF, np.uint32)
        text = named(shape, types, ".satfinite" if saturate else "")
        got = run(text, name, ones, second, start, 4).view(np.int32)
        limit = 0x7FFFFFFF if factor == 1 else -0x80000000
        wrapped = (c + 32 * factor + (1 << 31)) % (1 << 32) - (1 << 31)
        assert np.all(got == (limit if saturate else wrapped))


ROUNDED = {".rn": 0.0, ".rz": 0.0, ".rm": 0.0, ".rp": 2.0**-52}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("mode", ROUNDED)
def test_double_rounding_modes(mode, name):
    """1 + 2^-60: only towards plus infinity does the small product count."""
    small, one = np.float64(2.0**-30).view(np.uint64), np.float64(1).view(np.uint64)
    a = np.zeros((LANES, 1), np.uint64)
    a[::4] = small  # the first column
    b = a.copy()
    c = np.full((LANES, 2), one, np.uint64)
    text = named((8, 8, 4), ("f64",) * 4, mode)
    got = run(text, name, a, b, c, 2).view(np.float64)
    assert np.all(got == 1 + ROUNDED[mode])


@pytest.mark.parametrize(
    "text",
    [
        named((16, 8, 64), ("f32", "f16", "f16", "f32")),
        named((16, 16, 16), ("f32", "f16", "f16", "f32")),
        named((16, 8, 16), ("f32", "f16", "bf16", "f32")),
        named((16, 8, 16), ("f16", "bf16", "bf16", "f16")),
        named((16, 8, 32), ("f32", "e3m2", "e4m3", "f32")),
        named((16, 8, 16), ("f32", "f16", "f16", "f32")).replace("mma", "mma.sp"),
    ],
)
def test_what_ptx_does_not_list_is_refused(text):
    a, b, c = (np.zeros((LANES, n), np.uint32) for n in (4, 2, 4))
    with pytest.raises(Refused, match="mma"):
        run(text, "avx2", a, b, c, 4)

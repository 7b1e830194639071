"""cvt between floating-point formats and integers (PTX ISA 9.7.9.21, 9.7.9.22)."""

import numpy as np
import pytest

from softgpu.isa.device import Refused
from softgpu.isa.floats import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    F16,
    F32,
    F64,
    FORMATS,
    MODES,
    NAN,
    TF32,
    Number,
    integer,
    or_nan,
)
from softgpu.isa.instruction import Instruction, check, execute
from softgpu.isa.values import edges_of, float_edges

INTEGERS = {f"{s}{w}": (w, s == "s") for s in "us" for w in (8, 16, 32, 64)}
WIDE = ("f16", "bf16", "f32", "f64")
BY_MODE = dict(zip("defg", MODES, strict=True))


def four(suffix, to, source, modifiers="", integral=False):
    """A conversion in its four rounding modes, into d, e, f and g."""
    tail = "i" if integral else ""
    text = " ".join(
        f"cvt.{mode}{tail}{modifiers}.{suffix} {{{d}}}, {{a}};" for d, mode in BY_MODE.items()
    )
    return Instruction(text, **dict.fromkeys("defg", to), a=source)


def integral(x: Number, mode: str) -> Number:
    """Rounded to an integer; the sign of a zero stays."""
    if x.kind != "finite" or x.e >= 0:
        return x
    kept, rest = divmod(x.m, 1 << -x.e)
    half = 1 << -x.e
    up = {
        "rn": 2 * rest > half or (2 * rest == half and kept & 1 == 1),
        "rz": False,
        "rm": rest != 0 and x.negative,
        "rp": rest != 0 and not x.negative,
    }[mode]
    return Number("finite", x.negative, kept + up, 0)


# --- Between floats ---

NARROWING = [("f16", "f32"), ("bf16", "f32"), ("f16", "f64"), ("bf16", "f64"), ("f32", "f64")]
ACROSS = [("bf16", "f16"), ("f16", "bf16")]
WIDENING = [("f32", "f16"), ("f32", "bf16"), ("f64", "f16"), ("f64", "bf16"), ("f64", "f32")]


@pytest.mark.parametrize(("to", "source"), NARROWING + ACROSS)
def test_narrowing(to, source):
    out, into = FORMATS[to], FORMATS[source]
    for sat in ("", ".sat") if "bf16" not in (to, source) else ("",):

        def model(a, sat=bool(sat)):
            bits = [out.round(into.decode(a), mode) for mode in MODES]
            return tuple(out.saturate(b) if sat else b for b in bits)

        check(four(f"{to}.{source}", to, source, sat), model)


def test_narrowing_flushes_single_precision():
    def f32(a):
        return tuple(F32.flush(F32.round(F64.decode(a), mode)) for mode in MODES)

    def f16(a):
        return tuple(F16.round(F32.decode(F32.flush(a)), mode) for mode in MODES)

    check(four("f32.f64", "f32", "f64", ".ftz"), f32)
    check(four("f16.f32", "f16", "f32", ".ftz"), f16)


@pytest.mark.parametrize(("to", "source"), WIDENING)
def test_widening(to, source):
    def model(a):
        x = FORMATS[to].round(FORMATS[source].decode(a))
        return x, FORMATS[to].saturate(x)

    text = f"cvt.{to}.{source} {{d}}, {{a}}; cvt.sat.{to}.{source} {{e}}, {{a}};"
    if source == "bf16":
        text = text.replace(".sat", "")
        check(Instruction(text, d=to, e=to, a=source), lambda a: model(a)[0], accept=or_nan(to))
    else:
        check(Instruction(text, d=to, e=to, a=source), model, accept=or_nan(to))


@pytest.mark.parametrize("kind", WIDE)
def test_to_integral_values(kind):
    fmt = FORMATS[kind]
    check(
        four(f"{kind}.{kind}", kind, kind, integral=True),
        lambda a: tuple(fmt.round(integral(fmt.decode(a), mode)) for mode in MODES),
        accept=or_nan(kind),
    )


@pytest.mark.parametrize("to", ["f16", "bf16"])
def test_relu_and_satfinite(to):
    fmt = FORMATS[to]
    forms = [(m, r, s) for m in ("rn", "rz") for r in ("", ".relu") for s in ("", ".satfinite")]
    for first, second in zip(forms[::2], forms[1::2], strict=True):
        text, results = "", []
        for (mode, relu, finite), d in zip((first, second), "de", strict=True):
            text += f"cvt.{mode}{relu}{finite}.{to}.f32 {{{d}}}, {{a}}; "
            text += f"cvt.{mode}{relu}{finite}.{to}x2.f32 {{{chr(ord(d) + 2)}}}, {{a}}, {{b}}; "
            results.append((mode, bool(relu), bool(finite)))

        def one(bits, mode, relu, finite):
            result = fmt.round(F32.decode(bits), mode, finite=finite)
            return fmt.relu(result) if relu else result

        def model(a, b, results=results):
            singles = [one(a, *r) for r in results]
            pairs = [one(a, *r) << 16 | one(b, *r) for r in results]
            return *singles, *pairs

        kinds = {"d": to, "e": to, "f": f"{to}x2", "g": f"{to}x2"}
        check(Instruction(text, **kinds, a="f32", b="f32"), model)


def test_tf32():
    def one(a, mode, relu=False, finite=False):
        bits = TF32.round(F32.decode(a), mode, finite=finite)
        bits = TF32.relu(bits) if relu else bits
        return bits << 13 | (0x1FFF if TF32.is_nan(bits) else 0)

    text = (
        "cvt.rna.tf32.f32 {d}, {a}; cvt.rn.tf32.f32 {e}, {a};"
        " cvt.rz.relu.tf32.f32 {f}, {a}; cvt.rna.satfinite.tf32.f32 {g}, {a};"
    )
    check(
        Instruction(text, **dict.fromkeys("defg", "tf32"), a="f32"),
        lambda a: (
            one(a, "rna"),
            one(a, "rn"),
            one(a, "rz", relu=True),
            one(a, "rna", finite=True),
        ),
        count=1024,
    )


# --- Eight, six and four bits, in pairs ---

SMALL = {
    "e4m3x2": (E4M3, 8), "e5m2x2": (E5M2, 8), "e2m3x2": (E2M3, 8), "e3m2x2": (E3M2, 8),
    "e2m1x2": (E2M1, 4),
}  # fmt: skip
#: e2m1x2 lives in a register of eight bits, which only mov takes.
BYTE = ".reg .b8 %byte, %none; .reg .b16 %nothing; mov.b16 %nothing, 0;"


def narrow_pair(kind, modifiers, source, register, used):
    text = f"cvt.rn.satfinite{modifiers}.{kind}.{source} {{d}}, {used};"
    if kind == "e2m1x2":
        text = text.replace("{d}", "%byte") + " cvt.u16.u8 {d}, %byte;"
    operands = dict.fromkeys("ab" if source == "f32" else "a", register)
    return Instruction(text, setup=BYTE, d="b16", **operands)


@pytest.mark.parametrize("kind", SMALL)
def test_small_formats_from_singles(kind):
    fmt, distance = SMALL[kind]

    def one(bits, relu):
        x = F32.decode(F32.relu(bits)) if relu else F32.decode(bits)
        return fmt.round(x, finite=True)

    for modifiers in ("", ".relu"):
        check(
            narrow_pair(kind, modifiers, "f32", "f32", "{a}, {b}"),
            lambda a, b, relu=bool(modifiers): one(a, relu) << distance | one(b, relu),
            edges={operand: [*float_edges("f32"), *near_values(fmt)] for operand in "ab"},
        )


def near_values(fmt):
    """Singles at, halfway between and next to a small format's values."""
    codes = range(0, fmt.most, max(1, fmt.most // 16))
    for code in codes:
        low, high = fmt.decode(code), fmt.decode(code + 1)
        e = min(low.e, high.e) - 1
        middle = ((low.m << (low.e - e)) + (high.m << (high.e - e))) // 2
        bits = F32.round(Number("finite", False, middle, e))
        yield from (bits - 1, bits, bits + 1)


@pytest.mark.parametrize("source", ["f16x2", "bf16x2"])
@pytest.mark.parametrize("kind", ["e4m3x2", "e5m2x2"])
def test_eight_bits_from_pairs(kind, source):
    fmt, _ = SMALL[kind]
    into = FORMATS[source.removesuffix("x2")]

    def one(bits):
        return fmt.round(into.decode(bits), finite=True)

    check(
        narrow_pair(kind, "", source, source, "{a}"),
        lambda a: one(a >> 16) << 8 | one(a & 0xFFFF),
        count=1024,
    )


@pytest.mark.parametrize("kind", SMALL)
def test_small_formats_to_halves(kind):
    fmt, distance = SMALL[kind]
    first = "mov.b16 {{%byte, %none}}, {a};" if kind == "e2m1x2" else ""
    used = "%byte" if kind == "e2m1x2" else "{a}"
    codes = range(1 << fmt.width)

    def one(code, relu):
        bits = F16.round(fmt.decode(code))
        return F16.relu(bits) if relu else bits

    def model(a):
        high, low = a >> distance & (1 << fmt.width) - 1, a & (1 << fmt.width) - 1
        return tuple(one(high, relu) << 16 | one(low, relu) for relu in (False, True))

    text = f"{first} cvt.rn.f16x2.{kind} {{d}}, {used}; cvt.rn.relu.f16x2.{kind} {{e}}, {used};"
    check(
        Instruction(text, setup=BYTE, d="f16x2", e="f16x2", a="b16"),
        model,
        edges={"a": [c << distance | (7 * c + 3) & (1 << fmt.width) - 1 for c in codes]},
        count=8,
    )


def scale_code(bits, fmt, mode, finite):
    """ue8m0: the magnitude as a power of two, rounded towards zero or up; 255 is NaN."""
    x = fmt.decode(bits)
    if x.kind == "nan":
        return 255
    if x.kind == "inf":
        return 254 if finite else 255
    if x.zero:
        return 0
    power = x.e + x.m.bit_length() - 1
    exact = x.m == 1 << (x.m.bit_length() - 1)
    if mode == "rp" and not exact:
        power += 1
    code = max(power + 127, 0)
    return 254 if finite and code == 255 else code


@pytest.mark.parametrize("finite", ["", ".satfinite"])
@pytest.mark.parametrize("mode", ["rz", "rp"])
def test_scales(mode, finite):
    near_the_lowest = [0x003FFFFF, 0x00400000, 0x00400001, 0x007FFFFF, 0x00800000, 0x80400001]
    check(
        Instruction(
            f"cvt.{mode}{finite}.ue8m0x2.f32 {{d}}, {{a}}, {{b}};"
            f" cvt.{mode}{finite}.ue8m0x2.bf16x2 {{e}}, {{c}};",
            d="b16", e="b16", a="f32", b="f32", c="bf16x2",
        ),
        lambda a, b, c: (
            scale_code(a, F32, mode, bool(finite)) << 8 | scale_code(b, F32, mode, bool(finite)),
            scale_code(c >> 16, BF16, mode, bool(finite)) << 8
            | scale_code(c & 0xFFFF, BF16, mode, bool(finite)),
        ),
        edges={
            "a": [*float_edges("f32")[::2], *near_the_lowest],
            "b": [0x3F800000, 0x40400000],
            "c": [v | 0x3F80 << 16 for v in (*float_edges("bf16"), 0x3F, 0x40, 0x41)],
        },
    )  # fmt: skip


def test_scales_to_bfloat16():
    def one(code):
        return BF16.round(NAN if code == 255 else Number("finite", False, 1, code - 127))

    check(
        Instruction("cvt.rn.bf16x2.ue8m0x2 {d}, {a};", d="bf16x2", a="b16"),
        lambda a: one(a >> 8) << 16 | one(a & 0xFF),
        edges={"a": [c << 8 | 255 - c for c in range(256)]},
    )


def test_stochastic_rounding_is_refused():
    instruction = Instruction("cvt.rs.f16x2.f32 {d}, {a}, {a}, {b};", d="f16x2", a="f32", b="b32")
    with pytest.raises(Refused, match=r"cvt\.rs"):
        execute(instruction, [np.zeros(32, np.uint32)] * 2, "portable")


# --- Integers ---


#: PTX wants 8-bit registers for bfloat16 and bytes.
WITH_INTEGERS = [(f, i) for f in WIDE for i in INTEGERS if (f, i[1:]) != ("bf16", "8")]


@pytest.mark.parametrize(("to", "source"), WITH_INTEGERS)
def test_from_integers(to, source):
    fmt = FORMATS[to]
    # Halfway between two values of the format, and next to it.
    ties = [
        (1 << p) + (3 << p - fmt.mantissa) // 2 + step
        for p in range(fmt.mantissa + 1, INTEGERS[source][0])
        for step in (-1, 0, 1)
    ]
    check(
        four(f"{to}.{source}", to, source),
        lambda a: tuple(fmt.round(integer(a), mode) for mode in MODES),
        edges={"a": [*edges_of(source), *ties]},
        count=64,
    )


@pytest.mark.parametrize(("source", "to"), WITH_INTEGERS)
def test_to_integers(source, to):
    fmt = FORMATS[source]
    width, signed = INTEGERS[to]
    low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)

    def one(x, mode):
        if x.kind == "nan":
            return 1 << width - 1 if source == "f64" or width == 64 else 0
        if x.kind == "inf":
            return low if x.negative else high
        whole = integral(x, mode)
        return min(max((-whole.m if whole.negative else whole.m) << whole.e, low), high)

    def model(a):
        return tuple(one(fmt.decode(a), mode) for mode in MODES)

    edges = [*float_edges(source), *around_the_range(fmt, low, high)]
    check(four(f"{to}.{source}", to, source, integral=True), model, edges={"a": edges}, count=64)


def around_the_range(fmt, low, high):
    for value in (low, high, high + 1, -1, 1, 2):
        for shift in (-1, 0, 1):  # quarters below and above
            bits = fmt.round(Number("finite", value < 0, abs(value) * 4 + shift, -2))
            yield from (bits, max(bits - 1, 0), bits + 1)


def test_to_integers_flushes_single_precision():
    check(
        four("s32.f32", "s32", "f32", ".ftz", integral=True),
        lambda a: tuple(
            0 if F32.flush(a) & 0x7FFFFFFF == 0 else _to_s32(a, mode) for mode in MODES
        ),
    )


def _to_s32(bits, mode):
    x = F32.decode(bits)
    if x.kind == "nan":
        return 0
    if x.kind == "inf":
        return -(1 << 31) if x.negative else (1 << 31) - 1
    whole = integral(x, mode)
    size = (-whole.m if whole.negative else whole.m) << whole.e
    return min(max(size, -(1 << 31)), (1 << 31) - 1)


@pytest.mark.parametrize("to", [f"{s}{w}" for s in "us" for w in (16, 8, 4, 2)])
def test_pack(to):
    width, signed = int(to[1:]), to[0] == "s"
    low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
    tail, used = (".b32", "{a}, {b}, {c}") if width < 16 else ("", "{a}, {b}")

    def model(a, b, c):
        first, second = (min(max(v, low), high) & (1 << width) - 1 for v in (a, b))
        packed = first << width | second
        return packed | c << 2 * width if width < 16 else packed

    text = f"cvt.pack.sat.{to}.s32{tail} {{d}}, {used};"
    check(Instruction(text, d="b32", a="s32", b="s32", c="b32"), model)

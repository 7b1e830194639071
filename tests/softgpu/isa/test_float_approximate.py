"""Approximate functions: within the error that PTX documents, over dense samples (9.7.3, 9.7.4).

Wanted values come from NumPy in double precision, or in extended precision for the two
instructions that return doubles.
"""

import numpy as np
import pytest

from softgpu.isa.device import VARIANTS
from softgpu.isa.instruction import Instruction, execute
from softgpu.isa.values import float_edges

COUNT = 1 << 14


def dense(low, high):
    """Singles from every binade between two magnitudes, of both signs, and the ends."""
    first, last = (int(np.float32(v).view(np.uint32)) for v in (low, high))
    bits = np.linspace(first, last, COUNT, dtype=np.int64).astype(np.uint32)
    values = bits.view(np.float32)
    return np.concatenate([values, -values])


def evaluate(text, *columns, kind="f32", variant="avx2"):
    names = "abc"[: len(columns)]
    instruction = Instruction(text, d=kind, **dict.fromkeys(names, kind))
    unsigned = [c.view(f"u{c.itemsize}") for c in columns]
    return execute(instruction, unsigned, variant)[0].view(columns[0].dtype)


def worst(got, want, unit):
    """The largest error, in the unit given; both must be NaN, infinite or zero together."""
    got = got.astype(np.float64)
    finite = np.isfinite(want)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    infinite = np.isinf(want)
    assert np.array_equal(got[infinite], want[infinite])
    return float(np.max(np.abs(got[finite] - want[finite]) / unit[finite]))


def relative(want):
    """One unit: the value itself, or the smallest normal number where it is below that."""
    return np.maximum(np.abs(want), 2.0**-126)


def ulp(want):
    return np.spacing(np.abs(want).astype(np.float32)).astype(np.float64)


def quiet(function, *arguments):
    with np.errstate(all="ignore"):
        return function(*[a.astype(np.float64) for a in arguments])


SMALLEST, LARGEST = 1e-45, 3.4e38
UNARY = {
    "rcp.approx.f32": (lambda x: 1 / x, SMALLEST, LARGEST, relative, 2**-23),
    "sqrt.approx.f32": (np.sqrt, SMALLEST, LARGEST, relative, 2**-23),
    "rsqrt.approx.f32": (lambda x: 1 / np.sqrt(x), SMALLEST, LARGEST, relative, 2**-22.9),
    "sin.approx.f32": (np.sin, SMALLEST, 2 * np.pi, np.ones_like, 2**-20.5),
    "cos.approx.f32": (np.cos, SMALLEST, 2 * np.pi, np.ones_like, 2**-20.5),
    "ex2.approx.f32": (np.exp2, SMALLEST, 200.0, ulp, 2.5),
    "tanh.approx.f32": (np.tanh, SMALLEST, LARGEST, relative, 2**-11),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, variant):
    function, low, high, unit, bound = UNARY[name]
    x = dense(low, high)
    want = quiet(function, x)
    with np.errstate(over="ignore"):
        want = np.where(np.isfinite(want), want, want.astype(np.float32).astype(np.float64))
        large = np.abs(want) > float(np.finfo(np.float32).max)
        want = np.where(large, np.sign(want) * np.inf, want)
    got = evaluate(f"{name} {{d}}, {{a}};", x, variant=variant)
    assert worst(got, want, unit(want)) <= bound


@pytest.mark.parametrize("variant", VARIANTS)
def test_lg2(variant):
    x = np.abs(dense(SMALLEST, LARGEST))
    near_one = np.linspace(0.5, 2, COUNT, dtype=np.float32)
    for values in (x, near_one):
        want = quiet(np.log2, values)
        got = evaluate("lg2.approx.f32 {d}, {a};", values, variant=variant)
        # Absolute around one, relative elsewhere.
        unit = np.where((values > 0.5) & (values < 2), 1, np.abs(want))
        assert worst(got, want, np.maximum(unit, 2.0**-126)) <= 2**-22


def test_large_angles():
    near, far = dense(2 * np.pi, 100 * np.pi), dense(100 * np.pi, LARGEST)
    for name, function in (("sin", np.sin), ("cos", np.cos)):
        got = evaluate(f"{name}.approx.f32 {{d}}, {{a}};", near)
        assert np.max(np.abs(got - quiet(function, near))) <= 2**-14.7
        assert np.all(np.abs(evaluate(f"{name}.approx.f32 {{d}}, {{a}};", far)) <= 1)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["div.approx.f32", "div.full.f32"])
def test_division(name, variant):
    generator = np.random.default_rng(1)
    a = generator.integers(0, 0x7F800000, COUNT).astype(np.uint32).view(np.float32)
    b = dense(2.0**-126, 2.0**126)[:COUNT]
    want = quiet(np.divide, a, b)
    kept = (np.abs(want) < 2.0**127) & (np.abs(want) > 2.0**-125)
    got = evaluate(f"{name} {{d}}, {{a}}, {{b}};", a, b, variant=variant)
    assert worst(got[kept], want[kept], ulp(want[kept])) <= 2


def test_approximate_division_by_the_largest():
    b = np.array([2.0**126, 1.5 * 2.0**126, 2.0**127, 3.4e38, np.inf], np.float32)
    a = np.full(5, 2.0**127, np.float32)
    assert evaluate("div.approx.f32 {d}, {a}, {b};", a, b).tolist() == [2, 0, 0, 0, 0]
    infinite = evaluate("div.approx.f32 {d}, {a}, {b};", np.full(5, np.inf, np.float32), b)
    assert np.array_equal(infinite, [np.inf, *[np.nan] * 4], equal_nan=True)
    full = evaluate("div.full.f32 {d}, {a}, {b};", a, b)
    assert full[1] == np.float32(a[1]) / np.float32(b[1])


INF, NAN = np.inf, np.nan
#: Of -inf, -subnormal, -0, +0, +subnormal, +inf, NaN: the tables of PTX ISA 9.7.3.
SPECIAL = {
    "rcp.approx.f32": (-0.0, -INF, -INF, INF, INF, 0.0, NAN),
    "rcp.approx.ftz.f32": (-0.0, -INF, -INF, INF, INF, 0.0, NAN),
    "sqrt.approx.ftz.f32": (NAN, -0.0, -0.0, 0.0, 0.0, INF, NAN),
    "rsqrt.approx.f32": (NAN, NAN, -INF, INF, None, 0.0, NAN),
    "rsqrt.approx.ftz.f32": (NAN, -INF, -INF, INF, INF, 0.0, NAN),
    "sin.approx.ftz.f32": (NAN, -0.0, -0.0, 0.0, 0.0, NAN, NAN),
    "cos.approx.f32": (NAN, 1.0, 1.0, 1.0, 1.0, NAN, NAN),
    "lg2.approx.f32": (NAN, NAN, -INF, -INF, None, INF, NAN),
    "lg2.approx.ftz.f32": (NAN, -INF, -INF, -INF, -INF, INF, NAN),
    "ex2.approx.f32": (0.0, 1.0, 1.0, 1.0, 1.0, INF, NAN),
    "ex2.approx.ftz.f32": (0.0, 1.0, 1.0, 1.0, 1.0, INF, NAN),
    "tanh.approx.f32": (-1.0, None, -0.0, 0.0, None, 1.0, NAN),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name):
    x = np.array([-INF, -1e-39, -0.0, 0.0, 1e-39, INF, NAN], np.float32)
    for variant in VARIANTS:
        got = evaluate(f"{name} {{d}}, {{a}};", x, variant=variant)
        for one, wanted in zip(got, SPECIAL[name], strict=True):
            if wanted is None:
                continue
            if np.isnan(wanted):
                assert one.view(np.uint32) == 0x7FFFFFFF, name
            else:
                assert one.view(np.uint32) == np.float32(wanted).view(np.uint32), name


def test_flushed_results():
    x = np.array([-126.5, -127, -140, 127.5], np.float32)
    plain = evaluate("ex2.approx.f32 {d}, {a};", x)
    assert np.allclose(
        plain[:3].astype(np.float64), np.exp2(x[:3].astype(np.float64)), atol=2.0**-149
    )
    flushed = evaluate("ex2.approx.ftz.f32 {d}, {a};", x)
    assert flushed[:3].tolist() == [0, 0, 0]
    assert flushed[3] == plain[3]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["rcp.approx.ftz.f64", "rsqrt.approx.ftz.f64", "rsqrt.approx.f64"])
def test_doubles(name, variant):
    generator = np.random.default_rng(2)
    x = generator.integers(0x0010 << 48, 0x7FD0 << 48, COUNT).astype(np.uint64)
    if ".ftz" in name:
        x &= np.uint64(0xFFFFFFFF00000000)
    x = x.view(np.float64)
    exact = x.astype(np.longdouble)
    want = (1 / exact if name.startswith("rcp") else 1 / np.sqrt(exact)).astype(np.float64)
    want = np.where(np.abs(want) < 2.0**-1022, 0, want)
    got = evaluate(f"{name} {{d}}, {{a}};", x, kind="f64", variant=variant)
    if ".ftz" in name:
        assert not np.any(got.view(np.uint64) & np.uint64(0xFFFFFFFF))
    # PTX gives no bound for the .ftz forms beyond their 20 bits of mantissa.
    bound = 2**-20 if ".ftz" in name else 2**-51
    assert np.max(np.abs(got - want) / np.maximum(np.abs(want), 2.0**-1000)) <= bound


@pytest.mark.parametrize("name", ["rcp", "rsqrt"])
def test_special_doubles(name):
    x = np.array([-INF, -1e-310, -0.0, 0.0, 1e-310, INF, NAN, -NAN])
    flushed = (
        [-0.0, -INF, -INF, INF, INF, 0.0] if name == "rcp" else [NAN, -INF, -INF, INF, INF, 0.0]
    )
    for variant in VARIANTS:
        got = evaluate(f"{name}.approx.ftz.f64 {{d}}, {{a}};", x, kind="f64", variant=variant)
        assert got[6:].view(np.uint64).tolist() == [0x7FFFFFFF00000000] * 2
        assert np.array_equal(got[:6], flushed, equal_nan=True)
        assert np.array_equal(np.signbit(got[1:6]), np.signbit(flushed[1:6]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_halves(variant):
    half = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)

    def run(name, kind):
        return execute(Instruction(f"{name} {{d}}, {{a}};", d=kind, a=kind), [half], variant)[0]

    def compare(got, x, function, relative_bound, absolute_bound, largest):
        want = quiet(function, x)
        inside = np.isfinite(want) & (np.abs(want) <= largest)
        error = np.abs(got[inside] - want[inside])
        assert np.all(error <= np.abs(want[inside]) * relative_bound + absolute_bound)
        assert np.array_equal(np.isnan(got), np.isnan(x))

    def from_half(bits):
        return quiet(lambda x: x, bits.view(np.float16))

    def from_brain(bits):
        return quiet(lambda x: x, (bits.astype(np.uint32) << 16).view(np.float32))

    as_half, as_brain = from_half(half), from_brain(half)
    compare(from_half(run("ex2.approx.f16", "f16")), as_half, np.exp2, 2**-9.9, 2**-25, 65504)
    compare(from_half(run("tanh.approx.f16", "f16")), as_half, np.tanh, 0, 2**-10.987, 1)
    compare(
        from_brain(run("ex2.approx.ftz.bf16", "bf16")), as_brain, np.exp2, 2**-7, 2**-126, 3.3e38
    )
    compare(from_brain(run("tanh.approx.bf16", "bf16")), as_brain, np.tanh, 2**-8, 2**-133, 1)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
@pytest.mark.parametrize("name", ["ex2.approx", "tanh.approx"])
def test_pairs_of_halves_are_two_halves(name, kind):
    name += ".ftz" if (name, kind) == ("ex2.approx", "bf16") else ""
    values = np.array([*float_edges(kind), 0x3123, 0xB456], np.uint16)
    single = execute(Instruction(f"{name}.{kind} {{d}}, {{a}};", d=kind, a=kind), [values], "avx2")
    pairs = values.astype(np.uint32) | values[::-1].astype(np.uint32) << 16
    both = execute(
        Instruction(f"{name}.{kind}x2 {{d}}, {{a}};", d=f"{kind}x2", a=f"{kind}x2"), [pairs], "avx2"
    )[0]
    assert np.array_equal(both & 0xFFFF, single[0])
    assert np.array_equal(both >> 16, single[0][::-1])

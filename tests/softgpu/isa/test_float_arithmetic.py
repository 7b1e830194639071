"""Floating-point arithmetic against exact integers (PTX ISA 9.7.3, 9.7.4, 9.7.5)."""

import itertools

import numpy as np
import pytest

from softgpu.isa.device import Refused
from softgpu.isa.floats import (
    F32,
    FORMATS,
    MODES,
    OPERATIONS,
    finish,
    in_pairs,
    operation,
    or_nan,
)
from softgpu.isa.instruction import Instruction, check, execute
from softgpu.isa.values import edges_of, float_edges

SOURCES = {"rcp": 1, "sqrt": 1, "fma": 3, "mad": 3}
#: Fewer edge values for three operands: all combinations still fit.
FEW = {"f32": float_edges("f32")[1::2], "f64": float_edges("f64")[1::2]}


def four_modes(name, modifiers, kind, register=None):
    """One text with the four rounding modes, into d, e, f and g."""
    operands = "abc"[: SOURCES.get(name, 2)]
    used = ", ".join(f"{{{o}}}" for o in operands)
    text = " ".join(
        f"{name}.{mode}{modifiers}.{kind} {{{d}}}, {used};"
        for d, mode in zip("defg", MODES, strict=True)
    )
    register = register or kind
    return Instruction(text, **dict.fromkeys("defg" + operands, register))


def model_of(name, kind, **modifiers):
    models = [operation(name, kind, mode, **modifiers) for mode in MODES]
    return lambda *operands: tuple(model(*operands) for model in models)


@pytest.mark.parametrize("modifiers", ["", ".ftz", ".sat", ".ftz.sat"])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "fma", "mad"])
def test_single(name, modifiers):
    flags = {m: True for m in modifiers.split(".") if m}
    check(
        four_modes(name, modifiers, "f32"),
        model_of(name, "f32", **flags),
        edges=dict.fromkeys("abc", FEW["f32"]) if SOURCES.get(name) == 3 else None,
    )


@pytest.mark.parametrize("modifiers", ["", ".ftz"])
@pytest.mark.parametrize("name", ["div", "rcp", "sqrt"])
def test_single_quotients_and_roots(name, modifiers):
    check(four_modes(name, modifiers, "f32"), model_of(name, "f32", ftz=bool(modifiers)))


@pytest.mark.parametrize("name", ["add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt"])
def test_double(name):
    check(
        four_modes(name, "", "f64"),
        model_of(name, "f64"),
        edges=dict.fromkeys("abc", FEW["f64"]) if SOURCES.get(name) == 3 else None,
        accept=or_nan("f64"),
    )


@pytest.mark.parametrize("modifiers", ["", ".ftz"])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "fma"])
def test_packed_singles(name, modifiers):
    models = [in_pairs(operation(name, "f32", m, ftz=bool(modifiers)), 32) for m in MODES]
    check(
        four_modes(name, modifiers, "f32x2"),
        lambda *operands: tuple(model(*operands) for model in models),
        edges={operand: edges_of("f32x2")[::3] for operand in "abc"} if name == "fma" else None,
        count=64,
    )


@pytest.mark.parametrize("narrow", ["f16", "bf16"])
@pytest.mark.parametrize("modifiers", ["", ".sat"])
@pytest.mark.parametrize("name", ["add", "sub", "fma"])
def test_mixed_precision(name, modifiers, narrow):
    instruction = four_modes(name, modifiers, f"f32.{narrow}", "f32")
    for operand in "ab" if name == "fma" else "a":
        instruction.operands[operand] = narrow
    if name != "fma":
        instruction.operands["b"] = "f32"

    def model(*operands):
        *first, last = operands
        values = [*(FORMATS[narrow].decode(v) for v in first), F32.decode(last)]
        return tuple(
            finish(F32, F32.round(OPERATIONS[name](*values, mode), mode), sat=bool(modifiers))
            for mode in MODES
        )

    check(instruction, model, edges={"c": FEW["f32"]} if name == "fma" else None)


HALF_FORMS = [
    *itertools.product(["add", "sub", "mul"], ["f16", "f16x2"], ["", "ftz", "sat", "ftz.sat"]),
    *itertools.product(["add", "sub", "mul"], ["bf16", "bf16x2"], [""]),
    *itertools.product(
        ["fma"], ["f16", "f16x2"], ["", "ftz", "sat", "ftz.sat", "relu", "ftz.relu"]
    ),
    *itertools.product(["fma"], ["bf16", "bf16x2"], ["", "relu"]),
]


@pytest.mark.parametrize("kind", ["f16", "bf16", "f16x2", "bf16x2"])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "fma"])
def test_half(name, kind):
    forms = [form[2] for form in HALF_FORMS if form[:2] == (name, kind)]
    single = kind.removesuffix("x2")
    operands = "abc" if name == "fma" else "ab"
    used = ", ".join(f"{{{o}}}" for o in operands)
    values = edges_of(kind)[:: 3 if kind != single else 2 if name == "fma" else 1]
    # Several forms in one text, one result each.
    for first in range(0, len(forms), 4):
        results = dict(zip("defg", forms[first : first + 4], strict=False))
        text, models = "", []
        for result, form in results.items():
            modifiers = "".join(f".{m}" for m in form.split(".") if m)
            text += f"{name}.rn{modifiers}.{kind} {{{result}}}, {used}; "
            model = operation(name, single, **{m: True for m in form.split(".") if m})
            models.append(in_pairs(model, 16) if kind != single else model)
        check(
            Instruction(text, **dict.fromkeys([*results, *operands], kind)),
            lambda *values, models=models: tuple(model(*values) for model in models),
            edges=dict.fromkeys(operands, values),
            count=128,
        )


def test_products_at_the_smallest_bfloat16_round_once():
    check(
        Instruction("mul.rn.bf16 {d}, {a}, {b};", d="bf16", a="bf16", b="bf16"),
        operation("mul", "bf16"),
        edges={"a": range(0x1F80, 0x2000), "b": [0x1C81, 0x1D01, 0x1D43, 0x9D81]},
    )


# --- Signs, minima, properties ---


@pytest.mark.parametrize("kind", ["f32", "f64", "f16", "bf16", "f16x2", "bf16x2"])
def test_abs_and_neg(kind):
    single = kind.removesuffix("x2")
    fmt = FORMATS[single]
    for modifier in ("", ".ftz") if single in ("f32", "f16") else ("",):

        def model(a, ftz=bool(modifier), fmt=fmt):
            value = fmt.flush(a) if ftz else a
            return value & (fmt.sign - 1), value ^ fmt.sign

        def pairs(a, model=model):
            low, high = model(a & 0xFFFF), model(a >> 16)
            return low[0] | high[0] << 16, low[1] | high[1] << 16

        text = f"abs{modifier}.{kind} {{d}}, {{a}}; neg{modifier}.{kind} {{e}}, {{a}};"
        check(Instruction(text, d=kind, e=kind, a=kind), model if kind == single else pairs)


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_copysign(kind):
    sign = FORMATS[kind].sign
    check(
        Instruction(f"copysign.{kind} {{d}}, {{a}}, {{b}};", d=kind, a=kind, b=kind),
        lambda a, b: a & sign | b & (sign - 1),
    )


PROPERTIES = {
    "finite": lambda x, normal: x.kind == "finite",
    "infinite": lambda x, normal: x.kind == "inf",
    "number": lambda x, normal: x.kind != "nan",
    "notanumber": lambda x, normal: x.kind == "nan",
    "normal": lambda x, normal: x.kind == "finite" and (x.zero or normal),
    "subnormal": lambda x, normal: x.kind == "finite" and not x.zero and not normal,
}


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("name", PROPERTIES)
def test_testp(name, kind):
    fmt = FORMATS[kind]

    def model(a):
        normal = a & (fmt.sign - 1) >= 1 << fmt.mantissa
        return PROPERTIES[name](fmt.decode(a), normal)

    check(Instruction(f"testp.{name}.{kind} {{d}}, {{a}};", d="pred", a=kind), model)


def choose(fmt, maximum, propagate, a, b):
    """The smaller or larger of two; -0 is below +0, a NaN loses unless it is to propagate."""
    nan_a, nan_b = fmt.is_nan(a), fmt.is_nan(b)
    if (nan_a and nan_b) or (propagate and (nan_a or nan_b)):
        return fmt.round(fmt.decode(a if nan_a else b))
    if nan_a or nan_b:
        return b if nan_a else a

    def rank(v):
        return -(v & (fmt.sign - 1)) - 1 if v & fmt.sign else v

    return max(a, b, key=rank) if maximum else min(a, b, key=rank)


def choosing(name, kind, form):
    fmt = FORMATS[kind]

    def model(*operands):
        if "ftz" in form:
            operands = tuple(fmt.flush(v) for v in operands)
        sign = 0
        if "xorsign" in form:
            sign = (operands[0] ^ operands[1]) & fmt.sign
        if "abs" in form:
            operands = tuple(v & (fmt.sign - 1) for v in operands)
        result = operands[0]
        for value in operands[1:]:
            result = choose(fmt, name == "max", "NaN" in form, result, value)
        return result if fmt.is_nan(result) else result | sign

    return model


MINIMA = {
    "f32": [a + b + c for a in ("", ".ftz") for b in ("", ".NaN") for c in ("", ".xorsign.abs")],
    "f64": [""],
    "f16": [a + b + c for a in ("", ".ftz") for b in ("", ".NaN") for c in ("", ".xorsign.abs")],
    "bf16": ["", ".NaN", ".xorsign.abs", ".NaN.xorsign.abs"],
}


@pytest.mark.parametrize("kind", ["f32", "f64", "f16", "bf16", "f16x2", "bf16x2"])
def test_min_and_max(kind):
    single = kind.removesuffix("x2")
    for form in MINIMA[single]:
        models = [choosing(name, single, form.split(".")) for name in ("min", "max")]
        if kind != single:
            models = [in_pairs(model, 16) for model in models]
        text = f"min{form}.{kind} {{d}}, {{a}}, {{b}}; max{form}.{kind} {{e}}, {{a}}, {{b}};"
        check(
            Instruction(text, d=kind, e=kind, a=kind, b=kind),
            lambda a, b, models=models: tuple(model(a, b) for model in models),
            accept=or_nan("f64") if kind == "f64" else None,
        )


def test_min_and_max_of_three():
    for form in [a + b + c for a in ("", ".ftz") for b in ("", ".NaN") for c in ("", ".abs")]:
        models = [choosing(name, "f32", form.split(".")) for name in ("min", "max")]
        text = " ".join(
            f"{name}{form}.f32 {{{d}}}, {{a}}, {{b}}, {{c}};"
            for name, d in (("min", "d"), ("max", "e"))
        )
        check(
            Instruction(text, **dict.fromkeys("deabc", "f32")),
            lambda *operands, models=models: tuple(model(*operands) for model in models),
            edges=dict.fromkeys("abc", FEW["f32"]),
            count=64,
        )


def test_what_ptx_does_not_define_is_refused():
    instruction = Instruction("fma.rn.oob.f16 {d}, {a}, {a}, {a};", d="f16", a="f16")
    with pytest.raises(Refused, match=r"fma\.rn\.oob\.f16: out-of-bounds NaN"):
        execute(instruction, [np.zeros(32, np.uint16)], "portable")

"""CuPy's arithmetic on every dtype, next to NumPy's: operators, conversions, and edge values."""

import itertools
import warnings

import cupy
import ml_dtypes
import numpy

INTEGERS = [numpy.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = [numpy.dtype(name) for name in ("float16", "float32", "float64")]
COMPLEX = [numpy.dtype(name) for name in ("complex64", "complex128")]
BFLOAT16 = numpy.dtype(ml_dtypes.bfloat16)
NUMBERS = [*INTEGERS, *FLOATS, *COMPLEX]
COUNT = 1000  # elements: more than a block, and no multiple of a warp

rng = numpy.random.default_rng(20240612)


def values(dtype: numpy.dtype) -> numpy.ndarray:
    """Numbers of a dtype, its extreme ones included, zero left out."""
    if dtype.kind == "b":
        return rng.integers(0, 2, COUNT).astype(bool)
    if dtype.kind in "iu":
        info = numpy.iinfo(dtype)
        found = rng.integers(info.min, info.max, COUNT, dtype=dtype, endpoint=True)
        found[:4] = info.min, info.max, 1, info.max - 1
        return numpy.where(found == 0, numpy.array(1, dtype), found)
    if dtype.kind == "c":
        return (rng.normal(size=COUNT) + 1j * rng.normal(size=COUNT)).astype(dtype)
    return (rng.normal(size=COUNT) * 8).astype(dtype)


def ulps(dtype: numpy.dtype) -> float:
    """The relative error that four roundings may leave."""
    return 4 * float(ml_dtypes.finfo(dtype).eps)


def check(found: cupy.ndarray, wanted: numpy.ndarray, what: str) -> None:
    back = cupy.asnumpy(found)
    assert back.dtype == wanted.dtype, f"{what}: {back.dtype} is not {wanted.dtype}"
    if wanted.dtype.kind in "biu":
        numpy.testing.assert_array_equal(back, wanted, err_msg=what)
        return
    tolerance = ulps(wanted.dtype)
    if wanted.dtype == BFLOAT16:
        back, wanted = back.astype(numpy.float32), wanted.astype(numpy.float32)
    numpy.testing.assert_allclose(back, wanted, rtol=tolerance, atol=tolerance / 8, err_msg=what)


def operators() -> None:
    """What `+` and its like give: exact for integers, which wrap around as NumPy's do."""
    tries = {
        "add": NUMBERS,
        "multiply": NUMBERS,
        "subtract": NUMBERS,
        "true_divide": [*FLOATS, *COMPLEX],
        "floor_divide": [*INTEGERS, *FLOATS],
        "remainder": INTEGERS,
        "less": [numpy.dtype(bool), *INTEGERS, *FLOATS],
        "maximum": [numpy.dtype(bool), *INTEGERS, *FLOATS],
        "bitwise_xor": [numpy.dtype(bool), *INTEGERS],
        "logical_and": [numpy.dtype(bool), *INTEGERS, *FLOATS],
    }
    for name, dtypes in tries.items():
        for dtype in dtypes:
            a, b = values(dtype), values(dtype)
            wanted = getattr(numpy, name)(a, b)
            check(getattr(cupy, name)(cupy.asarray(a), cupy.asarray(b)), wanted, f"{name} {dtype}")


def shifts() -> None:
    for dtype in INTEGERS:
        bits = dtype.itemsize * 8
        a, b = values(dtype), rng.integers(0, bits, COUNT).astype(dtype)
        for name in ("left_shift", "right_shift"):
            wanted = getattr(numpy, name)(a, b)
            check(getattr(cupy, name)(cupy.asarray(a), cupy.asarray(b)), wanted, f"{name} {dtype}")


def conversions() -> None:
    """Every dtype to every other, by one kernel per source with an output per target."""
    dtypes = [numpy.dtype(bool), *INTEGERS, *FLOATS]
    for source in dtypes:
        # What fits every target: C++ leaves the conversion of other values open.
        a = numpy.abs(values(source)) if source.kind == "f" else values(source) % 100
        a = a.astype(source)
        names = [f"o{index}" for index in range(len(dtypes))]
        kernel = cupy.ElementwiseKernel(
            "S a",
            ", ".join(f"{dtype.name} {name}" for dtype, name in zip(dtypes, names, strict=True)),
            "; ".join(f"{name} = a" for name in names),
            f"convert_{source.name}",
        )
        for found, target in zip(kernel(cupy.asarray(a)), dtypes, strict=True):
            check(found, a.astype(target), f"{source} to {target}")


def mixed_types() -> None:
    for left, right in itertools.product(("int8", "uint32", "float16", "complex64"), repeat=2):
        a, b = values(numpy.dtype(left)), values(numpy.dtype(right))
        check(cupy.asarray(a) + cupy.asarray(b), a + b, f"{left} + {right}")


def bfloat16() -> None:
    """Each operation rounds once, from single precision to nearest even, as ml_dtypes does."""
    a, b = values(BFLOAT16), values(BFLOAT16)
    x, y = cupy.asarray(a), cupy.asarray(b)
    for name in ("add", "subtract", "multiply", "true_divide", "maximum"):
        check(getattr(cupy, name)(x, y), getattr(numpy, name)(a, b), f"{name} bfloat16")
    check(x.astype(numpy.float32), a.astype(numpy.float32), "bfloat16 to float32")
    f = values(numpy.dtype(numpy.float32))
    check(cupy.asarray(f).astype(BFLOAT16), f.astype(BFLOAT16), "float32 to bfloat16")


def functions() -> None:
    """The functions of one argument, in single and double precision and complex."""
    names = {
        "sqrt": 1, "cbrt": 0, "exp": 0, "expm1": 0, "log": 1, "log1p": 1, "log2": 1, "sin": 0,
        "cos": 0, "tan": 0, "arcsin": 2, "arctan": 0, "sinh": 0, "tanh": 0, "arcsinh": 0,
        "floor": 0, "rint": 0, "trunc": 0, "reciprocal": 1,
    }  # fmt: skip
    for dtype in (numpy.dtype("float16"), numpy.dtype("float32"), numpy.dtype("float64")):
        plain = values(dtype)
        domains = (plain, numpy.abs(plain) + dtype.type(0.01), numpy.tanh(plain))
        for name, domain in names.items():
            a = domains[domain]
            check(getattr(cupy, name)(cupy.asarray(a)), getattr(numpy, name)(a), f"{name} {dtype}")
    for dtype in COMPLEX:
        a = values(dtype)
        for name in ("exp", "log", "sqrt", "sin", "tanh", "absolute", "angle", "conj"):
            check(getattr(cupy, name)(cupy.asarray(a)), getattr(numpy, name)(a), f"{name} {dtype}")


def edges() -> None:
    """Zeros with a sign, infinities, NaN and denormals; division of integers by zero is 0."""
    for dtype in FLOATS:
        # CuPy compiles with --ftz=true: denormals of single precision are zero.
        info = numpy.finfo(dtype)
        tiny = info.tiny * 8 if dtype == numpy.float32 else info.smallest_subnormal
        edge = [0.0, -0.0, numpy.inf, -numpy.inf, numpy.nan, tiny, -tiny, 1.0, -3.5]
        a, b = (x.ravel() for x in numpy.meshgrid(numpy.array(edge, dtype), edge))
        b = b.astype(dtype)
        x, y = cupy.asarray(a), cupy.asarray(b)
        for name in ("add", "multiply", "true_divide", "minimum", "maximum", "copysign"):
            wanted = getattr(numpy, name)(a, b)
            found = cupy.asnumpy(getattr(cupy, name)(x, y))
            numpy.testing.assert_array_equal(found, wanted, err_msg=f"{name} {dtype}")
            if "imum" in name:
                continue  # of two zeros NumPy's own choice varies
            number = ~numpy.isnan(wanted)  # the sign of a NaN means nothing
            numpy.testing.assert_array_equal(
                numpy.signbit(found[number]), numpy.signbit(wanted[number]), f"{name} {dtype}"
            )
        for name in ("isnan", "isinf", "isfinite", "signbit"):
            check(getattr(cupy, name)(x), getattr(numpy, name)(a), f"{name} {dtype}")
    zero = cupy.zeros(3, "int32")
    check(cupy.arange(3, dtype="int32") // zero, numpy.zeros(3, "int32"), "division by zero")


def main() -> None:
    warnings.simplefilter("ignore")  # NumPy's, about overflow and division by zero
    for part in (
        operators, shifts, conversions, mixed_types, bfloat16, functions, edges
    ):  # fmt: skip
        part()
        print(part.__name__, flush=True)
    print("fine")


main()

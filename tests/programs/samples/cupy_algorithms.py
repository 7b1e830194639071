"""CuPy's reductions, scans, sorts and searches, by CUB, Thrust and its own kernels."""

import cupy
import numpy

rng = numpy.random.default_rng(7)
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "float32", "float64")
COUNT = 5003


def values(dtype: str, *shape: int) -> numpy.ndarray:
    """Small numbers with repetitions, so that sums stay exact and order is visible."""
    shape = shape or (COUNT,)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith("complex"):
        parts = rng.integers(-40, 40, (2, *shape))
        return (parts[0] + 1j * parts[1]).astype(dtype)
    return rng.integers(0 if dtype[0] == "u" else -60, 60, shape).astype(dtype)


def equal(found, wanted, what: str) -> None:
    numpy.testing.assert_array_equal(cupy.asnumpy(found), wanted, err_msg=what)


def close(found, wanted, what: str, tolerance: float = 1e-5) -> None:
    numpy.testing.assert_allclose(cupy.asnumpy(found), wanted, tolerance, 1e-8, err_msg=what)


def reductions() -> None:
    """All of an array by CUB's device functions; along an axis by kernels compiled here."""
    for dtype in ("bool", *INTEGERS, *FLOATS, "complex64", "complex128"):
        a = values(dtype, 37, 129)
        x = cupy.asarray(a)
        if dtype != "float16":  # NumPy's own sum in half precision rounds at each step
            equal(x.sum(), a.sum(), f"sum {dtype}")
        equal(x.max(), a.max(), f"max {dtype}")
        equal(x.argmin(), a.argmin(), f"argmin {dtype}")
        if dtype in ("bool", "uint8", "int64", "float32", "complex128"):
            for axis in (0, 1):
                equal(x.sum(axis), a.sum(axis), f"sum {dtype} axis {axis}")
                equal(x.argmax(axis), a.argmax(axis), f"argmax {dtype} axis {axis}")
        if dtype in ("float32", "float64", "complex128"):
            close(x.var(axis=0), a.var(axis=0), f"var {dtype}")
            close(x.mean(axis=1), a.mean(axis=1), f"mean {dtype}")
    half = values("float16")
    close(cupy.asarray(half).sum(), half.sum(dtype="float64"), "sum float16", 1e-3)


def accelerators() -> None:
    """The same reductions by CUB's device functions, its block functions, and without CUB."""
    a = values("float64", 64, 500)
    before = cupy._core.get_reduction_accelerators()
    try:
        for accelerators in ([], ["cub"]):
            cupy._core.set_reduction_accelerators(accelerators)
            cupy._core.set_routine_accelerators(accelerators)
            x = cupy.asarray(a)
            equal(x.sum(), a.sum(), f"sum {accelerators}")
            equal(x.sum(axis=1), a.sum(axis=1), f"sum of rows {accelerators}")
            equal(x.argmax(axis=1), a.argmax(axis=1), f"argmax {accelerators}")
            equal(cupy.cumsum(x), numpy.cumsum(a), f"cumsum {accelerators}")
    finally:
        cupy._core.set_reduction_accelerators(before)


def scans() -> None:
    for dtype in ("int32", "uint8", "int64", "float32", "float64", "complex128"):
        a = values(dtype)
        x = cupy.asarray(a)
        equal(cupy.cumsum(x), numpy.cumsum(a), f"cumsum {dtype}")
        table = values(dtype, 13, 21)
        for axis in (0, 1):
            wanted = numpy.cumsum(table, axis)
            equal(cupy.cumsum(cupy.asarray(table), axis), wanted, f"cumsum {dtype} axis {axis}")
    signs = rng.choice([-1.0, 1.0, 2.0, 0.5], 400)
    close(cupy.cumprod(cupy.asarray(signs)), numpy.cumprod(signs), "cumprod", 1e-12)


def sorts() -> None:
    for dtype in ("bool", *INTEGERS, *FLOATS, "complex64", "complex128"):
        a = values(dtype)
        x = cupy.asarray(a)
        equal(cupy.sort(x), numpy.sort(a), f"sort {dtype}")
        order = cupy.asnumpy(cupy.argsort(x))
        equal(order, numpy.argsort(a, kind="stable"), f"argsort {dtype}")
        table = values(dtype, 5, 60, 7)
        for axis in (0, 1, -1):
            wanted = numpy.sort(table, axis)
            equal(cupy.sort(cupy.asarray(table), axis), wanted, f"sort {dtype} axis {axis}")
    with_nan = numpy.where(rng.random(300) < 0.2, numpy.nan, rng.normal(size=300))
    equal(cupy.sort(cupy.asarray(with_nan)), numpy.sort(with_nan), "sort with NaN")
    keys = numpy.stack([values("int32", 500) % 7, values("int32", 500)])
    equal(cupy.lexsort(cupy.asarray(keys)), numpy.lexsort(keys), "lexsort")
    a = rng.permutation(3000)
    found = cupy.asnumpy(cupy.partition(cupy.asarray(a), 700))
    assert found[700] == 700
    assert set(found[:700]) == set(range(700))


def searches() -> None:
    for dtype in ("int8", "uint64", "float32", "float64"):
        a = values(dtype)
        x = cupy.asarray(a)
        options = {"return_index": True, "return_inverse": True, "return_counts": True}
        for f, w in zip(cupy.unique(x, **options), numpy.unique(a, **options), strict=True):
            equal(f, w, f"unique {dtype}")
        edges, probes = numpy.unique(a), values(dtype)
        for side in ("left", "right"):
            found = cupy.searchsorted(cupy.asarray(edges), cupy.asarray(probes), side=side)
            equal(found, numpy.searchsorted(edges, probes, side=side), f"searchsorted {dtype}")
        equal(cupy.nonzero(x)[0], numpy.nonzero(a)[0], f"nonzero {dtype}")
        equal(cupy.where(x > 3, x, -x), numpy.where(a > 3, a, -a), f"where {dtype}")
    a = values("int64") + 60
    x = cupy.asarray(a)
    equal(cupy.bincount(x), numpy.bincount(a), "bincount")
    weights = rng.integers(0, 9, COUNT).astype(float)
    weighted = cupy.bincount(x, cupy.asarray(weights))
    equal(weighted, numpy.bincount(a, weights), "bincount with weights")
    for found, wanted in zip(cupy.histogram(x, 17), numpy.histogram(a, 17), strict=True):
        close(found, wanted, "histogram", 1e-12)
    close(cupy.percentile(x, [3, 50, 98.5]), numpy.percentile(a, [3, 50, 98.5]), "percentile")
    close(cupy.median(x), numpy.median(a), "median")
    close(cupy.digitize(x, cupy.arange(0, 120, 7)), numpy.digitize(a, numpy.arange(0, 120, 7)), "")


def indexing() -> None:
    a = values("int64", 40, 50)
    x = cupy.asarray(a)
    rows, columns = rng.integers(-40, 40, 300), rng.integers(0, 50, 300)
    equal(x[cupy.asarray(rows), cupy.asarray(columns)], a[rows, columns], "advanced indexing")
    equal(x[x % 3 == 0], a[a % 3 == 0], "a mask")
    equal(cupy.take(x, cupy.asarray(columns), axis=1), numpy.take(a, columns, axis=1), "take")
    added, wanted = cupy.zeros(50, "int64"), numpy.zeros(50, "int64")
    cupy.add.at(added, cupy.asarray(columns), cupy.asarray(rows))
    numpy.add.at(wanted, columns, rows)
    equal(added, wanted, "add.at by atomics")
    for dtype in ("float32", "float64", "int32", "uint64"):
        maxima, wanted = cupy.zeros(50, dtype), numpy.zeros(50, dtype)
        cupy.maximum.at(maxima, cupy.asarray(columns), cupy.asarray(rows.astype(dtype)))
        numpy.maximum.at(wanted, columns, rows.astype(dtype))
        equal(maxima, wanted, f"maximum.at {dtype}")
    equal(cupy.roll(x, 7, 1)[::-1, ::3].T, numpy.roll(a, 7, 1)[::-1, ::3].T, "views")
    equal(cupy.concatenate([x, x[:3]]), numpy.concatenate([a, a[:3]]), "concatenate")
    close(cupy.einsum("ij,kj->ik", x, x), numpy.einsum("ij,kj->ik", a, a), "einsum")
    close(cupy.convolve(x[0] * 1.0, x[1] * 1.0), numpy.convolve(a[0] * 1.0, a[1] * 1.0), "", 1e-9)


def main() -> None:
    for part in (reductions, accelerators, scans, sorts, searches, indexing):
        part()
        print(part.__name__, flush=True)
    print("fine")


main()

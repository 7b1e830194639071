"""cuBLAS through CuPy, compared with NumPy. Arguments: the groups to run (default: all).

Half precision and bfloat16 are compared with products in single precision: cuBLAS accumulates
there.
"""

import sys

import cupy
import cupyx
import numpy as np
from cupy import cublas as blas
from cupy_backends.cuda.libs import cublas as raw
from cupyx.scipy.linalg import solve_triangular

# Of cudaDataType_t and cublasComputeType_t.
R_32F, R_16F, R_16BF, R_8I, R_32I = 0, 2, 14, 3, 10
COMPUTE_32F, COMPUTE_16F, COMPUTE_32I = 68, 64, 72
NORMAL, TRANSPOSED, DEFAULT = 0, 1, -1

#: Absolute error allowed per sum of products of values around 1.
TOLERANCE = {"e": 2e-3, "f": 2e-6, "d": 1e-14, "F": 4e-6, "D": 2e-14}
SIZES = ((1, 1, 1), (7, 5, 3), (64, 64, 64), (129, 65, 33), (200, 100, 300))
generator = np.random.default_rng(7)


def matrix(*shape, dtype):
    values = generator.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * generator.standard_normal(shape)
    return values.astype(dtype)


def wide(array):
    return array.astype(np.float32) if array.dtype == np.float16 else array


def close(got, want, terms):
    """``terms``: how many products each value is the sum of."""
    kind = np.dtype(got.dtype).char
    scale = TOLERANCE[kind] * max(terms, 1) ** 0.5 * 4
    np.testing.assert_allclose(
        cupy.asnumpy(got), want.astype(got.dtype), atol=scale, rtol=TOLERANCE[kind] * 4
    )


def products(dtypes):
    for dtype in dtypes:
        for m, n, k in SIZES:
            a, b = matrix(m, k, dtype=dtype), matrix(k, n, dtype=dtype)
            want = wide(a) @ wide(b)
            close(cupy.asarray(a) @ cupy.asarray(b), want, k)
            # Operands by columns: cuBLAS takes them as transposed.
            left, right = np.asfortranarray(a), np.asfortranarray(b)
            close(cupy.asarray(left) @ cupy.asarray(b), want, k)
            close(cupy.asarray(a) @ cupy.asarray(right), want, k)
            close(cupy.asarray(left) @ cupy.asarray(right), want, k)


def conjugates():
    a, b = matrix(20, 30, dtype="F"), matrix(20, 10, dtype="F")
    out = cupy.zeros((30, 10), "F", order="F")
    blas.gemm("H", "N", columns(a), columns(b), out=out)
    close(out, a.conj().T @ b, 20)


def batches(dtypes):
    for dtype in dtypes:
        a, b = matrix(5, 24, 17, dtype=dtype), matrix(5, 17, 40, dtype=dtype)
        close(cupy.asarray(a) @ cupy.asarray(b), wide(a) @ wide(b), 17)
        # One matrix for all of a batch, and a batch that is not contiguous.
        close(cupy.asarray(a) @ cupy.asarray(b[0]), wide(a) @ wide(b[0]), 17)
        close(cupy.asarray(a)[::2] @ cupy.asarray(b)[::2], wide(a[::2]) @ wide(b[::2]), 17)
        x, y = matrix(6, 7, 8, dtype=dtype), matrix(8, 7, 5, dtype=dtype)
        close(
            cupy.tensordot(cupy.asarray(x), cupy.asarray(y), axes=((1, 2), (1, 0))),
            np.tensordot(wide(x), wide(y), axes=((1, 2), (1, 0))),
            56,
        )


def vectors(dtypes):
    for dtype in dtypes:
        a, x, y = (matrix(*s, dtype=dtype) for s in ((300, 77), (77,), (300,)))
        device = columns(a)
        for trans, by, left in (("N", x, a), ("T", y, a.T)):
            out = cupy.zeros(len(left), dtype)
            blas.gemv(trans, 1.0, device, cupy.asarray(by), 0.0, out)
            close(out, left @ by, len(by))
        close(cupy.dot(cupy.asarray(y), cupy.asarray(y)), np.dot(y, y), 300)
        np.testing.assert_allclose(float(blas.nrm2(cupy.asarray(y))), np.linalg.norm(y), rtol=1e-5)
        assert int(blas.iamax(cupy.asarray(x))) - 1 == np.argmax(np.abs(x.real) + np.abs(x.imag))
        total = float(np.sum(np.abs(y.real) + np.abs(y.imag)))
        np.testing.assert_allclose(float(blas.asum(cupy.asarray(y))), total, rtol=1e-5)
        z = cupy.asarray(y)
        blas.axpy(2.5, cupy.asarray(y), z)
        close(z, y * np.array(3.5, dtype), 2)
        blas.scal(0.5, z)
        close(z, y * np.array(1.75, dtype), 2)
        outer = cupy.zeros((300, 77), dtype, order="F")
        (blas.geru if np.dtype(dtype).kind == "c" else blas.ger)(
            1.0, cupy.asarray(y), cupy.asarray(x), outer
        )
        close(outer, np.outer(y, x), 1)


def others(dtypes):
    for dtype in dtypes:
        a, d = matrix(60, 40, dtype=dtype), matrix(60, dtype=dtype)
        close(blas.dgmm("L", columns(a), cupy.asarray(d)), d[:, None] * a, 1)
        b = matrix(60, 40, dtype=dtype)
        left, right = columns(a), columns(b)
        close(blas.geam("N", "N", 2.0, left, 3.0, right), (2 * a + 3 * b).astype(dtype), 2)
        close(blas.geam("T", "T", 1.0, left, -1.0, right), (a - b).T, 2)
        for lower in (True, False):
            square = blas.syrk("N", left, lower=lower)
            kept = np.tril if lower else np.triu
            close(kept(cupy.asnumpy(square)), kept(a @ a.T), 40)
        triangle = np.tril(matrix(70, 70, dtype=dtype)) + 20 * np.eye(70, dtype=dtype)
        rhs = matrix(70, 9, dtype=dtype)
        for lower, trans in ((True, "N"), (True, "T"), (False, "N")):
            t = triangle if lower else np.ascontiguousarray(triangle.T)
            x = solve_triangular(cupy.asarray(t), cupy.asarray(rhs), trans=trans, lower=lower)
            used = t.T if trans == "T" else t
            np.testing.assert_allclose(
                used @ cupy.asnumpy(x), rhs, atol=70 * TOLERANCE[np.dtype(dtype).char] * 8
            )


def solves(dtypes):
    """getrfBatched, getriBatched: batches of small systems."""
    for dtype in dtypes:
        a = matrix(6, 12, 12, dtype=dtype) + 12 * np.eye(12, dtype=dtype)
        b = matrix(6, 12, 3, dtype=dtype)
        x = cupy.linalg.solve(cupy.asarray(a), cupy.asarray(b))
        np.testing.assert_allclose(cupy.asnumpy(x), np.linalg.solve(a, b), rtol=1e-3, atol=1e-4)
        inverse = cupy.asnumpy(cupy.linalg.inv(cupy.asarray(a)))
        np.testing.assert_allclose(inverse, np.linalg.inv(a), rtol=1e-3, atol=1e-5)


def gemm_ex(a, b, out, kinds, compute, scalar, transposed=False):
    """out = a @ b for matrices stored by columns, or a.T @ b; any of cuBLAS's types."""
    (m, n), k = out.shape, b.shape[0]
    one, zero = np.array(1, scalar), np.array(0, scalar)
    handle = cupy.cuda.device.get_cublas_handle()
    raw.gemmEx(
        handle, TRANSPOSED if transposed else NORMAL, NORMAL, m, n, k,
        one.ctypes.data, a.data.ptr, kinds[0], a.shape[0], b.data.ptr, kinds[0], k,
        zero.ctypes.data, out.data.ptr, kinds[1], m, compute, DEFAULT,
    )  # fmt: skip


def columns(values):
    return cupy.asfortranarray(cupy.asarray(values))


def bytes_to_integers():
    # For some sizes between these cuBLAS 12.9 takes a kernel that it has as machine code only.
    for m, n, k in ((4, 4, 4), (16, 16, 32), (256, 256, 256)):
        for transposed in (False, True):
            a = generator.integers(-128, 128, (k, m) if transposed else (m, k)).astype(np.int8)
            b = generator.integers(-128, 128, (k, n)).astype(np.int8)
            out = cupy.zeros((m, n), np.int32, order="F")
            gemm_ex(columns(a), columns(b), out, (R_8I, R_32I), COMPUTE_32I, np.int32, transposed)
            left = (a.T if transposed else a).astype(np.int32)
            np.testing.assert_array_equal(cupy.asnumpy(out), left @ b.astype(np.int32))


def halves_to_singles():
    for m, n, k in SIZES:
        a, b = matrix(m, k, dtype="e"), matrix(k, n, dtype="e")
        out = cupy.zeros((m, n), np.float32, order="F")
        gemm_ex(columns(a), columns(b), out, (R_16F, R_32F), COMPUTE_32F, np.float32)
        close(out, wide(a) @ wide(b), k)
        small = cupy.zeros((m, n), np.float16, order="F")
        gemm_ex(columns(a), columns(b), small, (R_16F, R_16F), COMPUTE_16F, np.float16)
        want = (wide(a) @ wide(b)).astype(np.float16)
        np.testing.assert_allclose(cupy.asnumpy(small), want, atol=2e-3 * k, rtol=2e-2)


def brains():
    """bfloat16: single precision with its lower half cut off."""

    def cut(values):
        return (values.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)

    def stored(values):
        return columns((values.view(np.uint32) >> 16).astype(np.uint16))

    for m, n, k in SIZES:
        a, b = cut(matrix(m, k, dtype="f")), cut(matrix(k, n, dtype="f"))
        out = cupy.zeros((m, n), np.float32, order="F")
        gemm_ex(stored(a), stored(b), out, (R_16BF, R_32F), COMPUTE_32F, np.float32)
        close(out, a @ b, k)
        small = cupy.zeros((m, n), np.uint16, order="F")
        gemm_ex(stored(a), stored(b), small, (R_16BF, R_16BF), COMPUTE_32F, np.float32)
        got = (cupy.asnumpy(small).astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_allclose(got, a @ b, atol=1e-2 * k**0.5, rtol=1e-2)


FULL = ("f", "d", "F", "D")
GROUPS = {
    "half": lambda: products("e"),
    "single": lambda: products("f"),
    "double": lambda: products("d"),
    "complex": lambda: (products("FD"), conjugates()),
    "batches": lambda: batches(("e", *FULL)),
    "vectors": lambda: vectors(FULL),
    "others": lambda: others(FULL),
    "solves": lambda: solves(FULL),
    "int8": bytes_to_integers,
    "mixed": halves_to_singles,
    "bfloat16": brains,
}

if __name__ == "__main__":
    cupyx.errstate(linalg="raise")
    for name in sys.argv[1:] or GROUPS:
        GROUPS[name]()
        print(name, "agrees")

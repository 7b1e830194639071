"""CuPy's libraries, compared with NumPy and SciPy. Arguments: the groups to run (default: all)."""

import sys

import cupy
import numpy as np
import scipy.sparse
import scipy.stats
from cupyx.scipy import sparse
from cupyx.scipy.sparse import linalg as sparse_linalg

generator = np.random.default_rng(11)
TOLERANCE = {"f": 2e-4, "d": 1e-10, "F": 2e-4, "D": 1e-10}


def matrix(*shape, dtype):
    values = generator.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * generator.standard_normal(shape)
    return values.astype(dtype)


def close(got, want, factor=1.0):
    got = cupy.asnumpy(got)
    tolerance = TOLERANCE[np.dtype(want.dtype).char] * factor
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def solve():
    """cuSOLVER's LU and Cholesky."""
    for dtype in "fdFD":
        a = matrix(40, 40, dtype=dtype) + 10 * np.eye(40, dtype=dtype)
        b = matrix(40, 3, dtype=dtype)
        close(cupy.linalg.solve(cupy.asarray(a), cupy.asarray(b)), np.linalg.solve(a, b))
        close(cupy.linalg.inv(cupy.asarray(a)), np.linalg.inv(a))
        sign, logarithm = cupy.linalg.slogdet(cupy.asarray(a))
        wanted = np.linalg.slogdet(a)
        np.testing.assert_allclose(complex(sign), complex(wanted[0]), rtol=1e-3)
        np.testing.assert_allclose(float(logarithm), float(wanted[1]), rtol=1e-3)
        positive = a @ a.conj().T + np.eye(40, dtype=dtype)
        close(cupy.linalg.cholesky(cupy.asarray(positive)), np.linalg.cholesky(positive), 10)


def qr():
    for dtype in "fdFD":
        for shape in ((30, 20), (20, 30), (25, 25)):
            a = matrix(*shape, dtype=dtype)
            q, r = (cupy.asnumpy(v) for v in cupy.linalg.qr(cupy.asarray(a)))
            close(q @ r, a)
            close(q.conj().T @ q, np.eye(q.shape[1], dtype=dtype))
            assert np.allclose(r, np.triu(r))


def svd():
    for dtype in "fdFD":
        for shape in ((30, 20), (20, 30), (16, 16)):
            a = matrix(*shape, dtype=dtype)
            u, s, v = (
                cupy.asnumpy(x) for x in cupy.linalg.svd(cupy.asarray(a), full_matrices=False)
            )
            close((u * s) @ v, a)
            close(s, np.linalg.svd(a, compute_uv=False))
        b = matrix(30, 2, dtype=dtype)
        a = matrix(30, 20, dtype=dtype)
        close(
            cupy.linalg.lstsq(cupy.asarray(a), cupy.asarray(b), rcond=None)[0],
            np.linalg.lstsq(a, b, rcond=None)[0],
            10,
        )
        close(cupy.linalg.pinv(cupy.asarray(a)), np.linalg.pinv(a), 10)


def eigh():
    for dtype in "fdFD":
        a = matrix(24, 24, dtype=dtype)
        a = a + a.conj().T
        w, v = (cupy.asnumpy(x) for x in cupy.linalg.eigh(cupy.asarray(a)))
        close(w, np.linalg.eigvalsh(a), 10)
        close(a @ v, v * w, 10)
        close(cupy.linalg.eigvalsh(cupy.asarray(a)), np.linalg.eigvalsh(a), 10)


def fft():
    for dtype in "fdFD":
        for n in (8, 60, 128, 1000):
            x = matrix(3, n, dtype=dtype)
            close(cupy.fft.fft(cupy.asarray(x)), np.fft.fft(x), 10)
            close(cupy.fft.ifft(cupy.asarray(x)), np.fft.ifft(x), 10)
        image = matrix(16, 24, dtype=dtype)
        close(cupy.fft.fft2(cupy.asarray(image)), np.fft.fft2(image), 10)
    for dtype in "fd":
        x = matrix(5, 96, dtype=dtype)
        close(cupy.fft.rfft(cupy.asarray(x)), np.fft.rfft(x), 10)
        close(cupy.fft.irfft(cupy.fft.rfft(cupy.asarray(x))), x, 10)


def sparse_products():
    for dtype in "fdFD":
        a = scipy.sparse.random(80, 60, 0.1, "csr", dtype, generator)
        a.data = matrix(a.nnz, dtype=dtype)
        x, y = matrix(60, dtype=dtype), matrix(60, 5, dtype=dtype)
        for form in ("csr", "csc", "coo"):
            device = getattr(sparse, f"{form}_matrix")(a.asformat(form))
            close(device @ cupy.asarray(x), a @ x)
            close(device @ cupy.asarray(y), a @ y)
        csr = sparse.csr_matrix(a)
        close(csr.toarray(), a.toarray())
        close((csr @ csr.T).toarray(), (a @ a.T).toarray())
        close((csr + csr).toarray(), (a + a).toarray())
        close(csr.sum(axis=0), np.asarray(a.sum(axis=0)), 10)


def sparse_solvers():
    for dtype in "fd":
        a = scipy.sparse.random(50, 50, 0.1, "csr", dtype, generator)
        a = (a + a.T + 50 * scipy.sparse.identity(50)).astype(dtype).tocsr()
        b = matrix(50, dtype=dtype)
        wanted = np.linalg.solve(a.toarray(), b)
        x, code = sparse_linalg.cg(sparse.csr_matrix(a), cupy.asarray(b))
        assert code == 0
        np.testing.assert_allclose(cupy.asnumpy(x), wanted, rtol=1e-2, atol=1e-4)
        for solution in (
            sparse_linalg.spsolve(sparse.csr_matrix(a), cupy.asarray(b)),
            sparse_linalg.splu(sparse.csr_matrix(a)).solve(cupy.asarray(b)),
        ):
            close(solution, wanted, 10)
        values = cupy.asnumpy(sparse_linalg.eigsh(sparse.csr_matrix(a), k=3)[0])
        close(np.sort(values), np.linalg.eigvalsh(a.toarray())[-3:], 10)
        singular = sparse_linalg.svds(sparse.csr_matrix(a), k=3)[1]
        close(np.sort(cupy.asnumpy(singular)), np.linalg.svd(a.toarray())[1][2::-1], 10)
        lower = scipy.sparse.tril(a, format="csr")
        x = sparse_linalg.spsolve_triangular(sparse.csr_matrix(lower), cupy.asarray(b), lower=True)
        close(x, np.linalg.solve(lower.toarray(), b), 10)


def random():
    """cuRAND's generators: reproducible, and of the right distribution (Kolmogorov-Smirnov)."""
    for name in ("XORWOW", "MRG32K3A", "PHILOX4_32_10"):
        kind = getattr(cupy.cuda.curand, f"CURAND_RNG_PSEUDO_{name}")
        for dtype in (np.float32, np.float64):
            first = cupy.random.RandomState(5, method=kind).random_sample(5000, dtype)
            second = cupy.random.RandomState(5, method=kind).random_sample(5000, dtype)
            assert np.array_equal(cupy.asnumpy(first), cupy.asnumpy(second))
            assert scipy.stats.kstest(cupy.asnumpy(first), "uniform").pvalue > 1e-4, name
            normal = cupy.random.RandomState(6, method=kind).normal(2, 3, 5000, dtype)
            assert scipy.stats.kstest(cupy.asnumpy(normal), "norm", (2, 3)).pvalue > 1e-4, name


def distributions():
    """Made by CuPy's own kernels, which use cuRAND's device functions."""
    state = cupy.random.RandomState(7)
    samples = {
        "expon": state.exponential(1.0, 3000),
        "gamma": state.gamma(2.0, 1.0, 3000),
        "beta": state.beta(2.0, 3.0, 3000),
        "lognorm": state.lognormal(0.0, 1.0, 3000),
    }
    shapes = {"gamma": (2.0,), "beta": (2.0, 3.0), "lognorm": (1.0,)}
    for name, values in samples.items():
        p = scipy.stats.kstest(cupy.asnumpy(values), name, shapes.get(name, ())).pvalue
        assert p > 1e-4, (name, p)
    drawn = cupy.asnumpy(state.randint(0, 10, 5000))
    assert scipy.stats.chisquare(np.bincount(drawn, minlength=10)).pvalue > 1e-4
    shuffled = cupy.random.permutation(1000)
    assert sorted(cupy.asnumpy(shuffled).tolist()) == list(range(1000))
    for bits in (cupy.random.XORWOW, cupy.random.MRG32k3a, cupy.random.Philox4x3210):
        draws = cupy.random.Generator(bits(9)).random(3000)
        assert scipy.stats.kstest(cupy.asnumpy(draws), "uniform").pvalue > 1e-4, bits


GROUPS = {
    "solve": solve,
    "qr": qr,
    "svd": svd,
    "eigh": eigh,
    "fft": fft,
    "sparse": sparse_products,
    "sparse_solvers": sparse_solvers,
    "random": random,
    "distributions": distributions,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or GROUPS:
        GROUPS[name]()
        print(name, "agrees")

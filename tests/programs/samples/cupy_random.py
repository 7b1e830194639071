"""CuPy's random numbers: Philox against a model of our own, distributions by their moments."""

from pathlib import Path

import cupy
import numpy
import nvidia.curand
from cupy.random import XORWOW, MRG32k3a, Philox4x3210

M0, M1, W0, W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
LOW = numpy.uint64(0xFFFFFFFF)


def philox(seed: int, sequence: numpy.ndarray, block: int) -> numpy.ndarray:
    """Philox4x32-10 (Salmon et al., SC 2011) for counters (block, sequence): four words each."""
    zero = numpy.zeros_like(sequence)
    c0, c1, c2, c3 = zero + numpy.uint64(block), zero, sequence & LOW, sequence >> numpy.uint64(32)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = numpy.uint64(M0) * c0, numpy.uint64(M1) * c2
        c0, c1, c2, c3 = (
            (p1 >> numpy.uint64(32)) ^ c1 ^ numpy.uint64(k0),
            p1 & LOW,
            (p0 >> numpy.uint64(32)) ^ c3 ^ numpy.uint64(k1),
            p0 & LOW,
        )
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return numpy.stack([c0, c1, c2, c3], axis=1)


KERNEL = r"""
#include <curand_kernel.h>
extern "C" __global__ void draw(unsigned long long seed, unsigned* out, int words) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  curandStatePhilox4_32_10_t state;
  curand_init(seed, i, 0, &state);
  for (int w = 0; w < words; ++w) out[i * words + w] = curand(&state);
}
"""


def philox_words() -> None:
    """cuRAND's device generator, bit for bit."""
    seed, threads, words = 0x0123456789ABCDEF, 96, 12
    out = cupy.zeros((threads, words), numpy.uint32)
    headers = Path(nvidia.curand.__path__[0], "include")
    draw = cupy.RawKernel(KERNEL, "draw", options=(f"-I{headers}",))
    draw((3,), (32,), (numpy.uint64(seed), out, numpy.int32(words)))
    sequences = numpy.arange(threads, dtype=numpy.uint64)
    wanted = numpy.concatenate([philox(seed, sequences, b) for b in range(words // 4)], axis=1)
    numpy.testing.assert_array_equal(cupy.asnumpy(out), wanted.astype(numpy.uint32))


def moments(found: cupy.ndarray, mean: float, variance: float, what: str) -> None:
    """Within six standard errors of the mean, and a tenth of the variance."""
    a = cupy.asnumpy(found).astype(float)
    error = 6 * (variance / a.size) ** 0.5
    assert abs(a.mean() - mean) < error, f"{what}: mean {a.mean()} is not {mean}"
    assert abs(a.var() / variance - 1) < 0.1, f"{what}: variance {a.var()} is not {variance}"


def generators() -> None:
    for bits in (XORWOW, MRG32k3a, Philox4x3210):
        draws = [cupy.random.Generator(bits(seed)).random(3000) for seed in (5, 5, 6)]
        first, again, other = map(cupy.asnumpy, draws)
        numpy.testing.assert_array_equal(first, again)
        assert (first != other).any()
        assert (first >= 0).all()
        assert (first < 1).all()
        moments(draws[0], 1 / 2, 1 / 12, bits.__name__)
        generator = cupy.random.Generator(bits(11))
        size = 20000
        moments(generator.standard_normal(size, dtype="float32"), 0, 1, "normal")
        moments(generator.exponential(2.0, size), 2, 4, "exponential")
        moments(generator.gamma(3.0, 0.5, size), 1.5, 0.75, "gamma")
        moments(generator.poisson(4.0, size), 4, 4, "poisson")
        moments(generator.binomial(20, 0.3, size), 6, 4.2, "binomial")
        moments(generator.integers(0, 100, size), 49.5, 833.25, "integers")


def legacy() -> None:
    """cupy.random's functions: cuRAND's host library and CuPy's kernels."""
    state = cupy.random.RandomState(123)
    size = 20000
    for dtype in ("float32", "float64"):
        moments(state.random_sample(size, dtype=dtype), 1 / 2, 1 / 12, f"uniform {dtype}")
        moments(state.normal(3.0, 2.0, size, dtype=dtype), 3, 4, f"normal {dtype}")
    moments(state.lognormal(0.0, 0.5, size), 1.1331, 0.36469, "lognormal")
    moments(state.beta(2.0, 3.0, size), 0.4, 0.04, "beta")
    moments(state.chisquare(4.0, size), 4, 8, "chisquare")
    moments(state.laplace(1.0, 2.0, size), 1, 8, "laplace")
    moments(state.randint(0, 10, size), 4.5, 8.25, "randint")
    shuffled = state.permutation(1000)
    numpy.testing.assert_array_equal(cupy.asnumpy(cupy.sort(shuffled)), numpy.arange(1000))
    assert (cupy.asnumpy(shuffled) != numpy.arange(1000)).any()
    chosen = cupy.asnumpy(state.choice(50, 30, replace=False))
    assert len(set(chosen)) == 30
    again = [cupy.asnumpy(cupy.random.RandomState(9).rand(100)) for _ in range(2)]
    numpy.testing.assert_array_equal(*again)


def main() -> None:
    for part in (philox_words, generators, legacy):
        part()
        print(part.__name__, flush=True)
    print("fine")


main()

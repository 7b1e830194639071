"""numba-cuda: shared memory, atomics, warp intrinsics, cooperative groups, device functions."""

import math
import warnings

import cuda.bindings._internal.nvjitlink as nvjitlink
import numpy as np
from numba import config, cuda, float32, vectorize
from numba.core.errors import NumbaPerformanceWarning

warnings.simplefilter("ignore", NumbaPerformanceWarning)
# nvJitLink makes machine code, which the software GPU never executes. Where cuda.core finds none,
# or one without a version, it links PTX through the driver.
nvjitlink._inspect_function_pointer = lambda name: 0
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0

TILE = 16


@cuda.jit(device=True)
def gcd(a, b):
    while b != 0:
        a, b = b, a % b
    return a


@cuda.jit
def elementwise_gcd(a, b, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = gcd(a[i], b[i])


@cuda.jit
def tiled_matmul(a, b, out):
    left = cuda.shared.array((TILE, TILE), float32)
    right = cuda.shared.array((TILE, TILE), float32)
    row, column = cuda.grid(2)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    total = float32(0)
    for step in range((a.shape[1] + TILE - 1) // TILE):
        k = step * TILE
        left[x, y] = a[row, k + y] if row < a.shape[0] and k + y < a.shape[1] else 0
        right[x, y] = b[k + x, column] if k + x < b.shape[0] and column < b.shape[1] else 0
        cuda.syncthreads()
        for i in range(TILE):
            total += left[x, i] * right[i, y]
        cuda.syncthreads()
    if row < out.shape[0] and column < out.shape[1]:
        out[row, column] = total


@cuda.jit
def block_sums(values, out):
    partial = cuda.shared.array(0, float32)  # dynamic
    i, lane = cuda.grid(1), cuda.threadIdx.x
    partial[lane] = values[i] if i < values.size else 0
    cuda.syncthreads()
    half = cuda.blockDim.x // 2
    while half > 0:
        if lane < half:
            partial[lane] += partial[lane + half]
        cuda.syncthreads()
        half //= 2
    if lane == 0:
        cuda.atomic.add(out, 0, partial[0])


@cuda.jit
def histogram(values, bins):
    i = cuda.grid(1)
    if i < values.size:
        cuda.atomic.add(bins, values[i], 1)


@cuda.jit
def atomics(out, values):
    i = cuda.grid(1)
    cuda.atomic.max(out, 0, values[i])
    cuda.atomic.min(out, 1, values[i])
    cuda.atomic.add(out, 2, values[i])
    cuda.atomic.sub(out, 3, values[i])
    cuda.atomic.xor(out, 4, values[i])
    cuda.atomic.exch(out, 5, 7)
    cuda.atomic.cas(out, 6, 0, 9)
    cuda.atomic.inc(out, 7, 40)


@cuda.jit
def warp_tricks(values, sums, votes, matches):
    i = cuda.grid(1)
    value = values[i]
    for offset in (16, 8, 4, 2, 1):
        value += cuda.shfl_down_sync(0xFFFFFFFF, value, offset)
    if cuda.laneid == 0:
        sums[i // 32] = value
    votes[i] = cuda.ballot_sync(0xFFFFFFFF, values[i] % 3 == 0)
    matches[i] = cuda.match_any_sync(0xFFFFFFFF, values[i] % 5)


@cuda.jit
def waves(field):
    """Each row depends on the whole row before it: the grid has to meet after each."""
    grid = cuda.cg.this_grid()
    column = cuda.grid(1)
    for row in range(1, field.shape[0]):
        other = field.shape[1] - column - 1
        field[row, column] = field[row - 1, other] + 1
        grid.sync()


@cuda.jit
def locals_and_math(values, out):
    scratch = cuda.local.array(8, float32)
    i = cuda.grid(1)
    for k in range(8):
        scratch[k] = math.sin(values[i]) * k + math.sqrt(values[i]) + math.exp(-values[i])
    total = float32(0)
    for k in range(8):
        total += scratch[7 - k] * (k + 1)
    out[i] = total


@vectorize(["float64(float64, float64)"], target="cuda")
def hypotenuse(a, b):
    return math.sqrt(a * a + b * b)


@cuda.reduce
def biggest(a, b):
    return a if a > b else b


def main() -> None:
    rng = np.random.default_rng(7)

    a, b = rng.integers(1, 1000, 5000), rng.integers(1, 1000, 5000)
    out = np.zeros_like(a)
    elementwise_gcd[40, 128](a, b, out)
    np.testing.assert_array_equal(out, np.gcd(a, b))

    left, right = rng.random((50, 70), np.float32), rng.random((70, 33), np.float32)
    product = cuda.device_array((50, 33), np.float32)
    tiled_matmul[(4, 3), (TILE, TILE)](left, right, product)
    np.testing.assert_allclose(product.copy_to_host(), left @ right, rtol=1e-5)

    values = rng.random(10_000, np.float32)
    stream = cuda.stream()
    total = cuda.to_device(np.zeros(1, np.float32))
    block_sums[40, 256, stream, 256 * 4](cuda.to_device(values), total)
    stream.synchronize()
    np.testing.assert_allclose(total.copy_to_host()[0], values.sum(), rtol=1e-5)

    samples = rng.integers(0, 16, 20_000)
    bins = np.zeros(16, np.int32)
    histogram[160, 128](samples, bins)
    np.testing.assert_array_equal(bins, np.bincount(samples, minlength=16))

    numbers = rng.integers(1, 1000, 512).astype(np.int32)
    results = np.zeros(8, np.uint32)
    results[1] = 5000
    atomics[4, 128](results, numbers.astype(np.uint32))
    ordered = np.zeros(8, np.uint32)
    ordered[:4] = numbers.max(), numbers.min(), numbers.sum(), -int(numbers.sum()) % 2**32
    ordered[4:] = np.bitwise_xor.reduce(numbers), 7, 9, 512 % 41
    np.testing.assert_array_equal(results, ordered)

    sums = np.zeros(16, np.int32)
    votes, matches = np.zeros(512, np.uint32), np.zeros(512, np.uint32)
    warp_tricks[4, 128](numbers, sums, votes, matches)
    rows = numbers.reshape(16, 32)
    np.testing.assert_array_equal(sums, rows.sum(1))
    weight = np.uint64(1) << np.arange(32, dtype=np.uint64)
    np.testing.assert_array_equal(
        votes.reshape(16, 32), np.repeat(((rows % 3 == 0) * weight).sum(1)[:, None], 32, 1)
    )
    same = rows[:, :, None] % 5 == rows[:, None, :] % 5
    np.testing.assert_array_equal(matches.reshape(16, 32), (same * weight).sum(2))

    field = np.zeros((30, 64), np.int32)
    waves[2, 32](field)
    np.testing.assert_array_equal(field, np.repeat(np.arange(30)[:, None], 64, 1))

    points = rng.random(256, np.float32) + np.float32(0.5)
    out = np.zeros_like(points)
    locals_and_math[2, 128](points, out)
    base, growth = np.sqrt(points) + np.exp(-points), np.sin(points)
    expected = sum((growth * (7 - k) + base) * (k + 1) for k in range(8))
    np.testing.assert_allclose(out, expected, rtol=1e-5)

    rising, falling = np.arange(100.0), np.arange(100.0, 0, -1)
    np.testing.assert_allclose(hypotenuse(rising, falling), np.hypot(rising, falling))
    assert biggest(numbers) == numbers.max()
    print("fine")


if __name__ == "__main__":
    main()

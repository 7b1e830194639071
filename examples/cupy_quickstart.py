"""CuPy on whatever GPU the driver shows, every result checked against NumPy.

Expect one line per check, each ending in "ok", and "all checks passed" at the end.

    vgpu run -- python examples/cupy_quickstart.py
"""

import cupy as cp
import numpy as np

SCALE_ADD = r"""
extern "C" __global__ void scale_add(const float* x, const float* y, float a, float* out, int n) {
  int i = blockDim.x * blockIdx.x + threadIdx.x;
  if (i < n) out[i] = a * x[i] + y[i];
}
"""


def check(name: str, actual: object, expected: object, rtol: float = 1e-5) -> None:
    np.testing.assert_allclose(cp.asnumpy(actual), expected, rtol=rtol, atol=1e-6, err_msg=name)
    print(f"{name:<28} ok")


def main() -> None:
    properties = cp.cuda.runtime.getDeviceProperties(0)
    print(f"device: {properties['name'].decode()}, {properties['totalGlobalMem'] >> 20} MiB")
    rng = np.random.default_rng(7)
    x = rng.random(10_000, dtype=np.float32)
    y = rng.random(10_000, dtype=np.float32)
    gx, gy = cp.asarray(x), cp.asarray(y)

    check("copy there and back", gx, x)
    check("elementwise", cp.sqrt(gx) * 2 + gy**2, np.sqrt(x) * 2 + y**2)
    check("sum", gx.sum(dtype=cp.float64), x.sum(dtype=np.float64))
    check("mean over an axis", gx.reshape(100, 100).mean(axis=0), x.reshape(100, 100).mean(axis=0))
    check("argmax", cp.argmax(gx), np.argmax(x))

    a, b = x[:4096].reshape(64, 64), y[:4096].reshape(64, 64)
    check("matmul float32", cp.asarray(a) @ cp.asarray(b), a @ b, rtol=1e-4)
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    check("matmul float64", cp.asarray(a64) @ cp.asarray(b64), a64 @ b64)

    check("sort", cp.sort(gx), np.sort(x))
    check("cumulative sum", cp.cumsum(gx[:1000]), np.cumsum(x[:1000]), rtol=1e-4)

    sample = cp.random.default_rng(1).random(20_000, dtype=cp.float32)
    mean, low, high = float(sample.mean()), float(sample.min()), float(sample.max())
    assert 0.0 <= low < 0.01 < 0.99 < high <= 1.0, (low, high)
    assert abs(mean - 0.5) < 0.02, mean
    print(f"{'random (mean of uniform)':<28} ok")

    out = cp.empty_like(gx)
    kernel = cp.RawKernel(SCALE_ADD, "scale_add")
    kernel((40,), (256,), (gx, gy, np.float32(3), out, np.int32(out.size)))
    check("RawKernel", out, 3 * x + y)

    with cp.cuda.Stream(non_blocking=True) as stream:
        doubled = gx * 2
    stream.synchronize()
    check("stream", doubled, x * 2)
    print("all checks passed")


if __name__ == "__main__":
    main()

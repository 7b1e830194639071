"""The benchmark's workloads: run on CuPy or NumPy in a process of its own, figures as JSON.

Usage: python bench/softgpu/workloads.py {cupy,numpy} [--repeats N] [--only NAME]...
"""

import argparse
import ctypes
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

KERNELS = Path(__file__).with_name("kernels.cu")
ELEMENTS = 1 << 24
SORTED = 4 << 20
CHAINS = 1 << 14  # threads of the arithmetic chains
LAUNCHES = 2000
SIDE = 512

Body = Callable[[], Any]


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        "a": rng.random(ELEMENTS, dtype=np.float32),
        "b": rng.random(ELEMENTS, dtype=np.float32),
        "unsorted": rng.random(SORTED, dtype=np.float32),
        "left": rng.random((SIDE, SIDE), dtype=np.float32),
        "right": rng.random((SIDE, SIDE), dtype=np.float32),
        "bytes": rng.integers(0, 256, SORTED, dtype=np.uint8),
        "floats": rng.random(CHAINS, dtype=np.float32),
        "words": rng.integers(0, 1 << 32, CHAINS, dtype=np.uint32),
    }


def on_numpy(data: dict[str, np.ndarray]) -> dict[str, Body]:
    """The same work by NumPy; the chains in place, on arrays that fit a core's cache."""
    out, product = np.empty_like(data["a"]), np.empty_like(data["left"])
    x, u = data["floats"].copy(), data["words"].copy()

    def fma_chain() -> None:
        for _ in range(4096):
            np.multiply(x, np.float32(0.5), out=x)
            np.add(x, np.float32(1), out=x)

    def integer_chain() -> None:
        a, b = np.uint32(1664525), np.uint32(1013904223)
        for _ in range(512):
            np.multiply(u, a, out=u)
            np.add(u, b, out=u)
            np.bitwise_xor(u, u >> np.uint32(7), out=u)
            np.minimum(u, ~b, out=u)
            np.subtract(u, a, out=u)
            np.left_shift(u, np.uint32(3), out=u)
            np.bitwise_or(u, b, out=u)

    return {
        "add": lambda: np.add(data["a"], data["b"], out=out),
        "sgemm": lambda: np.matmul(data["left"], data["right"], out=product),
        "tiled_matmul": lambda: np.matmul(data["left"], data["right"], out=product),
        "reduce": lambda: np.sum(data["unsorted"]),
        "sort": lambda: np.sort(data["unsorted"]),
        "histogram": lambda: np.bincount(data["bytes"], minlength=256),
        "fma_chain": fma_chain,
        "integer_chain": integer_chain,
    }


def on_cupy(data: dict[str, np.ndarray]) -> dict[str, Body]:
    import cupy as cp

    d = {name: cp.asarray(value) for name, value in data.items()}
    kernels = cp.RawModule(code=KERNELS.read_text())
    out, product = cp.empty_like(d["a"]), cp.empty_like(d["left"])
    empty, fma, integer, tiled, histogram = (
        kernels.get_function(name)
        for name in ("empty", "fma_chain", "integer_chain", "tiled_matmul", "histogram")
    )
    bins = cp.zeros(256, np.uint32)

    def launches() -> None:
        for _ in range(LAUNCHES):
            empty((1,), (32,), ())

    def count() -> cp.ndarray:
        bins.fill(0)
        histogram((64,), (256,), (d["bytes"], np.int32(SORTED), bins))
        return bins

    def multiply() -> cp.ndarray:
        arguments = (d["left"], d["right"], product, np.int32(SIDE))
        tiled((SIDE // 16, SIDE // 16), (16, 16), arguments)
        return product

    chain = (CHAINS // 256,), (256,)
    constants = np.uint32(1664525), np.uint32(1013904223)
    return {
        "add": lambda: cp.add(d["a"], d["b"], out=out),
        "sgemm": lambda: cp.matmul(d["left"], d["right"], out=product),
        "tiled_matmul": multiply,
        "reduce": lambda: d["unsorted"].sum(),
        "sort": lambda: cp.sort(d["unsorted"]),
        "histogram": count,
        "fma_chain": lambda: fma(*chain, (d["floats"], np.float32(0.5), np.float32(1))),
        "integer_chain": lambda: integer(*chain, (d["words"], *constants)),
        "launches": launches,
    }


def check(body: Body, expected: Body) -> None:
    """The device's result is the host's; workloads that change their input return nothing."""
    result, host = body(), expected()
    if result is not None and host is not None:
        np.testing.assert_allclose(result.get(), host, rtol=1e-3)


def counters() -> Callable[[], tuple[int, ...]]:
    """Launches, warp instructions, lane operations so far; zeros when the driver does not tell."""
    driver = ctypes.CDLL("libcuda.so.1")
    counts = (ctypes.c_uint64 * 3)()

    def read() -> tuple[int, ...]:
        if hasattr(driver, "vgpu_softgpu_statistics"):
            driver.vgpu_softgpu_statistics(counts)
        return tuple(counts)

    return read


def measure(body: Body, finish: Body, read: Callable[[], tuple[int, ...]], repeats: int) -> dict:
    wall, cpu = [], []
    before = read()
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        body()
        finish()
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    counts = [(now - then) // repeats for now, then in zip(read(), before, strict=True)]
    return {"wall": wall, "cpu": cpu, "counts": counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", choices=("cupy", "numpy"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", action="append", help="a workload's name; all without it")
    chosen = parser.parse_args()
    data = inputs()
    host = on_numpy(data)
    figures = {}
    if chosen.library == "numpy":
        for name in chosen.only or host:
            if body := host.get(name):
                body()
                figures[name] = measure(body, lambda: None, lambda: (0, 0, 0), chosen.repeats)
    else:
        import cupy as cp

        device, read = on_cupy(data), counters()
        for name in chosen.only or device:
            check(device[name], host.get(name, lambda: None))
            finish = cp.cuda.get_current_stream().synchronize
            finish()
            figures[name] = measure(device[name], finish, read, chosen.repeats)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

"""Measures one route to a driver, in a process of its own; prints one JSON object.

Usage: calls.py LIBCUDA. Figures: nanoseconds per call (median of rounds) and bytes per second.
"""

import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable

PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry nothing() { ret; }
\0"""
ROUNDS = 7
COPY_BYTES = 64 << 20


def checked(library: ctypes.CDLL, name: str, *arguments: object) -> None:
    if code := getattr(library, name)(*arguments):
        raise SystemExit(f"{name} returned {code}")


def per_call(body: Callable[[], None], calls: int, after: Callable[[], None]) -> float:
    """Nanoseconds of one call of ``body``; ``after`` empties the queue, unmeasured."""
    samples = []
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        for _ in range(calls):
            body()
        samples.append((time.perf_counter_ns() - begin) / calls)
        after()
    return statistics.median(samples)


def main() -> None:
    cuda = ctypes.CDLL(sys.argv[1])
    checked(cuda, "cuInit", 0)
    context, module, kernel = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    checked(cuda, "cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
    checked(cuda, "cuCtxSetCurrent", context)
    checked(cuda, "cuModuleLoadData", ctypes.byref(module), PTX)
    checked(cuda, "cuModuleGetFunction", ctypes.byref(kernel), module, b"nothing")
    address = ctypes.c_uint64()
    checked(cuda, "cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(COPY_BYTES))
    host = ctypes.create_string_buffer(COPY_BYTES)
    size = ctypes.c_size_t(COPY_BYTES)
    free, total = ctypes.c_size_t(), ctypes.c_size_t()

    def launch() -> None:
        cuda.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None)

    def synchronize() -> None:
        checked(cuda, "cuCtxSynchronize")

    def blocking() -> None:
        cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))

    def local() -> None:
        cuda.cuCtxGetCurrent(ctypes.byref(context))

    def up() -> None:
        checked(cuda, "cuMemcpyHtoD_v2", address, host, size)
        synchronize()

    def down() -> None:
        checked(cuda, "cuMemcpyDtoH_v2", host, address, size)

    up()
    figures = {
        "launch_ns": per_call(launch, 500, synchronize),
        "blocking_ns": per_call(blocking, 200, synchronize),
        "local_ns": per_call(local, 2000, synchronize),
        "upload_bytes_per_s": COPY_BYTES / per_call(up, 1, synchronize) * 1e9,
        "download_bytes_per_s": COPY_BYTES / per_call(down, 1, synchronize) * 1e9,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

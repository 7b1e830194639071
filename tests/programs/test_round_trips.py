"""Counts, not times: how often a warm program waits for the worker."""

import subprocess
import sys

import pytest

from harness import native, workers

PROGRAM = """
import ctypes
import cupy as cp
import numpy as np

stub = ctypes.CDLL("libcuda.so.1")
def round_trips():
    values = (ctypes.c_uint64 * 16)()
    assert stub.vgpu_client_statistics(values, 16) > 0
    return values[0]

x, y = cp.arange(1000, dtype=cp.float32), cp.ones(1000, dtype=cp.float32)
out = cp.empty_like(x)
cp.add(x, y, out=out)           # compiles and loads
cp.cuda.Device().synchronize()
before = round_trips()
for _ in range(100):
    cp.add(x, y, out=out)
after = round_trips()
z = x * y                       # from CuPy's pool: no driver allocation either
z = x * y
warm = round_trips()
z = x * y
print(after - before, round_trips() - warm)
np.testing.assert_array_equal(cp.asnumpy(out), np.arange(1000) + 1)
"""


def test_a_warm_elementwise_operation_waits_for_nobody():
    pytest.importorskip("cupy", reason="needs cupy-cuda12x: make test installs it")
    with workers.worker() as running:
        environment = {
            "VGPU_WORKER": running.address,
            "LD_LIBRARY_PATH": str(native.stub().parent),
            "CUPY_COMPILE_WITH_PTX": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=workers.python_environment(environment),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 0\n"

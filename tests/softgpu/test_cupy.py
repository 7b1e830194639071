"""CuPy, unmodified, on the software GPU without remoting."""

import importlib.util
import os
import subprocess
import sys

import pytest

from harness import native

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None,
    reason="needs CuPy: pip install 'cupy-cuda12x[ctk]'",
)

PROGRAM = """
import cupy as cp, numpy as np
rng = np.random.default_rng(1)
x = rng.random(5000, dtype=np.float32)
d = cp.asarray(x)
np.testing.assert_allclose(cp.asnumpy(d ** 2 + 1), x ** 2 + 1, rtol=1e-6)
np.testing.assert_allclose(float(d.sum()), x.sum(), rtol=1e-5)
np.testing.assert_allclose(
    cp.asnumpy(d.reshape(50, 100).mean(axis=0)), x.reshape(50, 100).mean(axis=0), rtol=1e-5)
np.testing.assert_array_equal(cp.asnumpy(cp.sort(d)), np.sort(x))
np.testing.assert_array_equal(x[cp.asnumpy(cp.argsort(d))], np.sort(x))
np.testing.assert_allclose(cp.asnumpy(cp.cumsum(d)), np.cumsum(x), rtol=1e-4)
assert abs(float(cp.random.rand(20000).mean()) - 0.5) < 0.02
for dtype, tolerance in (("float32", 1e-4), ("float64", 1e-10), ("complex64", 1e-4)):
    a, b = rng.random((40, 30)).astype(dtype), rng.random((30, 20)).astype(dtype)
    np.testing.assert_allclose(cp.asnumpy(cp.asarray(a) @ cp.asarray(b)), a @ b, rtol=tolerance)
with cp.cuda.Stream(non_blocking=True) as stream:
    stream.begin_capture()
    y = d * 2
    graph = stream.end_capture()
    d += 1
    graph.launch(stream)
    stream.synchronize()
np.testing.assert_allclose(cp.asnumpy(y), (x + 1) * 2, rtol=1e-6)
print("fine")
"""


def test_cupy(tmp_path):
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(native.softgpu().parent),
        "CUPY_COMPILE_WITH_PTX": "1",
        "CUPY_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "fine"

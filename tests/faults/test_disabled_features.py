"""Switches that turn features off, seen from a program and counted by the client."""

import pytest

from harness import kernels, workers
from harness.clients import run

WARM_LAUNCHES = f"""
stub = cuda.library
def round_trips():
    values = (ctypes.c_uint64 * 16)()
    assert stub.vgpu_client_statistics(values, 16) > 0
    return values[0]

cuda.start()
increment = cuda.function(cuda.module({kernels.ALL!r}), "increment")
counter = ctypes.c_uint64(cuda.upload(bytes(4)))
cuda.cuCtxSynchronize()
before = round_trips()
for _ in range(10):
    assert cuda.launch(increment, (1, 1, 1), (32, 1, 1), counter) == 0
waited = round_trips() - before
assert int.from_bytes(cuda.download(counter.value, 4), "little") == 320
print(waited)
"""


def test_launches_wait_for_nobody():
    with workers.worker() as running:
        assert run(running.address, WARM_LAUNCHES) == "0"


def test_without_optimisation_every_call_waits():
    with workers.worker("--disable-features", "gpu-opt") as running:
        assert int(run(running.address, WARM_LAUNCHES)) >= 10


def test_launch_blocking_makes_every_call_wait():
    with workers.worker() as running:
        assert int(run(running.address, WARM_LAUNCHES, CUDA_LAUNCH_BLOCKING="1")) >= 10


@pytest.mark.parametrize("feature", ["mem-manager", "gpu-limiter", "gpu-opt, mem-manager"])
def test_other_switches_leave_results_right(feature):
    with workers.worker("--disable-features", feature) as running:
        assert run(running.address, WARM_LAUNCHES).isdigit()

"""Programs of CuPy users, on the software GPU alone and through the stub.

Each compares its results with NumPy's, or with a model of its own, and prints "fine" last.
"""

import importlib.util

import pytest

from harness.programs import ROUTES, run_cupy

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None, reason="needs CuPy: make test installs it"
)

DEADLINE = 560  # seconds


@pytest.mark.programs
@pytest.mark.timeout(600)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("sample", ["elementwise", "algorithms", "random"])
def test_program(sample: str, route: str) -> None:
    if sample == "elementwise":
        pytest.importorskip("ml_dtypes", reason="needs the cupy-suite extra: make test-programs")
    assert run_cupy(route, f"cupy_{sample}.py", timeout=DEADLINE).endswith("fine\n")


def test_kernels_through_the_stub() -> None:
    assert run_cupy("tcp", "cupy_kernels.py", timeout=DEADLINE).endswith("fine\n")


@pytest.mark.programs
@pytest.mark.parametrize("route", ROUTES)
def test_graphs(route: str) -> None:
    assert run_cupy(route, "cupy_graphs.py", timeout=DEADLINE).endswith("fine\n")


@pytest.mark.programs
def test_kernels_directly() -> None:
    assert run_cupy("direct", "cupy_kernels.py", timeout=DEADLINE).endswith("fine\n")

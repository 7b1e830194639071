"""Programs of numba, Triton and cuda-python users, on the software GPU alone and through the stub.

Each compares its results with the CPU's and prints "fine" last.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import programs

pytestmark = pytest.mark.programs

TORCH_PYTHON = os.environ.get("VGPU_TORCH_PYTHON", sys.executable)
DEADLINE = 280  # seconds


def run(route: str, python: str, sample: str, capability: str, cache: Path) -> str:
    environment = {"TRITON_CACHE_DIR": str(cache), "NUMBA_CACHE_DIR": str(cache)}
    command = [python, str(programs.SAMPLES / sample)]
    return programs.run(route, command, environment, timeout=DEADLINE, capability=capability)


@pytest.mark.parametrize("route", programs.ROUTES)
@pytest.mark.parametrize(
    ("sample", "package", "capability"),
    [
        # numba-cuda names the capability to NVRTC and libNVVM, which must know it.
        ("numba_kernels.py", "numba_cuda", "9.0"),
        ("cuda_bindings_driver.py", "cuda.bindings", "13.0"),
        ("cuda_core.py", "cuda.core", "13.0"),
    ],
)
def test_sample(route: str, sample: str, package: str, capability: str, tmp_path: Path) -> None:
    pytest.importorskip(package, reason="needs the programs extra: make test-programs")
    assert run(route, sys.executable, sample, capability, tmp_path).endswith("fine\n")


@pytest.mark.parametrize("route", programs.ROUTES)
def test_triton(route: str, tmp_path: Path) -> None:
    found = subprocess.run([TORCH_PYTHON, "-c", "import triton"], capture_output=True)
    if found.returncode != 0:
        pytest.skip(f"no Triton for {TORCH_PYTHON}: make test-programs installs torch")
    assert run(route, TORCH_PYTHON, "triton_tutorials.py", "11.0", tmp_path).endswith("fine\n")

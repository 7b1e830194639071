"""Programs of CuPy users, on the software GPU alone and through the stub.

Each compares its results with NumPy's, or with a model of its own, and prints "fine" last.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from harness import native, workers

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None, reason="needs CuPy: make test installs it"
)

SAMPLES = Path(__file__).parent / "samples"
# Compiled once for both routes and later runs: the compiler takes most of a first run.
KERNELS = native.REPOSITORY / ".cache" / "cupy-programs"
DEADLINE = 560  # seconds


def run(sample: str, route: str) -> str:
    command = [sys.executable, "-W", "ignore", str(SAMPLES / sample)]
    environment = {"CUPY_CACHE_DIR": str(KERNELS)}
    if route == "direct":
        environment |= {
            "LD_LIBRARY_PATH": str(native.softgpu().parent),
            "CUPY_COMPILE_WITH_PTX": "1",
        }
    else:
        flags = ["--driver", "soft", "--transport", route]
        command = [sys.executable, "-m", "vgpu.client", "run", *flags, "--", *command]
    done = subprocess.run(
        command,
        env=workers.python_environment(environment),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.programs
@pytest.mark.timeout(600)
@pytest.mark.parametrize("route", ["direct", "tcp"])
@pytest.mark.parametrize("sample", ["elementwise", "algorithms", "random"])
def test_program(sample: str, route: str) -> None:
    if sample == "elementwise":
        pytest.importorskip("ml_dtypes", reason="needs the cupy-suite extra: make test-programs")
    assert run(f"cupy_{sample}.py", route).endswith("fine\n")


def test_kernels_through_the_stub() -> None:
    assert run("cupy_kernels.py", "tcp").endswith("fine\n")


@pytest.mark.programs
def test_kernels_directly() -> None:
    assert run("cupy_kernels.py", "direct").endswith("fine\n")

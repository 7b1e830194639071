"""Runs whole programs on the software GPU: alone, or as clients of a worker."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import native, workers

#: Without remoting, and through the stub.
ROUTES = ("direct", "tcp")
SAMPLES = native.REPOSITORY / "tests" / "programs" / "samples"
#: Compiled once for both routes and later runs: the compiler takes most of a first run.
KERNELS = native.REPOSITORY / ".cache" / "cupy-programs"


def run_cupy(route: str, sample: str, arguments: Sequence[str] = (), *, timeout: float) -> str:
    """What a sample that uses CuPy prints; it must end with success."""
    return run(route, SAMPLES / sample, arguments, timeout, {"CUPY_CACHE_DIR": str(KERNELS)})


def run(
    route: str, program: Path, arguments: Sequence[str], timeout: float, environment: dict[str, str]
) -> str:
    command = [sys.executable, "-W", "ignore", str(program), *arguments]
    if route == "direct":
        environment = environment | {
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
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout

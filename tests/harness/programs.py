"""Runs whole programs on the software GPU: alone, or as clients of a worker."""

import subprocess
import sys
from collections.abc import Sequence

from harness import native, workers

#: Without remoting, and through the stub.
ROUTES = ("direct", "tcp")
SAMPLES = native.REPOSITORY / "tests" / "programs" / "samples"
#: Compiled once for both routes and later runs: the compiler takes most of a first run.
KERNELS = native.REPOSITORY / ".cache" / "cupy-programs"
#: What `vgpu run` sets, so that compilers hand over PTX.
ASSEMBLER = str(native.REPOSITORY / "client" / "vgpu" / "client" / "ptx-passthrough")
DIRECT = {
    "CUPY_COMPILE_WITH_PTX": "1",
    "TRITON_PTXAS_PATH": ASSEMBLER,
    "TRITON_PTXAS_BLACKWELL_PATH": ASSEMBLER,
}


def run_cupy(route: str, sample: str, arguments: Sequence[str] = (), *, timeout: float) -> str:
    """What a sample that uses CuPy prints; it must end with success."""
    command = [sys.executable, "-W", "ignore", str(SAMPLES / sample), *arguments]
    return run(route, command, {"CUPY_CACHE_DIR": str(KERNELS)}, timeout=timeout)


def run(
    route: str,
    command: Sequence[str],
    environment: dict[str, str],
    *,
    timeout: float,
    capability: str = "13.0",
) -> str:
    """What a command prints; it must end with success within ``timeout`` seconds."""
    if route == "direct":
        environment = environment | DIRECT | {"VGPU_SOFT_CC": capability}
        environment["LD_LIBRARY_PATH"] = str(native.softgpu().parent)
    else:
        flags = ["--driver", "soft", "--soft-cc", capability, "--transport", route]
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

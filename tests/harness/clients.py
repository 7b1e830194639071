"""Client programs of a worker: Python with the driver API through the stub."""

import subprocess
import sys

from harness import native, workers

PRELUDE = """
import ctypes, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from harness.driver import *
cuda = Driver(Path({stub!r}))
"""


def client(address: str, body: str, **environment: str) -> subprocess.Popen[str]:
    """Starts a program that talks to the worker through the stub."""
    prelude = PRELUDE.format(tests=str(native.REPOSITORY / "tests"), stub=str(native.stub()))
    return subprocess.Popen(
        [sys.executable, "-c", prelude + body],
        env=workers.python_environment({"VGPU_WORKER": address, **environment}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(address: str, body: str, **environment: str) -> str:
    process = client(address, body, **environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()

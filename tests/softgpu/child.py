"""Runs a test's body in a forked child that opens the software GPU with a given environment."""

import ctypes
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import native
from harness.driver import Driver

DEADLINE = 60.0  # seconds


class Outcome:
    """How a child ended: ``status`` as os.waitpid gives it, and what it wrote to stderr."""

    def __init__(self, status: int, errors: str) -> None:
        self.code = os.waitstatus_to_exitcode(status)
        self.errors = errors


def run(body: Callable[[Driver], Any], *, end: str = "exit", **environment: str) -> Outcome:
    """Calls ``body(driver)`` in a child and demands that it succeeds.

    ``end`` is "exit" (C's exit(), which runs the library's exit handlers) or "return" for a body
    that ends the process itself.
    """
    outcome = attempt(body, end=end, **environment)
    assert outcome.code == 0, f"the child ended with {outcome.code}\n{outcome.errors}"
    return outcome


def attempt(body: Callable[[Driver], Any], *, end: str = "exit", **environment: str) -> Outcome:
    """As run(), but any end will do."""
    library = native.softgpu()
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.dup2(writer, 2)
        _child(library, body, end, environment)
    os.close(writer)
    return _collect(child, reader)


def _child(
    library: Path, body: Callable[[Driver], Any], end: str, environment: dict[str, str]
) -> None:
    code = 0
    try:
        for name in [n for n in os.environ if n.startswith(("VGPU_", "CUDA_"))]:
            del os.environ[name]
        os.environ.update(environment)
        body(Driver(library))
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        code = 1
    sys.stdout.flush()
    if code or end != "exit":
        os._exit(code)
    ctypes.CDLL(None).exit(code)


def _collect(child: int, reader: int) -> Outcome:
    deadline = time.monotonic() + DEADLINE
    chunks = []
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            chunk = pipe.read(65536)
            if not chunk:
                break
            chunks.append(chunk)
    errors = b"".join(chunks).decode(errors="replace")
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return Outcome(status, errors)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"no end within {DEADLINE} s\n{errors}")
        time.sleep(0.002)

"""The private worker of `vgpu run`: started for one program, reachable by this user only."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vgpu.client.errors import PrivateWorkerError

# A real driver without persistence mode needs seconds to initialise.
START_SECONDS = 90.0
STOP_SECONDS = 10.0


def worker_command(bind: str, driver: str, ready: int, flags: Sequence[str]) -> list[str]:
    """The command line: `-P` keeps the program's directory from shadowing our modules."""
    return [
        sys.executable,
        "-P",
        "-m",
        "vgpu.worker",
        f"--bind={bind}",
        f"--driver={driver}",
        f"--ready-fd={ready}",
        "--die-with-parent",
        *flags,
    ]


@contextlib.contextmanager
def private_worker(
    driver: str, transport: str, flags: Sequence[str], environment: Mapping[str, str]
) -> Iterator[str]:
    """Runs a worker for the length of the block; yields its address.

    Raises PrivateWorkerError when it does not come up; its own messages are on standard error.
    """
    directory = Path(tempfile.mkdtemp(prefix="vgpu-"))  # mode 0700
    bind = f"ipc://{directory}/worker" if transport == "ipc" else "tcp://127.0.0.1:0"
    reader, writer = os.pipe()
    process: subprocess.Popen[bytes] | None = None
    try:
        process = subprocess.Popen(
            worker_command(bind, driver, writer, flags),
            env=_worker_environment(environment),
            stdin=subprocess.DEVNULL,
            pass_fds=(writer,),
            # A Ctrl-C on the terminal is for the program: the worker must outlive it.
            start_new_session=True,
        )
        os.close(writer)
        writer = -1
        yield _wait_until_ready(reader, process)
    finally:
        if process is not None:
            _stop(process)
        for descriptor in (reader, writer):
            if descriptor >= 0:
                os.close(descriptor)
        shutil.rmtree(directory, ignore_errors=True)


def _worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what configures a worker of its own or makes it a client."""
    dropped = ("VGPU_BIND", "VGPU_SESSION_PORTS", "VGPU_WORKER_KEYS", "VGPU_DRIVER", "VGPU_WORKER")
    result = {name: value for name, value in environment.items() if name not in dropped}
    result.setdefault("VGPU_LOG", "warning")
    return result


def _wait_until_ready(reader: int, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_SECONDS
    text = b""
    while not text.endswith(b"\n"):
        left = deadline - time.monotonic()
        readable, _, _ = select.select([reader], [], [], max(left, 0))
        if not readable:
            raise PrivateWorkerError(f"the private worker did not start in {START_SECONDS:.0f} s")
        part = os.read(reader, 4096)
        if not part:
            status = process.wait()
            raise PrivateWorkerError(
                f"the private worker did not start (status {status}); its error is above. "
                "`vgpu doctor` says what is missing"
            )
        text += part
    return text.decode().strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

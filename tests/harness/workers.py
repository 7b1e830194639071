"""Starts real workers for tests and makes sure that nothing of them is left behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import native

START_DEADLINE = 30.0  # seconds


@dataclass
class RunningWorker:
    """A worker process and the address that clients use."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, deadline: float = 10.0) -> int:
        """Sends SIGTERM and returns the exit status; kills after the deadline and fails."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"worker ignored SIGTERM for {deadline} s:\n{self.log_text()}"
            ) from None


def python_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: this one without CUDA and vgpu settings, plus ``extra``."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("VGPU_", "CUDA_")) and k not in ("LD_PRELOAD", "LD_LIBRARY_PATH")
    }
    kept["VGPU_NATIVE_DIR"] = str(native.native_dir())
    return kept | dict(extra or {})


@contextlib.contextmanager
def worker(
    *flags: str,
    driver: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    bind: str = "tcp://127.0.0.1:0",
    session_ports: Sequence[str] = ("--session-ports", "0"),
) -> Iterator[RunningWorker]:
    """Runs ``vgpu worker`` for the length of the block, on free ports."""
    with tempfile.TemporaryDirectory(prefix="vgpu-worker-") as directory:
        ready, log = Path(directory, "ready"), Path(directory, "log")
        command = [sys.executable, "-m", "vgpu.worker", "--bind", bind, *session_ports]
        command += ["--driver", str(driver or native.softgpu()), "--ready-file", str(ready), *flags]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=python_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        running = RunningWorker(process, "", log)
        try:
            deadline = time.monotonic() + START_DEADLINE
            while not ready.exists() or not ready.read_text().endswith("\n"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"worker did not start:\n{running.log_text()}")
                time.sleep(0.02)
            text = ready.read_text().strip()
            running.address = json.loads(text)["address"] if text.startswith("{") else text
            yield running
        finally:
            running.stop()

"""Runs tests in processes of their own, a chunk each; what kills a process costs one test."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cupy_suite import plugin
from cupy_suite.sample import pytest_command, pytest_environment

# Of pytest: passed, failed, stopped by the plugin, and nothing to run.
HARMLESS = (0, 1, 2, 5)
TAIL = 3000  # characters of a dead process's output that are kept


@dataclass(frozen=True)
class Result:
    """How one test went; `outcome` is pytest's, or `crashed` or `timeout`."""

    test: str
    outcome: str
    seconds: float = 0.0
    reason: str = ""
    text: str = ""

    @property
    def good(self) -> bool:
        return self.outcome in ("passed", "xfailed", "skipped")


@dataclass(frozen=True)
class Runner:
    """Where the suite lies, how its processes start, and how long a test may take."""

    suite: Path
    launcher: Sequence[str] = ()
    python: str = sys.executable
    timeout: float = 300.0
    start_timeout: float = 600.0  # outside tests: imports, collection, the end

    def run(self, tests: Sequence[str], report: Callable[[Result], None]) -> None:
        """Reports every test once, in as many processes as it takes."""
        missing = list(tests)
        while missing:
            done: set[str] = set()
            for result in self._process(missing):
                done.add(result.test)
                report(result)
            missing = [test for test in missing if test not in done]

    def _process(self, tests: Sequence[str]) -> Iterator[Result]:
        """One pytest; yields what it finished, and the test that it died in."""
        with tempfile.TemporaryDirectory(prefix="cupy-suite-") as scratch:
            wanted, output = Path(scratch, "wanted"), Path(scratch, "output")
            wanted.write_text(json.dumps(tests))
            with self._started(tests, wanted, output) as (process, descriptor):
                events = Events(descriptor, self.timeout, self.start_timeout)
                finished = 0
                for result in events:
                    finished += 1
                    yield result
                if events.expired:
                    _kill(process)
                status = process.wait(60)
            tail = output.read_text(errors="replace")[-TAIL:]
            if events.running:
                yield _death(events, status, tail)
            elif status not in HARMLESS or finished == 0:
                raise SystemExit(
                    f"pytest ended with status {status} after {finished} tests:\n{tail}"
                )

    @contextlib.contextmanager
    def _started(
        self, tests: Sequence[str], wanted: Path, output: Path
    ) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        reading, writing = os.pipe()
        environment = {
            **pytest_environment(),
            plugin.WANTED: str(wanted),
            plugin.EVENTS: str(writing),
        }
        files = sorted({test.split("::")[0] for test in tests})
        command = [*self.launcher, *pytest_command(self.suite, self.python)]
        command += files
        with output.open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.suite, env=environment, pass_fds=(writing,),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        os.close(writing)
        try:
            yield process, reading
        finally:
            os.close(reading)
            _kill(process)


class Events:
    """What the plugin tells: iterates over results until the process closes its end or is late."""

    def __init__(self, descriptor: int, timeout: float, start_timeout: float) -> None:
        self.descriptor = descriptor
        self.timeout = timeout
        self.start_timeout = start_timeout
        self.running = ""  # the test that has started and not ended
        self.expired = False

    def __iter__(self) -> Iterator[Result]:
        buffered = b""
        while received := self._received():
            *lines, buffered = (buffered + received).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event.pop("event") == "start":
                    self.running = event["test"]
                else:
                    self.running = ""
                    yield Result(**event)

    def _received(self) -> bytes:
        limit = self.timeout if self.running else self.start_timeout
        if not select.select([self.descriptor], [], [], limit)[0]:
            self.expired = True
            return b""
        return os.read(self.descriptor, 1 << 16)


def _death(events: Events, status: int, output: str) -> Result:
    if events.expired:
        reason = f"took more than {events.timeout:g} s"
        return Result(events.running, "timeout", events.timeout, reason, output)
    reason = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return Result(events.running, "crashed", reason=reason, text=output)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Journal:
    """The results so far, a line of JSON each; the last line of a test counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: dict[str, Result] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                result = Result(**json.loads(line))
                self.results[result.test] = result

    def clear(self) -> None:
        self.results.clear()
        self.path.unlink(missing_ok=True)

    def add(self, result: Result) -> None:
        self.results[result.test] = result
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")

"""Routes, and the child process in which each conformance test runs.

A driver library cannot be unloaded, and a test may leave its context broken: so the body of a test
runs in a forked child that opens the library of its route by absolute path, and ends through C's
exit() so that the library's own exit handlers are tested too.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import native, workers
from harness.driver import Driver

ROUTES = ("direct", "inproc", "tcp")
CHILD_DEADLINE = 60.0  # seconds
DEVICES = 2


class Route:
    """How a test reaches the driver; ``prepare`` acts in the child, before the library opens."""

    def __init__(self, name: str, driver: Path, address: str = "") -> None:
        self.name = name
        self.driver = driver
        self.address = address

    def prepare(self) -> Path:
        for name in [n for n in os.environ if n.startswith(("VGPU_SOFT_", "CUDA_"))]:
            del os.environ[name]
        os.environ["VGPU_SOFT_DEVICES"] = str(DEVICES)
        os.environ["VGPU_SOFT_MEMORY"] = "1Gi"
        if self.name == "direct":
            return self.driver
        os.environ["VGPU_WORKER"] = self.address
        return native.stub()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--driver", help="driver library under test (default: the software GPU)")
    parser.addoption("--routes", default=",".join(ROUTES), help="comma list of routes")


@pytest.fixture(scope="session")
def driver_path(request: pytest.FixtureRequest) -> Path:
    given = request.config.getoption("--driver")
    return Path(given) if given else native.softgpu()


@pytest.fixture(scope="session")
def tcp_address(driver_path: Path) -> Iterator[str]:
    soft = {"VGPU_SOFT_DEVICES": str(DEVICES), "VGPU_SOFT_MEMORY": "1Gi"}
    count = () if driver_path != native.softgpu() else ("--gpu-count", str(DEVICES))
    with workers.worker(*count, driver=driver_path, environment=soft) as running:
        yield running.address


@pytest.fixture
def route(request: pytest.FixtureRequest, driver_path: Path) -> Route:
    name = request.param
    if name == "tcp":
        return Route(name, driver_path, request.getfixturevalue("tcp_address"))
    return Route(name, driver_path, f"inproc://{driver_path}")


@pytest.fixture
def cuda(route: Route) -> Route:
    """In the child this becomes the Driver of the route."""
    return route


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "route" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--routes").split(",")
        metafunc.parametrize("route", [r for r in ROUTES if r in chosen], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not isinstance(pyfuncitem.funcargs.get("cuda"), Route):
        return None
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _run_body(pyfuncitem, write_end)
    os.close(write_end)
    report = _await(child, read_end, pyfuncitem)
    if report.startswith("skip:"):
        pytest.skip(report[5:])
    if report:
        pytest.fail(report, pytrace=False)
    return True


def _run_body(item: pytest.Function, write_end: int) -> None:
    report = ""
    try:
        route = item.funcargs["cuda"]
        arguments = {n: item.funcargs[n] for n in item._fixtureinfo.argnames}
        arguments["cuda"] = Driver(route.prepare())
        item.obj(**arguments)
    except pytest.skip.Exception as skipped:
        report = f"skip:{skipped.msg}"
    except BaseException:
        report = traceback.format_exc()
    with contextlib.suppress(OSError):
        os.write(write_end, report.encode()[-60_000:])
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).exit(0)


def _await(child: int, read_end: int, item: pytest.Function) -> str:
    deadline = time.monotonic() + CHILD_DEADLINE
    chunks = []
    with os.fdopen(read_end, "rb") as pipe:
        while chunk := _read_before(pipe.fileno(), deadline):
            chunks.append(chunk)
    report = b"".join(chunks).decode(errors="replace")
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"{item.name}: no end within {CHILD_DEADLINE} s\n{report}"
        time.sleep(0.002)
    if status and not report:
        return f"{item.name}: the process ended with status {os.waitstatus_to_exitcode(status)}"
    return report


def _read_before(descriptor: int, deadline: float) -> bytes:
    ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
    return os.read(descriptor, 65536) if ready else b""

"""Programs that would trip a careless stub: another libzmq, absolute paths, a preloaded worker."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness import native, workers

WORK = """
import ctypes, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from harness.driver import *
cuda = Driver(Path({driver!r}))
cuda.start()
assert cuda.download(cuda.upload(b"through"), 7) == b"through"
print("through")
"""


@pytest.fixture(scope="module")
def address():
    with workers.worker() as running:
        yield running.address


def python(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=workers.python_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def work(driver: Path | str) -> str:
    return WORK.format(tests=str(native.REPOSITORY / "tests"), driver=str(driver))


def test_another_libzmq_loaded_globally(address):
    # The symbols of this libzmq come first in the global scope; the application uses it too.
    preamble = """
import ctypes, zmq, glob, os
libs = os.path.join(os.path.dirname(os.path.dirname(zmq.__file__)), "pyzmq.libs")
for name in sorted(glob.glob(libs + "/*"), reverse=True):
    ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
context = zmq.Context()
a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
a.bind("inproc://x"); b.connect("inproc://x")
b.send(b"mine")
"""
    epilogue = "assert a.recv() == b'mine'\na.close(); b.close(); context.term()\n"
    program = preamble + work(native.stub()) + epilogue
    assert python(program, VGPU_WORKER=address) == "through\n"


def test_the_driver_by_absolute_path(address):
    preload = native.native_dir() / "preload" / "libvgpu-preload.so"
    program = work("/usr/lib/x86_64-linux-gnu/libcuda.so.1")
    environment = {"LD_PRELOAD": str(preload), "VGPU_WORKER": address}
    assert python(program, **environment) == "through\n"


def test_a_program_that_preloads_the_stub_starts_a_worker():
    stub = native.stub()
    poisoned = {"LD_PRELOAD": str(stub), "LD_LIBRARY_PATH": str(stub.parent)}
    with workers.worker(environment=poisoned) as running:
        assert python(work(stub), VGPU_WORKER=running.address) == "through\n"


def test_the_worker_refuses_the_stub_as_its_driver():
    done = subprocess.run(
        [sys.executable, "-m", "vgpu.worker", "--driver", str(native.stub())],
        env=workers.python_environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode != 0
    assert "stub" in done.stderr + done.stdout

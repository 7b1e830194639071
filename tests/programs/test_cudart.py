"""Bare CUDA runtimes of every line since 11.8, on the software GPU and through the stub."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness import native, workers

RUNTIMES = (
    ("nvidia-cuda-runtime-cu11", "11.8.89"),
    ("nvidia-cuda-runtime-cu12", "12.1.105"),
    ("nvidia-cuda-runtime-cu12", "12.4.127"),
    ("nvidia-cuda-runtime-cu12", "12.6.77"),
    ("nvidia-cuda-runtime-cu12", "12.8.90"),
    ("nvidia-cuda-runtime-cu12", "12.9.79"),
    ("nvidia-cuda-runtime", "13.0.96"),
    ("nvidia-cuda-runtime", "13.2.75"),
    ("nvidia-cuda-runtime", "13.5.37"),
)

PROGRAM = """
import ctypes, sys
rt = ctypes.CDLL(sys.argv[1])
def ok(name, *a):
    code = getattr(rt, name)(*a)
    assert code == 0, f"{name} returned {code}"
count = ctypes.c_int()
ok("cudaGetDeviceCount", ctypes.byref(count))
assert count.value == 1, count
for _ in range(2):
    p = ctypes.c_void_p()
    ok("cudaMalloc", ctypes.byref(p), ctypes.c_size_t(1 << 20))
    data = bytes(range(256)) * 4096
    ok("cudaMemcpy", p, data, ctypes.c_size_t(1 << 20), 1)
    back = ctypes.create_string_buffer(1 << 20)
    ok("cudaMemcpy", back, p, ctypes.c_size_t(1 << 20), 2)
    assert back.raw == data
    ok("cudaDeviceSynchronize")
    ok("cudaFree", p)
    ok("cudaDeviceReset")
print("fine")
"""


@pytest.fixture(scope="session")
def wheels() -> Path:
    """Where downloaded runtimes are kept between runs."""
    directory = native.REPOSITORY / ".cache" / "cudart"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def library(wheels: Path, package: str, version: str) -> Path:
    """Downloads a runtime wheel once and returns its unpacked libcudart."""
    target = wheels / f"{package}-{version}"
    if not target.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", str(wheels), f"{package}=={version}"]
        subprocess.run(command, check=True)
        name = package.replace("-", "_")
        with zipfile.ZipFile(next(wheels.glob(f"{name}-{version}-*.whl"))) as wheel:
            wheel.extractall(target)
    return next(target.rglob("libcudart.so.*"))


@pytest.fixture(scope="module")
def address():
    with workers.worker() as running:
        yield running.address


def start(runtime: Path, driver: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(runtime)],
        env=workers.python_environment({"LD_LIBRARY_PATH": str(driver.parent), **environment}),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(("package", "version"), RUNTIMES)
def test_runtime_on_the_software_gpu(wheels, package, version):
    done = start(library(wheels, package, version), native.softgpu())
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


@pytest.mark.parametrize(("package", "version"), RUNTIMES)
def test_runtime_through_the_stub(wheels, address, package, version):
    done = start(library(wheels, package, version), native.stub(), VGPU_WORKER=address)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr

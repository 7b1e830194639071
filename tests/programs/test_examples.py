"""The examples, unmodified, the way the README says to run them."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from harness import native, programs, workers

EXAMPLES = native.REPOSITORY / "examples"
# The environment that has torch: `make test-torch` names one of its own.
TORCH_PYTHON = os.environ.get("VGPU_TORCH_PYTHON", sys.executable)


def vgpu_run(*arguments: str, timeout: float = 280, **environment: str):
    """Runs ``vgpu run`` with these arguments and returns the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "vgpu.client", "run", *arguments],
        env=workers.python_environment(environment),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def example(name: str, *flags: str, arguments: tuple[str, ...] = (), **environment: str) -> str:
    path = str(EXAMPLES / name)
    python = TORCH_PYTHON if name.startswith("pytorch") else sys.executable
    done = vgpu_run(*flags, "--", python, path, *arguments, **environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_cupy_quickstart(transport):
    pytest.importorskip("cupy", reason="needs cupy-cuda12x: make test installs it")
    output = example("cupy_quickstart.py", "--driver", "soft", "--transport", transport, "--stats")
    assert "all checks passed" in output
    assert "round trips" in output
    assert transport in output


def test_cupy_textures():
    pytest.importorskip("cupy", reason="needs cupy-cuda12x: make test installs it")
    assert "all checks passed" in example("cupy_textures.py", "--driver", "soft")


@pytest.mark.parametrize("name", ["cupy_quickstart.py", "cupy_textures.py"])
def test_cupy_directly_on_the_software_gpu(name):
    pytest.importorskip("cupy", reason="needs cupy-cuda12x: make test installs it")
    command = [sys.executable, str(EXAMPLES / name)]
    assert "all checks passed" in programs.run("direct", command, {}, timeout=280)


def test_driver_vector_add(tmp_path: Path):
    program = tmp_path / "vector_add"
    finder = runpy.run_path(str(native.REPOSITORY / "native" / "cmake" / "find_files.py"))
    include = finder["find"]("cuda-include")
    if include is None:
        pytest.skip("no cuda.h: pip install nvidia-cuda-runtime==13.0.96")
    subprocess.run(
        ["g++", "-std=c++20", "-I", include, EXAMPLES / "driver_vector_add.cpp",
         "-o", program, f"-L{native.stub().parent}", "-l:libcuda.so.1"],
        check=True,
    )  # fmt: skip
    done = vgpu_run("--driver", "soft", "--", str(program))
    assert done.returncode == 0, done.stderr
    assert "1048576 sums are right" in done.stdout


@pytest.mark.torch
@pytest.mark.timeout(900)
@pytest.mark.parametrize("route", programs.ROUTES)
def test_pytorch_basics(route):
    command = [TORCH_PYTHON, str(EXAMPLES / "pytorch_basics.py")]
    assert "all checks passed" in programs.run(route, command, {}, timeout=800)


@pytest.mark.torch
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("route", programs.ROUTES)
def test_pytorch_compiled_train(route, tmp_path):
    command = [TORCH_PYTHON, str(EXAMPLES / "pytorch_compiled_train.py")]
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path)}
    output = programs.run(route, command, caches, timeout=1700, capability="11.0")
    assert "matches the CPU" in output


@pytest.mark.torch
@pytest.mark.timeout(1800)
def test_pytorch_train_with_kernels_skipped(record_property, capsys):
    """The call pattern of eager training: no kernel runs, so the numbers mean nothing."""
    trips = {}
    for steps in (5, 15):
        output = example(
            "pytorch_train.py", "--driver", "soft", "--stats",
            arguments=("--steps", str(steps)), VGPU_SOFT_SKIP_SASS="1",
        )  # fmt: skip
        assert f"trained {steps} steps" in output
        assert "not supported" not in output
        trips[steps] = int(re.search(r"round trips\D+(\d+)", output)[1])
    per_step = (trips[15] - trips[5]) / 10
    with capsys.disabled():
        print(f"\npytorch_train.py: {per_step:.1f} round trips per step")
    assert per_step < 100


GPU_EXAMPLES = {
    "cupy_quickstart.py": "all checks passed",
    "cupy_textures.py": "all checks passed",
    "pytorch_basics.py": "all checks passed",
    "pytorch_train.py": "trained 50 steps",
    "pytorch_compiled_train.py": "matches the CPU",
}


@pytest.mark.gpu
@pytest.mark.timeout(900)
@pytest.mark.parametrize("route", ["native", "remote"])
@pytest.mark.parametrize("name", GPU_EXAMPLES)
def test_on_a_real_gpu(name, route):
    if route == "remote":
        assert GPU_EXAMPLES[name] in example(name, "--driver", "cuda")
        return
    python = TORCH_PYTHON if name.startswith("pytorch") else sys.executable
    done = subprocess.run(
        [python, str(EXAMPLES / name)],
        env=workers.python_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert GPU_EXAMPLES[name] in done.stdout

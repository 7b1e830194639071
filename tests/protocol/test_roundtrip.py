"""Generated client code and generated server code understand each other; a program checks it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from protocol.paths import HERE, NATIVE, cuda_include
from vgpu.protocol.codegen.__main__ import artifacts
from vgpu.protocol.codegen.cpp import versioned_macros
from vgpu.protocol.codegen.load import load
from vgpu.protocol.codegen.write import write


def test_stub_and_executor_agree(tmp_path: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("no C++ compiler: install g++, or set CXX")
    for name, text in artifacts(load(HERE / "tiny"), versioned_macros(cuda_include())).items():
        write(tmp_path / "generated" / name, text)
    # DriverTable::load is the only thing in driver_table.cc, and nothing here calls it.
    sources = [tmp_path / "generated" / n for n in ("stub_marshal.cc", "executor_dispatch.cc")]
    command = [compiler, "-std=c++20", "-g", "-Wall", "-Wextra", "-Werror"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    for directory in (tmp_path, HERE / "shims", NATIVE):
        command += ["-I", str(directory)]
    command += ["-isystem", str(cuda_include()), "-o", str(tmp_path / "roundtrip")]
    command += [str(HERE / "roundtrip.cc"), *map(str, sources)]
    subprocess.run(command, check=True, timeout=240)
    done = subprocess.run(
        [tmp_path / "roundtrip"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr[:4000]

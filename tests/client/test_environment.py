"""What `vgpu run` sets for a program."""

import subprocess
from pathlib import Path

import pytest

from vgpu.client.environment import prepend, program_environment, ptx_variables
from vgpu.client.errors import InstallationError
from vgpu.client.machine import device_nodes
from vgpu.client.paths import ASSEMBLER, NativeFiles, find_native_files

NATIVE = NativeFiles(Path("/opt/vgpu/native"))
ADDRESS = "tcp://gpu-host:7400"


def test_the_stub_comes_first_and_once() -> None:
    assert prepend(None, "/stub") == "/stub"
    assert prepend("", "/stub") == "/stub"
    assert prepend("/a:/stub:/b", "/stub") == "/stub:/a:/b"


def test_variables() -> None:
    base = {"PATH": "/bin", "LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}
    assert program_environment(base, NATIVE, ADDRESS) == {
        "PATH": "/bin",
        "LD_LIBRARY_PATH": "/opt/vgpu/native/stub:/usr/local/cuda/lib64",
        "VGPU_WORKER": ADDRESS,
    }


def test_ptx_only_devices_need_ptx_from_clients() -> None:
    result = program_environment({}, NATIVE, ADDRESS, ptx_only=True)
    assert result["CUPY_COMPILE_WITH_PTX"] == "1"
    assert result["TRITON_PTXAS_PATH"] == result["TRITON_PTXAS_BLACKWELL_PATH"] == str(ASSEMBLER)
    assert ptx_variables({"TRITON_PTXAS_PATH": "/mine"}).keys() == {
        "CUPY_COMPILE_WITH_PTX",
        "TRITON_PTXAS_BLACKWELL_PATH",
    }


def test_keys_and_statistics(tmp_path: Path) -> None:
    (tmp_path / "client.key").touch()
    result = program_environment({}, NATIVE, ADDRESS, keys=tmp_path, statistics=Path("/s"))
    assert result["VGPU_KEYS"] == str(tmp_path / "client.key")
    assert result["VGPU_STATS"] == "/s"


def test_preload(tmp_path: Path) -> None:
    native = NativeFiles(tmp_path)
    with pytest.raises(InstallationError, match="--preload needs"):
        program_environment({}, native, ADDRESS, preload=True)
    native.preload.parent.mkdir()
    native.preload.touch()
    result = program_environment({"LD_PRELOAD": "/lib/x.so"}, native, ADDRESS, preload=True)
    assert result["LD_PRELOAD"] == f"{native.preload}:/lib/x.so"


def test_device_nodes(tmp_path: Path) -> None:
    assert device_nodes(tmp_path) == []
    for name in ("nvidiactl", "nvidia0", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert device_nodes(tmp_path) == [tmp_path / "nvidia0", tmp_path / "nvidiactl"]


def test_missing_native_files_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VGPU_NATIVE_DIR", str(tmp_path))
    with pytest.raises(InstallationError, match="pip install"):
        find_native_files()


def assemble(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ASSEMBLER), *arguments], cwd=cwd, capture_output=True, text=True)


def test_the_assembler_passes_ptx_through(tmp_path: Path) -> None:
    source = tmp_path / "with blank.ptx"
    source.write_text(".version 9.0\n")
    # The options of Triton 3.6, with all its debugging switches on.
    options = ["-lineinfo", "-v", "--opt-level", "0", "--gpu-name=sm_110a"]
    done = assemble(*options, source.name, "-o", "kernel.cubin", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kernel.cubin").read_text() == ".version 9.0\n"


def test_the_assembler_answers_like_ptxas(tmp_path: Path) -> None:
    assert "release 13.0, V13.0" in assemble("--version", cwd=tmp_path).stdout
    nothing = assemble("-o", "x", "missing.ptx", cwd=tmp_path)
    assert nothing.returncode == 1
    assert "no input file" in nothing.stderr

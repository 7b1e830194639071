"""Which driver library is taken, and what executors inherit."""

from pathlib import Path

import pytest

from vgpu.worker.drivers import (
    executor_environment,
    is_software_driver,
    is_stub,
    library_candidates,
    resolve_driver,
)
from vgpu.worker.errors import DriverError
from vgpu.worker.paths import NativeFiles, find_native_files

STUB = b"\x7fELF...\0vgpu_stub_marker\0..."
SOFT = b"\x7fELF...\0vgpu_softgpu_version\0..."
REAL = b"\x7fELF...\0cuInit\0..."


def library(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def native(tmp_path: Path) -> NativeFiles:
    root = tmp_path / "native"
    library(root / "stub" / "libcuda.so.1", STUB)
    library(root / "softgpu" / "libcuda.so.1", SOFT)
    return NativeFiles(root)


def test_markers(native: NativeFiles, tmp_path: Path) -> None:
    assert is_stub(native.stub_directory / "libcuda.so.1")
    assert not is_stub(native.software_driver)
    assert is_software_driver(native.software_driver)
    assert not is_software_driver(tmp_path / "missing")


def test_the_stub_is_never_a_candidate(native: NativeFiles, tmp_path: Path) -> None:
    real = library(tmp_path / "real" / "libcuda.so.1", REAL)
    path = f"{native.stub_directory}:{real.parent}::relative"
    assert library_candidates("libcuda.so.1", path, directories=()) == [real]


def test_cuda_is_never_the_software_gpu(native: NativeFiles, tmp_path: Path) -> None:
    soft = native.software_driver.parent
    real = library(tmp_path / "real" / "libcuda.so.1", REAL)
    choice = resolve_driver("cuda", native, {"LD_LIBRARY_PATH": f"{soft}:{real.parent}"})
    assert (choice.path, choice.kind) == (real, "cuda")


def test_soft_is_asked_for_by_name(native: NativeFiles) -> None:
    choice = resolve_driver("soft", native, {})
    assert (choice.path, choice.kind) == (native.software_driver, "soft")


def test_a_path_names_a_library_and_its_kind_is_found_out(
    native: NativeFiles, tmp_path: Path
) -> None:
    real = library(tmp_path / "libcuda.so.1", REAL)
    assert resolve_driver(str(real), native, {}).kind == "cuda"
    copy = library(tmp_path / "elsewhere" / "libcuda.so.1", SOFT)
    assert resolve_driver(str(copy), native, {}).kind == "soft"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("software", "neither 'cuda', nor 'soft', nor an absolute path"),
        ("/no/such/libcuda.so.1", "no such file"),
        ("STUB", "is the client stub of vgpu"),
    ],
)
def test_bad_choices(native: NativeFiles, choice: str, message: str) -> None:
    if choice == "STUB":
        choice = str(native.stub_directory / "libcuda.so.1")
    with pytest.raises(DriverError, match=message):
        resolve_driver(choice, native, {})


def test_executors_never_see_the_stub(native: NativeFiles, tmp_path: Path) -> None:
    other_stub = library(tmp_path / "old" / "libcuda.so.1", STUB)
    harmless = library(tmp_path / "libharmless.so", b"...")
    environment = executor_environment(
        {
            "LD_LIBRARY_PATH": f"{native.stub_directory}:/usr/lib:{other_stub.parent}",
            "LD_PRELOAD": f"{other_stub} {harmless}",
            "VGPU_WORKER": "tcp://127.0.0.1:1",
            "VGPU_KEYS": "x",
            "VGPU_STATS": "stderr",
            "CUDA_VISIBLE_DEVICES": "3",
            "CUDA_DEVICE_ORDER": "FASTEST_FIRST",
            "HOME": "/root",
        },
        native,
        {"VGPU_SOFT_CC": "13.0"},
    )
    assert environment == {
        "LD_LIBRARY_PATH": "/usr/lib",
        "LD_PRELOAD": str(harmless),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_MODULE_LOADING": "LAZY",
        "HOME": "/root",
        "VGPU_SOFT_CC": "13.0",
    }


def test_emptied_paths_are_unset(native: NativeFiles) -> None:
    stub = native.stub_directory
    environment = executor_environment(
        {"LD_LIBRARY_PATH": str(stub), "LD_PRELOAD": f"{stub}/libcuda.so.1"}, native, {}
    )
    assert "LD_LIBRARY_PATH" not in environment
    assert "LD_PRELOAD" not in environment


def test_missing_native_files_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VGPU_NATIVE_DIR", str(tmp_path))
    with pytest.raises(Exception, match="pip install"):
        find_native_files()

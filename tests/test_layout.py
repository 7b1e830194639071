"""The architecture as a test: who imports whom, what is exported, what the wheel must hold."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from harness import native

PARTS = {
    "client": "client/vgpu/client",
    "worker": "worker/vgpu/worker",
    "protocol": "protocol/vgpu/protocol",
}
ALLOWED = {
    "client": {"client", "protocol"},
    "worker": {"worker", "protocol"},
    "protocol": {"protocol"},
}


def imported_parts(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {n.split(".")[1] for n in names if n.startswith("vgpu.") and n.split(".")[1] in PARTS}


@pytest.mark.parametrize("part", PARTS)
def test_imports_go_through_the_protocol(part):
    for path in (native.REPOSITORY / PARTS[part]).rglob("*.py"):
        assert imported_parts(path) <= ALLOWED[part], path


def test_the_namespace_has_no_init():
    for part in ("client", "worker", "protocol"):
        assert not (native.REPOSITORY / part / "vgpu" / "__init__.py").exists()


@pytest.mark.parametrize("library", [native.stub, native.softgpu])
def test_only_the_driver_api_is_exported(library):
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", library()], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1].split("@")[0] for line in listed.stdout.splitlines()}
    assert "cuInit" in names
    strangers = {n for n in names if not n.startswith(("cu", "vgpu_"))}
    assert not strangers


@pytest.mark.parametrize(
    "path",
    ["stub/libcuda.so.1", "softgpu/libcuda.so.1", "bin/vgpu-executor", "lib/libvgpu-embedded.so",
     "preload/libvgpu-preload.so"],
)  # fmt: skip
def test_the_native_files_are_there(path):
    assert (native.native_dir() / path).exists()


def test_the_portable_libzmq_is_there():
    assert list((native.native_dir() / "lib").glob("libzmq-*.so*"))
    assert list((native.native_dir() / "lib").glob("libsodium-*.so*"))


def test_injected_libraries_need_only_the_c_library():
    listed = subprocess.run(
        ["readelf", "-d", native.stub()], capture_output=True, text=True, check=True
    )
    needed = {x.split("[")[1].rstrip("]") for x in listed.stdout.splitlines() if "NEEDED" in x}
    allowed = {
        "libc.so.6",
        "libm.so.6",
        "libdl.so.2",
        "libpthread.so.0",
        "librt.so.1",
        "ld-linux-x86-64.so.2",
    }
    assert needed <= allowed


def test_the_coverage_page_is_current(tmp_path):
    page = tmp_path / "coverage.md"
    command = [sys.executable, "-m", "vgpu.protocol.codegen", "--coverage", str(page)]
    command += ["--spec", str(native.REPOSITORY / "protocol" / "spec")]
    subprocess.run(command, check=True)
    committed = (native.REPOSITORY / "docs" / "coverage.md").read_text()
    assert committed == page.read_text(), "docs/coverage.md is old: make generated"

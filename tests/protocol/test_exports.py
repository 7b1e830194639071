"""The built driver libraries export what the specification says, and nothing of their own."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.native import softgpu, stub
from protocol.paths import SPEC
from vgpu.protocol.codegen.load import load

LIBRARIES = pytest.mark.parametrize("library", [stub, softgpu], ids=["stub", "softgpu"])


def exported(path: Path) -> set[str]:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm: install binutils")
    command = [nm, "-D", "--defined-only", "--without-symbol-versions", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return {line.split()[-1] for line in done.stdout.splitlines() if line.split()[-2] != "A"}


@LIBRARIES
def test_exports_the_specification_and_nothing_else(library) -> None:
    names = exported(library())
    spec = load(SPEC)
    expected = {f.name for f in spec.functions}
    expected |= {f"{f.name}_{f.per_thread}" for f in spec.functions if f.per_thread}
    assert {name for name in names if name.startswith("cu")} == expected
    assert all(name.startswith("vgpu_") for name in names - expected)


@LIBRARIES
def test_every_entry_point_is_found_by_symbol_and_version(library) -> None:
    driver = ctypes.CDLL(str(library()))
    for f in load(SPEC).functions:
        for flags, name in ((1, f.name), (2, f"{f.name}_{f.per_thread}".rstrip("_"))):
            entry, status = ctypes.c_void_p(), ctypes.c_int(-1)
            result = driver.cuGetProcAddress_v2(
                f.symbol.encode(),
                ctypes.byref(entry),
                f.since,
                ctypes.c_uint64(flags),
                ctypes.byref(status),
            )
            assert (result, status.value) == (0, 0), name
            assert entry.value == ctypes.cast(driver[name], ctypes.c_void_p).value, name


@LIBRARIES
def test_what_is_not_served_says_so(library) -> None:
    """Before cuInit, without a device, and whatever the arguments are."""
    driver = ctypes.CDLL(str(library()))
    spec = load(SPEC)
    column = "stub" if library is stub else "soft"
    for f in spec.functions:
        if getattr(spec.resolve(f), column) == "unsupported":
            assert driver[f.name](*([None] * len(f.params))) == 801, f.name

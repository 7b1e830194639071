"""The environment of a program that uses a remote GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vgpu.client.errors import InstallationError
from vgpu.client.paths import ASSEMBLER, NativeFiles


def prepend(existing: str | None, entry: Path | str) -> str:
    """A colon separated search path with `entry` first, and only there."""
    others = [part for part in (existing or "").split(":") if part and part != str(entry)]
    return ":".join([str(entry), *others])


def ptx_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What makes clients emit PTX, for a device that executes nothing else; theirs take priority.

    CuPy compiles to PTX on request. Triton runs an assembler; ours passes the PTX through.
    """
    wanted = {
        "CUPY_COMPILE_WITH_PTX": "1",
        "TRITON_PTXAS_PATH": str(ASSEMBLER),
        "TRITON_PTXAS_BLACKWELL_PATH": str(ASSEMBLER),
    }
    return {name: value for name, value in wanted.items() if name not in environment}


def program_environment(
    base: Mapping[str, str],
    native: NativeFiles,
    address: str,
    *,
    keys: Path | None = None,
    preload: bool = False,
    ptx_only: bool = False,
    statistics: Path | None = None,
) -> dict[str, str]:
    """The variables that connect a program to the worker at `address`."""
    result = dict(base)
    result["VGPU_WORKER"] = address
    result["LD_LIBRARY_PATH"] = prepend(base.get("LD_LIBRARY_PATH"), native.stub_directory)
    if keys is not None:
        path = keys / "client.key" if keys.is_dir() else keys
        result["VGPU_KEYS"] = str(path.resolve())
    if preload:
        if not native.preload.is_file():
            raise InstallationError(f"--preload needs {native.preload}, which is not installed")
        result["LD_PRELOAD"] = prepend(base.get("LD_PRELOAD"), native.preload)
    if ptx_only:
        result.update(ptx_variables(base))
    if statistics is not None:
        result["VGPU_STATS"] = str(statistics)
    return result

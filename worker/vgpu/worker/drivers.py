"""Which CUDA driver library the executors drive, and the environment they do it in.

The worker never drives our own stub: a library that exports the stub's marker is refused, and the
stub's directory is removed from what executors search. Libraries are opened by absolute path.
"""

from __future__ import annotations

import mmap
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vgpu.worker.errors import DriverError
from vgpu.worker.paths import NativeFiles

# Exported by the stub and by the software GPU for exactly these tests.
STUB_MARKER = b"vgpu_stub_marker"
SOFT_MARKERS = (b"vgpu_softgpu_version", b"vgpu_soft_marker")

_DRIVER_SONAME = "libcuda.so.1"
_STANDARD_DIRECTORIES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
    "/run/opengl-driver/lib",
)

# What a client's side of vgpu uses; an executor must not become a client.
_CLIENT_VARIABLES = ("VGPU_WORKER", "VGPU_KEYS", "VGPU_STATS", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class DriverChoice:
    """A driver library by absolute path."""

    path: Path
    kind: Literal["cuda", "soft"]


def _contains(path: Path, text: bytes) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            return data.find(text + b"\0") >= 0
    except (OSError, ValueError):
        return False


def is_stub(path: Path) -> bool:
    """Whether a library is the stub of this project (of any version)."""
    return _contains(path, STUB_MARKER)


def is_software_driver(path: Path) -> bool:
    """Whether a library is the software GPU of this project (of any version)."""
    return any(_contains(path, marker) for marker in SOFT_MARKERS)


def _from_ldconfig(soname: str) -> Iterator[Path]:
    for program in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        try:
            listing = subprocess.run(
                [program, "-p"], capture_output=True, text=True, timeout=10, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        for line in listing.splitlines():
            name, arrow, path = line.partition(" => ")
            if arrow and name.split()[:1] == [soname]:
                yield Path(path.strip())
        return


def library_candidates(
    soname: str, library_path: str, directories: Iterable[str] = _STANDARD_DIRECTORIES
) -> list[Path]:
    """Existing libraries of that name in search order, our own stub excluded."""
    wanted = [Path(entry) / soname for entry in library_path.split(":") if entry]
    wanted += list(_from_ldconfig(soname))
    wanted += [Path(directory) / soname for directory in directories]
    found: list[Path] = []
    for path in wanted:
        if path.is_absolute() and path.is_file():
            real = path.resolve()
            if real not in found and not is_stub(real):
                found.append(real)
    return found


def resolve_driver(
    choice: str, native: NativeFiles, environment: Mapping[str, str]
) -> DriverChoice:
    """The library for `cuda` (the machine's own), `soft` (the software GPU) or a path.

    Never falls back from one to the other: DriverError says what is missing.
    """
    if choice == "soft":
        if not native.software_driver.is_file():
            raise DriverError(f"the software GPU is not installed: {native.software_driver}")
        return DriverChoice(native.software_driver, "soft")
    if choice == "cuda":
        candidates = library_candidates(_DRIVER_SONAME, environment.get("LD_LIBRARY_PATH", ""))
        for path in candidates:
            if not is_software_driver(path):
                return DriverChoice(path, "cuda")
        raise DriverError(
            f"no CUDA driver on this machine: {_DRIVER_SONAME} is neither in ldconfig's list nor "
            "in the standard places. Install the NVIDIA driver, name it with --driver PATH, or ask "
            "for the software GPU with --driver soft"
        )
    path = Path(choice)
    if not path.is_absolute():
        raise DriverError(
            f"--driver {choice!r} is neither 'cuda', nor 'soft', nor an absolute path of a library"
        )
    if not path.is_file():
        raise DriverError(f"--driver {choice}: no such file")
    if is_stub(path):
        raise DriverError(
            f"--driver {choice} is the client stub of vgpu: a worker needs a real driver library"
        )
    return DriverChoice(path.resolve(), "soft" if is_software_driver(path) else "cuda")


def _is_stub_directory(entry: str, native: NativeFiles) -> bool:
    if not entry:
        return False
    path = Path(entry)
    if path.resolve() == native.stub_directory.resolve():
        return True
    return (path / _DRIVER_SONAME).is_file() and is_stub(path / _DRIVER_SONAME)


def executor_environment(
    environment: Mapping[str, str], native: NativeFiles, additions: Mapping[str, str]
) -> dict[str, str]:
    """An executor's environment: the worker's, less what is a client's, plus `additions`."""
    result = {key: value for key, value in environment.items() if key not in _CLIENT_VARIABLES}
    directories = result.pop("LD_LIBRARY_PATH", "").split(":")
    kept = [entry for entry in directories if entry and not _is_stub_directory(entry, native)]
    if kept:
        result["LD_LIBRARY_PATH"] = ":".join(kept)
    preloads = result.pop("LD_PRELOAD", "").replace(":", " ").split()
    kept = [
        entry
        for entry in preloads
        if not (Path(entry).name.startswith("libcuda.so") or is_stub(Path(entry)))
    ]
    if kept:
        result["LD_PRELOAD"] = ":".join(kept)
    # Physical indices are those of nvidia-smi, which are in PCI order; the driver's default is not.
    result["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    # The driver's default since 12.2; PyTorch sets it in every client, which is then no difference.
    result.setdefault("CUDA_MODULE_LOADING", "LAZY")
    result.update(additions)
    return result

"""Where the native files of this installation are: `vgpu/native/{stub,softgpu,bin,lib,preload}`."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from vgpu.client.errors import InstallationError


@dataclass(frozen=True)
class NativeFiles:
    """The directory of native files; VGPU_NATIVE_DIR overrides the installed one."""

    root: Path

    @property
    def stub_directory(self) -> Path:
        """What LD_LIBRARY_PATH must name: it holds our libcuda.so.1."""
        return self.root / "stub"

    @property
    def stub(self) -> Path:
        """The client side of the driver API."""
        return self.stub_directory / "libcuda.so.1"

    @property
    def preload(self) -> Path:
        """Redirects programs that open the driver by absolute path to the stub."""
        return self.root / "preload" / "libvgpu-preload.so"

    @property
    def executor(self) -> Path:
        """What serves a session; needed where a worker runs."""
        return self.root / "bin" / "vgpu-executor"

    @property
    def software_driver(self) -> Path:
        """The software GPU."""
        return self.root / "softgpu" / "libcuda.so.1"


def native_candidates() -> list[Path]:
    """The directories that may hold the native files, in order."""
    override = os.environ.get("VGPU_NATIVE_DIR")
    if override:
        return [Path(override)]
    spec = importlib.util.find_spec("vgpu")
    locations = list(spec.submodule_search_locations or ()) if spec is not None else []
    return [Path(location) / "native" for location in locations]


def find_native_files() -> NativeFiles:
    """The native files of this installation; InstallationError when they were not built."""
    candidates = native_candidates()
    for root in candidates:
        if (root / "stub" / "libcuda.so.1").is_file():
            return NativeFiles(root.resolve())
    raise InstallationError(
        "the client library libcuda.so.1 is not installed (looked in "
        + ", ".join(str(root) for root in candidates)
        + "): build the package with `pip install .`, or set VGPU_NATIVE_DIR to the directory "
        "vgpu/native of a build"
    )


# Answers like NVIDIA's assembler and passes PTX through; run by Triton as a program.
ASSEMBLER = Path(__file__).with_name("ptx-passthrough")

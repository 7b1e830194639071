"""Where the native files of this installation are: `vgpu/native/{stub,softgpu,bin,lib}`."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from vgpu.worker.errors import WorkerError


@dataclass(frozen=True)
class NativeFiles:
    """The directory of native files; VGPU_NATIVE_DIR overrides the installed one."""

    root: Path

    @property
    def executor(self) -> Path:
        """The program that serves one session."""
        return self.root / "bin" / "vgpu-executor"

    @property
    def software_driver(self) -> Path:
        """The software GPU."""
        return self.root / "softgpu" / "libcuda.so.1"

    @property
    def stub_directory(self) -> Path:
        """What clients have on their LD_LIBRARY_PATH, and executors must not."""
        return self.root / "stub"


def find_native_files() -> NativeFiles:
    """The native files of this installation; WorkerError when they were not built."""
    override = os.environ.get("VGPU_NATIVE_DIR")
    if override:
        candidates = [Path(override)]
    else:
        spec = importlib.util.find_spec("vgpu")
        locations = list(spec.submodule_search_locations or ()) if spec is not None else []
        candidates = [Path(location) / "native" for location in locations]
    for root in candidates:
        if (root / "bin" / "vgpu-executor").is_file():
            return NativeFiles(root.resolve())
    raise WorkerError(
        "vgpu-executor is not installed (looked in "
        + ", ".join(str(root) for root in candidates)
        + "): build the package with `pip install .`, or set VGPU_NATIVE_DIR to the directory "
        "vgpu/native of a build"
    )

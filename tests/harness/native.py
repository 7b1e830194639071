"""Finds the native files under test: the installed ones, or a build tree (VGPU_NATIVE_DIR)."""

import functools
import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@functools.cache
def native_dir() -> Path:
    """The directory that holds stub/, softgpu/, bin/ and lib/."""
    if configured := os.environ.get("VGPU_NATIVE_DIR"):
        return Path(configured)
    import vgpu.protocol

    for entry in vgpu.__path__:
        if (found := Path(entry) / "native").is_dir():
            return found
    pytest.exit("no native files: install the package (make build) or set VGPU_NATIVE_DIR", 4)


def stub() -> Path:
    return native_dir() / "stub" / "libcuda.so.1"


def softgpu() -> Path:
    return native_dir() / "softgpu" / "libcuda.so.1"

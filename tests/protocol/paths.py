"""Where the specification, the native sources and the CUDA headers are."""

import functools
import runpy
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = REPOSITORY / "protocol" / "spec"
NATIVE = REPOSITORY / "native"
HERE = Path(__file__).parent


@functools.cache
def cuda_include() -> Path:
    """The directory of cuda.h from the pip package that the build uses."""
    finder = runpy.run_path(str(NATIVE / "cmake" / "find_files.py"))
    found = finder["find"]("cuda-include")
    if found is None:
        pytest.skip("cuda.h is not installed: pip install nvidia-cuda-runtime==13.0.96")
    return Path(found)

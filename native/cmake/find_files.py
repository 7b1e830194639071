"""Prints where pip installed the files that the native build takes from other packages.

VGPU_CUDA_HEADERS names a directory to look in first (``pip install --target``): an environment with
CuPy for CUDA 12 must not see the headers of CUDA 13 in its site-packages.
"""

import os
import sys
from pathlib import Path

#: what -> (pattern below an entry of sys.path, what to print of the first match)
PATTERNS = {
    "cuda-include": "nvidia/cu13/include/cuda.h",
    "zmq-libs": "pyzmq.libs/libzmq-*.so*",
}


def find(what: str) -> Path | None:
    """Returns the directory that holds ``what``, or None."""
    for entry in [os.environ.get("VGPU_CUDA_HEADERS", ""), *sys.path]:
        for match in sorted(Path(entry or ".").glob(PATTERNS[what])):
            return match.parent
    return None


if __name__ == "__main__":
    directory = find(sys.argv[1])
    if directory is None:
        sys.exit(f"{sys.argv[1]}: no {PATTERNS[sys.argv[1]]} below any entry of sys.path")
    print(directory)

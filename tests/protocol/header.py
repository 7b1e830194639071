"""Prototypes of cuda.h and rows of cudaTypedefs.h, old ABI variants included."""

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

import pytest

from protocol.paths import cuda_include

_PROTOTYPE = re.compile(r"\bCUresult\s+(cu\w+)\s*\(([^;{}]*?)\)\s*;")
_TYPEDEF = re.compile(r"\(\s*\*\s*PFN_(cu\w+?)_v(\d+)(_ptsz|_ptds)?\s*\)")
_PARAMETER = re.compile(r"(?P<type>.*?[\s*])(?P<name>\w+)(?:\[\d*\])?\Z")


@dataclass(frozen=True)
class Row:
    """A typedef of cudaTypedefs.h: what cuGetProcAddress finds for a symbol at a version."""

    symbol: str
    version: int
    per_thread: str


@functools.cache
def _preprocessed(name: str) -> str:
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler: install g++, or set CXX")
    command = [compiler, "-E", "-P", "-x", "c", "-D__CUDA_API_VERSION_INTERNAL"]
    command += ["-I", str(cuda_include()), "-include", name, os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.replace("\n", " ")


@functools.cache
def prototypes() -> dict[str, list[tuple[str, str]]]:
    """Parameters as (type, name) of every function that cuda.h declares."""
    found = {}
    for match in _PROTOTYPE.finditer(_preprocessed("cuda.h")):
        text = match[2].strip()
        parts = [] if text == "void" else text.split(",")
        found[match[1]] = [_parameter(part.strip()) for part in parts]
    return found


def _parameter(text: str) -> tuple[str, str]:
    match = _PARAMETER.match(text)
    assert match, text
    return re.sub(r"\s*\*\s*", "*", re.sub(r"\s+", " ", match["type"])).strip(), match["name"]


@functools.cache
def typedefs() -> list[Row]:
    text = _preprocessed("cudaTypedefs.h")
    return [Row(m[1], int(m[2]), (m[3] or "").lstrip("_")) for m in _TYPEDEF.finditer(text)]

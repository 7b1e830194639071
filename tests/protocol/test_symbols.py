"""cuGetProcAddress' table, compiled and asked: every symbol, around every version, every flag."""

import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.header import Row, typedefs
from protocol.paths import SPEC, cuda_include
from vgpu.protocol.codegen.cpp import versioned_macros
from vgpu.protocol.codegen.exports import STUB
from vgpu.protocol.codegen.load import load
from vgpu.protocol.codegen.model import Spec
from vgpu.protocol.codegen.opcodes import emit as emit_opcodes
from vgpu.protocol.codegen.symbols import emit as emit_symbols
from vgpu.protocol.codegen.write import write

LEGACY, PER_THREAD = 1, 2
FOUND, UNKNOWN, TOO_OLD = 0, 1, 2
INVALID_VALUE = 1

_WRAPPER = """
#define __CUDA_API_VERSION_INTERNAL 1
#include <cuda.h>
#include <cstdint>
namespace vgpu::stub {
CUresult find_symbol(const char*, int, uint64_t, void**, CUdriverProcAddressQueryResult*);
}
extern "C" int find(const char* symbol, int version, uint64_t flags, void** entry, int* status) {
  auto* result = reinterpret_cast<CUdriverProcAddressQueryResult*>(status);
  return vgpu::stub::find_symbol(symbol, version, flags, entry, result);
}
"""

Find = Callable[[str | None, int, int], tuple[int, str | None, int]]


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load(SPEC)


def exported(spec: Spec) -> list[str]:
    per_thread = [f"{f.name}_{f.per_thread}" for f in spec.functions if f.per_thread]
    return [f.name for f in spec.functions] + per_thread


@pytest.fixture(scope="module")
def find(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Asks the generated table; entry points are given back by their exported names."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("no C++ compiler: install g++, or set CXX")
    build = tmp_path_factory.mktemp("symbols")
    library = ctypes.CDLL(str(build_library(spec, compiler, build)))
    names = {ctypes.cast(library[name], ctypes.c_void_p).value: name for name in exported(spec)}

    def ask(symbol: str | None, version: int, flags: int) -> tuple[int, str | None, int]:
        entry, status = ctypes.c_void_p(1), ctypes.c_int(-1)
        text = symbol.encode() if symbol is not None else None
        result = library.find(
            text, version, ctypes.c_uint64(flags), ctypes.byref(entry), ctypes.byref(status)
        )
        return result, names.get(entry.value), status.value

    return ask


def build_library(spec: Spec, compiler: str, build: Path) -> Path:
    write(build / "generated" / "opcode.h", emit_opcodes(spec, versioned_macros(cuda_include())))
    write(build / "symbols.cc", emit_symbols(spec, STUB))
    write(build / "wrapper.cc", _WRAPPER)
    bodies = [f'extern "C" int {name}() {{ return {i}; }}' for i, name in enumerate(exported(spec))]
    write(build / "bodies.cc", "\n".join(bodies) + "\n")
    library = build / "libsymbols.so"
    command = [compiler, "-std=c++20", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-I", str(build)]
    command += ["-isystem", str(cuda_include()), "-o", str(library)]
    command += [str(build / name) for name in ("symbols.cc", "wrapper.cc", "bodies.cc")]
    subprocess.run(command, check=True, timeout=120)
    return library


def test_finds_what_cuda_typedefs_lists(spec: Spec, find: Find) -> None:
    names = {(f.symbol, f.since): f.name for f in spec.functions}
    rows = sorted((r for r in typedefs() if not r.per_thread), key=lambda r: r.version)
    newest = {row.symbol: row.version for row in rows}
    for row in rows:
        assert find(row.symbol, row.version, 0) == (0, names[row.symbol, row.version], FOUND)
        assert find(row.symbol, 99990, LEGACY)[1] == names[row.symbol, newest[row.symbol]]


def test_a_version_gets_the_highest_that_is_not_above_it(spec: Spec, find: Find) -> None:
    names = {(f.symbol, f.since): f.name for f in spec.functions}
    by_symbol: dict[str, list[int]] = {}
    for symbol, since in sorted(names):
        by_symbol.setdefault(symbol, []).append(since)
    for symbol, versions in by_symbol.items():
        assert find(symbol, versions[0] - 10, 0) == (0, None, TOO_OLD)
        for older, newer in itertools.pairwise(versions):
            assert find(symbol, newer - 1, 0) == (0, names[symbol, older], FOUND)


def test_per_thread_spelling_where_there_is_one(spec: Spec, find: Find) -> None:
    rows = {Row(f.symbol, f.since, f.per_thread): f.name for f in spec.functions}
    for row, name in rows.items():
        spelled = f"{name}_{row.per_thread}" if row.per_thread else name
        assert find(row.symbol, row.version, PER_THREAD) == (0, spelled, FOUND)


@pytest.mark.parametrize("symbol", ["", "cu", "cuMemAlloc_v2", "cuNoSuchCall", "malloc", "zz"])
def test_an_unknown_symbol_is_no_error_and_no_entry(symbol: str, find: Find) -> None:
    assert find(symbol, 13000, 0) == (0, None, UNKNOWN)


def test_bad_arguments(find: Find) -> None:
    assert find(None, 13000, 0)[0] == INVALID_VALUE
    assert find("cuInit", 13000, 3)[0] == INVALID_VALUE


def test_versions_that_cuda_runtimes_ask_for(find: Find) -> None:
    """Measured: the runtimes of CUDA 11.8 to 13.5 ask for these old variants."""
    asked = {
        ("cuCtxCreate", 3020): "cuCtxCreate_v2",
        ("cuCtxGetDevice", 2000): "cuCtxGetDevice",
        ("cuCtxGetDevice", 13000): "cuCtxGetDevice_v2",
        ("cuDevicePrimaryCtxRelease", 7000): "cuDevicePrimaryCtxRelease",
        ("cuGetProcAddress", 11030): "cuGetProcAddress",
        ("cuGetProcAddress", 12000): "cuGetProcAddress_v2",
        ("cuGraphAddNode", 12020): "cuGraphAddNode",
        ("cuGraphInstantiate", 10000): "cuGraphInstantiate",
        ("cuLinkCreate", 5050): "cuLinkCreate",
        ("cuMemAlloc", 3020): "cuMemAlloc_v2",
        ("cuMemcpyBatchAsync", 12080): "cuMemcpyBatchAsync",
        ("cuStreamBeginCapture", 10000): "cuStreamBeginCapture",
        ("cuStreamGetCaptureInfo", 10010): "cuStreamGetCaptureInfo",
        ("cuStreamGetCaptureInfo", 11030): "cuStreamGetCaptureInfo_v2",
        ("cuStreamGetCaptureInfo", 12030): "cuStreamGetCaptureInfo_v3",
        ("cuStreamWaitValue32", 8000): "cuStreamWaitValue32",
    }
    for (symbol, version), name in asked.items():
        assert find(symbol, version, LEGACY) == (0, name, FOUND)

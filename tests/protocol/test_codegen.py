"""The generator: golden output for a tiny specification, and what it says about bad ones."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.header import prototypes
from protocol.paths import HERE, NATIVE, SPEC, cuda_include
from vgpu.protocol.codegen import coverage
from vgpu.protocol.codegen.__main__ import artifacts, main
from vgpu.protocol.codegen.check import check
from vgpu.protocol.codegen.load import load
from vgpu.protocol.codegen.write import write
from vgpu.protocol.errors import SpecError

TINY = HERE / "tiny"
GOLDEN = HERE / "golden"
MACROS = ["cuEventDestroy", "cuMemcpyHtoD"]


def tiny_artifacts() -> dict[str, str]:
    spec = load(TINY)
    check(spec)
    return {**artifacts(spec, MACROS), "coverage.md": coverage.emit(spec)}


@pytest.mark.parametrize("name", sorted(tiny_artifacts()))
def test_golden_output(name: str) -> None:
    """VGPU_UPDATE_GOLDEN=1 accepts what the generator says now; review the difference."""
    golden = GOLDEN / f"{name}.golden"
    text = tiny_artifacts()[name]
    if os.environ.get("VGPU_UPDATE_GOLDEN"):
        write(golden, text)
    assert text == golden.read_text(encoding="utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {p.name.removesuffix(".golden") for p in GOLDEN.iterdir()} == set(tiny_artifacts())


def test_output_depends_on_the_input_alone() -> None:
    first, second = (artifacts(load(SPEC), MACROS) for _ in range(2))
    assert first == second


def test_writes_only_what_changed(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.h"
    assert write(target, "one\n")
    os.utime(target, (1, 1))
    assert not write(target, "one\n")
    assert target.stat().st_mtime == 1, "what includes it must not be built again"
    assert write(target, "two\n")
    assert target.stat().st_mtime > 1
    assert [p.name for p in target.parent.iterdir()] == ["b.h"]


def test_command_line_writes_everything_the_build_lists(tmp_path: Path) -> None:
    include, output = str(cuda_include()), tmp_path / "generated"
    page = tmp_path / "coverage.md"
    arguments = ["--spec", str(SPEC), "--cuda-include", include]
    assert main([*arguments, "--output", str(output), "--coverage", str(page)]) == 0
    listed = (NATIVE / "cmake" / "Generated.cmake").read_text(encoding="utf-8")
    for path in output.iterdir():
        assert f"/generated/{path.name}" in listed
    assert listed.count("${VGPU_GENERATED_DIR}/generated/") == len(list(output.iterdir()))
    assert page.read_text(encoding="utf-8").count("| `cu") == len(load(SPEC).functions)


def test_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """The build runs the generator before anything is installed."""
    program = "-c", "import vgpu.protocol.codegen.__main__, sys; sys.exit('msgpack' in sys.modules)"
    environment = {"PYTHONPATH": str(SPEC.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, "-S", *program], env=environment, check=True, cwd=tmp_path, timeout=60
    )


@pytest.mark.parametrize("side", ["stub", "softgpu"])
def test_exports_and_symbols_compile_against_the_header(side: str, tmp_path: Path) -> None:
    """The compiler compares each entry point with cuda.h's declaration of it."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler: install g++")
    for name, text in artifacts(load(SPEC), macros()).items():
        write(tmp_path / "generated" / name, text)
    declared = "namespace vgpu::%s { struct ScopedPerThreadDefault { ScopedPerThreadDefault(); };\n"
    header = {"stub": "stub/call.h", "softgpu": "softgpu/driver/per_thread.h"}[side]
    write(tmp_path / header, declared % side + "CUresult unsupported(const char*); }\n")
    for part in ("exports", "symbols"):
        source = tmp_path / "generated" / f"{side}_{part}.cc"
        command = [compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
        command += ["-I", str(tmp_path), "-isystem", str(cuda_include()), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr[:4000]


def macros() -> list[str]:
    from vgpu.protocol.codegen.cpp import versioned_macros

    found = versioned_macros(cuda_include())
    assert "cuMemAlloc" in found
    assert "cuMemAlloc_v2" in prototypes()
    return found


# Text of event.toml, what to put in its place, and what the message must say.
BAD = [
    ('class = "async"', 'class = "later"', "cuEventCreate: class = 'later' is none of 'local'"),
    ("opcode = 0x0102", "opcode = 0x0101", "opcode 0x0101 belongs to cuEventCreate (event.toml)"),
    ("opcode = 0x0102", "opcode = 0x0177", "add `0x0177 cuEventDestroy_v2` to opcodes.lock"),
    ("opcode = 0x0102", "opcode = 0x0107", "0x0107 was given to cuEventGone: take a new one"),
    ("opcode = 0x0102\n", "", "event.toml: cuEventDestroy_v2: opcode is missing"),
    ("opcode = 0x0102", 'opcode = "0x0102"', "cuEventDestroy_v2: opcode must be int"),
    ('stub = "generated"', 'stub = "generatd"', "stub = 'generatd' is none of 'generated'"),
    ('order = "none"\n', "", "cuEventCreate: order is missing"),
    ('order = "none"', 'ordre = "none"', "cuEventCreate: unknown key 'ordre'"),
    ('class = "async"', 'class = "async"\nvia = "cuEventRecord"', "via is for local calls"),
    ('alias = "cuEventDestroy_v2"', 'alias = "cuNo"', "alias of cuNo, which has no entry"),
    (
        'alias = "cuEventDestroy_v2"',
        'alias = "cuEventCreate"',
        "cuEventDestroy: alias of cuEventCreate, whose parameters have other types",
    ),
    (
        'alias = "cuEventDestroy_v2"',
        'alias = "cuEventDestroy_v2"\nstub = "manual"',
        "cuEventDestroy: an alias takes stub from cuEventDestroy_v2",
    ),
    ('handle = "event", create', 'handle = "evnt", create', "phEvent: unknown handle kind 'evnt'"),
    ('dir = "out", handle = "event"', 'dir = "in", handle = "event"', "create is for out handles"),
    (", create = true", "", "phEvent: a generated call cannot return a handle that the driver"),
    ('type = "CUevent*"', 'type = "CUevent"', "parameter phEvent: out needs a pointer"),
    ('length = "count"', 'length = "n"', "parameter values: length names n, which is no parameter"),
    (', length = "count"', "", "parameter values: a generated call needs a length for this"),
    ('"const unsigned int*"', '"const void*"', "a generated call cannot pass const void*"),
    ('executor = "generated"', 'executor = "none"', "a generated stub needs an executor"),
    ('doc = "Creates an event."', 'doc = "Creates an event"', "doc is one sentence that ends in"),
    ("since = 2000", "since = 2", "since is 1000 * major + 10 * minor"),
    ('name = "Flags"', 'name = "phEvent"', "two parameters are called phEvent"),
    ('name = "Flags"', 'name = "Fl ags"', "its name is no C identifier"),
    ('name = "cuEventCreate"', 'name = "eventCreate"', "a name is a C identifier that starts with"),
    ('area = "event"', "area = 3", 'event.toml: needs area = "..."'),
    ('area = "event"', 'area = "event', "event.toml: not TOML"),
    ('area = "event"', 'area = "event"\nother = 1', "event.toml: unknown key 'other'"),
    ('"CU_DEVICE_ATTRIBUTE_M', '"CU_ATTRIBUTE_M', "an attribute is called CU_DEVICE_ATTRIBUTE_..."),
    ('reason = "Not served."', 'reason = "Not served"', "reason is a sentence that ends in a"),
    ("value = 0\n", "", "CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY: value is missing"),
    ('dir = "in" },', 'dir = "inside" },', "dir = 'inside' is none of 'in', 'out', 'inout'"),
]


@pytest.mark.parametrize(("before", "after", "message"), BAD)
def test_bad_specification_is_refused_with_file_and_entry(
    before: str, after: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec"
    shutil.copytree(TINY, spec)
    text = (spec / "event.toml").read_text(encoding="utf-8")
    assert before in text
    (spec / "event.toml").write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        check(load(spec))
    assert str(caught.value).startswith("event.toml: ")
    assert message in str(caught.value)
    assert main(["--spec", str(spec)]) == 1
    assert f"error: {caught.value}\n" == capsys.readouterr().err


def test_a_directory_without_specification_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no specification files"):
        load(tmp_path)


@pytest.mark.parametrize("line", ["0x0101", "event cuEventCreate", "0x0101 cuOther"])
def test_a_broken_opcode_list_is_refused(line: str, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "opcodes.lock").open("a", encoding="utf-8") as lock:
        lock.write(line + "\n")
    with pytest.raises(SpecError, match=r"opcodes\.lock: line \d+: "):
        load(tmp_path)

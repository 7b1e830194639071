"""The committed specification: complete, equal to cuda.h, and append-only."""

import re
from collections.abc import Iterator

import pytest

from protocol.header import prototypes, typedefs
from protocol.paths import HERE, NATIVE, SPEC
from vgpu.protocol.codegen.check import violations
from vgpu.protocol.codegen.load import load
from vgpu.protocol.codegen.model import HANDLES, PLAIN_SCALARS, Function, Spec

#: Exported by drivers, looked up by the CUDA runtime, declared in another header.
NOT_IN_CUDA_H = {"cuProfilerInitialize", "cuProfilerStart", "cuProfilerStop"}


CALLS = [
    line
    for line in (HERE / "inventory.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load(SPEC)


def spellings(function: Function) -> Iterator[str]:
    yield function.name
    if function.per_thread:
        yield f"{function.name}_{function.per_thread}"


def test_keeps_all_rules(spec: Spec) -> None:
    assert list(violations(spec)) == []


def test_has_every_function_of_the_header_and_no_other(spec: Spec) -> None:
    ours = {name for f in spec.functions for name in spellings(f)}
    assert ours - NOT_IN_CUDA_H == set(prototypes())


def test_signatures_equal_the_header(spec: Spec) -> None:
    for f in spec.functions:
        if f.name in NOT_IN_CUDA_H:
            continue
        types = [p.type for p in f.params]
        for name in spellings(f):
            assert types == [kind for kind, _ in prototypes()[name]], name


def test_symbols_and_versions_equal_cuda_typedefs(spec: Spec) -> None:
    ours = {(f.symbol, f.since) for f in spec.functions if f.name not in NOT_IN_CUDA_H}
    theirs = {(row.symbol, row.version) for row in typedefs() if not row.per_thread}
    assert ours == theirs


def test_per_thread_spellings_equal_cuda_typedefs(spec: Spec) -> None:
    ours = {(f.symbol, f.per_thread) for f in spec.functions if f.per_thread}
    theirs = {(row.symbol, row.per_thread) for row in typedefs() if row.per_thread}
    assert ours == theirs


def test_later_abi_versions_are_newer(spec: Spec) -> None:
    by_symbol: dict[str, list[Function]] = {}
    for f in spec.functions:
        by_symbol.setdefault(f.symbol, []).append(f)
    for variants in by_symbol.values():
        ordered = sorted(variants, key=lambda f: f.abi_version)
        assert [f.since for f in ordered] == sorted(f.since for f in variants)


def test_opcodes_are_locked_and_unique(spec: Spec) -> None:
    assert {f.opcode: f.name for f in spec.functions}.items() <= spec.lock.items()
    assert len({f.opcode for f in spec.functions}) == len(spec.functions)


def test_the_area_is_in_the_opcode(spec: Spec) -> None:
    areas: dict[str, set[int]] = {}
    for f in spec.functions:
        areas.setdefault(f.area, set()).add(f.opcode >> 8)
    assert all(len(numbers) == 1 for numbers in areas.values()), areas
    assert len(set.union(*areas.values())) == len(areas)


@pytest.mark.parametrize("name", CALLS)
def test_serves_what_real_programs_call(spec: Spec, name: str) -> None:
    function = spec.function(name)
    assert function is not None
    assert spec.resolve(function).stub != "unsupported"
    assert spec.resolve(function).soft != "unsupported"


def test_generated_calls_pass_no_pointer_without_a_length(spec: Spec) -> None:
    for f in spec.functions:
        if f.alias or "generated" not in (f.stub, f.executor):
            continue
        for p in f.params:
            assert not (p.pointer and p.dir == "in" and not p.length), (f.name, p.name)
            assert p.pointee != "void" or not p.pointer, (f.name, p.name)


def test_handle_kinds_are_those_of_the_wire() -> None:
    text = (NATIVE / "wire" / "handle.h").read_text(encoding="utf-8")
    body = re.search(r"enum class HandleKind : uint8_t \{(.*?)\};", text, re.DOTALL)
    assert body
    ours = {enumerator for enumerator, _ in HANDLES.values() if enumerator}
    assert ours == set(re.findall(r"\b(k\w+)\b", body[1]))


def test_a_handle_parameter_has_the_type_of_its_kind(spec: Spec) -> None:
    for f in spec.functions:
        for p in f.params:
            if p.handle:
                assert p.type.removeprefix("const ").rstrip("*") == HANDLES[p.handle][1], f.name


def test_scalars_of_generated_calls_are_known_or_enumerations(spec: Spec) -> None:
    """Whatever is no plain scalar travels as uint32_t, which is right for enumerations alone."""
    for f in spec.functions:
        if f.alias or "generated" not in (f.stub, f.executor):
            continue
        for p in f.params:
            base = p.pointee if p.pointer else p.type
            if not p.handle and p.length != "nul" and base not in PLAIN_SCALARS:
                assert re.search(rf"typedef enum \w+ \{{[^}}]*\}} {base};", _header()), base


def test_overridden_attributes_are_in_the_header(spec: Spec) -> None:
    declared = set(re.findall(r"CU_DEVICE_ATTRIBUTE_\w+", _header()))
    names = [a.name for a in spec.attributes]
    assert set(names) <= declared
    for needed in ("MANAGED_MEMORY", "PAGEABLE_MEMORY_ACCESS", "CONCURRENT_MANAGED_ACCESS"):
        assert f"CU_DEVICE_ATTRIBUTE_{needed}" in names


def _header() -> str:
    from protocol.header import _preprocessed

    return re.sub(r"\s+", " ", _preprocessed("cuda.h"))

"""Rules that a specification must keep. Each violation names the file and the entry."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vgpu.protocol.codegen.model import HANDLES, PLAIN_SCALARS, Function, Param, Spec
from vgpu.protocol.errors import SpecError

_CHOICES = {
    "class": ("local", "async", "sync"),
    "stub": ("generated", "manual", "unsupported"),
    "executor": ("generated", "manual", "none"),
    "soft": ("manual", "unsupported"),
    "order": ("stream", "legacy", "context", "none"),
    "per_thread": ("", "ptsz", "ptds"),
}
_NAME = re.compile(r"cu[A-Z]\w*\Z")
_ATTRIBUTE = re.compile(r"CU_DEVICE_ATTRIBUTE_[A-Z0-9_]+\Z")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*\Z")


def check(spec: Spec) -> None:
    """Raises SpecError with the first violation, in the order of the entries."""
    for file, entry, problem in violations(spec):
        raise SpecError(file, entry, problem)


def violations(spec: Spec) -> Iterator[tuple[str, str, str]]:
    """Every broken rule as (file, entry, problem)."""
    yield from _uniqueness(spec)
    yield from _locked(spec)
    yield from _attributes(spec)
    for function in spec.functions:
        for problem in _function(spec, function):
            yield function.file, function.name, problem


def _uniqueness(spec: Spec) -> Iterator[tuple[str, str, str]]:
    names: dict[str, Function] = {}
    opcodes: dict[int, Function] = {}
    symbols: dict[tuple[str, int], Function] = {}
    for f in spec.functions:
        if not _NAME.match(f.name):
            yield f.file, f.name, "a name is a C identifier that starts with cu"
        if other := names.get(f.name):
            yield f.file, f.name, f"is already in {other.file}"
        if other := opcodes.get(f.opcode):
            yield f.file, f.name, f"opcode 0x{f.opcode:04x} belongs to {other.name} ({other.file})"
        if other := symbols.get((f.symbol, f.since)):
            yield f.file, f.name, f"{other.name} has the same symbol and version {f.since}"
        names[f.name] = opcodes[f.opcode] = symbols[f.symbol, f.since] = f


def _locked(spec: Spec) -> Iterator[tuple[str, str, str]]:
    known = {f.name: f for f in spec.functions}
    for f in spec.functions:
        locked = spec.lock.get(f.opcode)
        if locked is None:
            yield f.file, f.name, f"add `0x{f.opcode:04x} {f.name}` to opcodes.lock"
        elif locked != f.name:
            yield f.file, f.name, f"opcode 0x{f.opcode:04x} was given to {locked}: take a new one"
    for opcode, name in spec.lock.items():
        if name in known and known[name].opcode != opcode:
            f = known[name]
            yield f.file, name, f"opcode was 0x{opcode:04x}: opcodes never change"


def _attributes(spec: Spec) -> Iterator[tuple[str, str, str]]:
    seen: set[str] = set()
    for a in spec.attributes:
        if not _ATTRIBUTE.match(a.name):
            yield a.file, a.name, "an attribute is called CU_DEVICE_ATTRIBUTE_..."
        if a.name in seen:
            yield a.file, a.name, "is there twice"
        if not a.reason.endswith("."):
            yield a.file, a.name, "reason is a sentence that ends in a period"
        seen.add(a.name)


def _function(spec: Spec, f: Function) -> Iterator[str]:
    if not 0 < f.opcode <= 0xFFFF:
        yield "opcode must fit in 16 bits"
    if not 1000 <= f.since <= 99990:
        yield "since is 1000 * major + 10 * minor"
    if not f.doc.endswith(".") or "\n" in f.doc:
        yield "doc is one sentence that ends in a period"
    for key, value in _values(f).items():
        if value not in _CHOICES[key]:
            yield f"{key} = {value!r} is none of {', '.join(map(repr, _CHOICES[key]))}"
    yield from _alias(spec, f) if f.alias else _body(f)
    if f.via:
        yield from _via(spec, f)
    seen: set[str] = set()
    for p in f.params:
        if p.name in seen:
            yield f"two parameters are called {p.name}"
        seen.add(p.name)
        for problem in _param(f, p):
            yield f"parameter {p.name}: {problem}"


def _values(f: Function) -> dict[str, str]:
    if f.alias:
        return {"per_thread": f.per_thread}
    return {
        "class": f.call_class,
        "stub": f.stub,
        "executor": f.executor,
        "soft": f.soft,
        "order": f.order,
        "per_thread": f.per_thread,
    }


def _alias(spec: Spec, f: Function) -> Iterator[str]:
    target = spec.function(f.alias)
    if target is None:
        yield f"alias of {f.alias}, which has no entry"
    elif target.alias:
        yield f"alias of {f.alias}, which is an alias itself"
    elif [p.type for p in target.params] != [p.type for p in f.params]:
        yield f"alias of {f.alias}, whose parameters have other types"


def _via(spec: Spec, f: Function) -> Iterator[str]:
    target = spec.function(f.via)
    if f.call_class != "local":
        yield "via is for local calls"
    elif target is None or target.executor == "none" or target.alias:
        yield f"via {f.via}, which is no call of the wire"


def _body(f: Function) -> Iterator[str]:
    if f.call_class == "local" and f.executor != "none":
        yield 'a local call has executor = "none"'
    if f.call_class == "local" and f.stub == "generated":
        yield 'a local call has stub = "manual"'
    if f.stub == "generated" and f.executor == "none":
        yield "a generated stub needs an executor"
    if f.stub == "unsupported" and f.executor != "none":
        yield 'an unsupported call has executor = "none"'
    if f.stub not in ("unsupported",) and f.call_class != "local" and f.executor == "none":
        yield f"class {f.call_class} needs an executor"
    if f.order == "stream" and f.stub == "generated" and not _stream(f):
        yield "order is stream, but no parameter is one"


def _stream(f: Function) -> bool:
    return any(p.handle == "stream" and p.dir == "in" and not p.destroy for p in f.params)


def _param(f: Function, p: Param) -> Iterator[str]:
    if not _IDENTIFIER.match(p.name):
        yield "its name is no C identifier"
    if p.dir not in ("in", "out", "inout"):
        yield f"dir = {p.dir!r} is none of 'in', 'out', 'inout'"
    if p.dir != "in" and not p.pointer:
        yield f"{p.dir} needs a pointer"
    if p.handle and p.handle not in HANDLES:
        yield f"unknown handle kind {p.handle!r}"
    if p.create and (p.dir != "out" or not p.handle):
        yield "create is for out handles"
    if p.destroy and (p.dir != "in" or not p.handle or p.pointer):
        yield "destroy is for in handles"
    if p.length and not p.pointer:
        yield "length is for pointers"
    if p.length and p.length != "nul" and not p.length.isdigit():
        counts = [q for q in f.params if q.name == p.length]
        if not counts:
            yield f"length names {p.length}, which is no parameter"
    yield from _generated(f, p)


def _generated(f: Function, p: Param) -> Iterator[str]:
    """What the emitters can marshal by themselves."""
    if "generated" not in (f.stub, f.executor) or not p.pointer:
        return
    if p.dir == "inout":
        yield "a generated call cannot have an inout parameter"
    if p.type.count("*") > 1 or p.pointee == "void":
        yield f"a generated call cannot pass {p.type}"
    if p.dir == "in" and not p.length:
        yield "a generated call needs a length for this pointer"
    if p.dir == "out" and p.length:
        yield "a generated call cannot return an array"
    if p.dir == "out" and p.handle and not p.create:
        yield "a generated call cannot return a handle that the driver chooses"
    if p.dir == "in" and p.length not in ("", "nul") and _is_struct(p):
        yield f"a generated call cannot pass {p.type}"


def _is_struct(p: Param) -> bool:
    return not p.handle and p.pointee not in PLAIN_SCALARS

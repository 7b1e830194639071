"""``stub_marshal.cc``: the stub's bodies that only carry parameters to the executor."""

from __future__ import annotations

from vgpu.protocol.codegen.cpp import BANNER, arguments, scalar_type
from vgpu.protocol.codegen.model import HANDLES, PLAIN_SCALARS, Function, Param, Spec

_SOURCE = """\
#include "generated/stub_api.h"
#include "stub/call.h"

namespace vgpu::stub::api {

using wire::HandleKind;

%(bodies)s
}  // namespace vgpu::stub::api
"""


def emit(spec: Spec) -> str:
    bodies = [_body(f) for f in spec.functions if not f.alias and f.stub == "generated"]
    return BANNER + _SOURCE % {"bodies": "\n".join(bodies)}


def _body(f: Function) -> str:
    outs = [p for p in f.params if p.dir == "out"]
    lines = [f"Call call(Opcode::{f.name});", "if (!call.ok()) return call.result();"]
    for p in f.params:
        if p.pointer and not p.optional and (p.dir == "out" or p.length == "nul"):
            lines.append(f"if ({p.name} == nullptr) return CUDA_ERROR_INVALID_VALUE;")
        elif p.pointer and p.dir == "in" and p.length != "nul":
            null = f"{p.name} == nullptr && {p.length} != 0"
            lines.append(f"if ({null}) return CUDA_ERROR_INVALID_VALUE;")
    ordering = ordering_stream(f)
    for p in f.params:
        lines += [f"call.stream({p.name});"] if p is ordering else _put(p)
    if not outs:
        lines.append("return call.finish();")
    else:
        lines.append("const CUresult result = call.finish();")
        lines += [line for p in outs for line in _take(p)]
        lines.append("return result;")
    text = "".join(f"  {line}\n" for line in lines)
    return f"CUresult {f.name}({arguments(f)}) {{\n{text}}}\n"


def ordering_stream(f: Function) -> Param | None:
    """The stream that travels in the record's header: the first one passed in."""
    streams = (p for p in f.params if p.handle == "stream" and p.dir == "in" and not p.destroy)
    return next(streams, None)


def _put(p: Param) -> list[str]:
    kind = f"HandleKind::{HANDLES[p.handle][0]}" if p.handle else ""
    if p.dir == "out":
        if not p.create:
            return []
        return [f"const uint64_t {p.name}_id = call.create({kind});", f"call.put({p.name}_id);"]
    if p.length == "nul":
        return [f"call.text({p.name});"]
    if p.pointer:
        return [f"call.array({p.name}, {p.length}, sizeof(*{p.name}));"]
    if p.handle == "device":
        return [f"call.put(call.device({p.name}));"]
    if p.destroy:
        return [f"call.put(call.destroy({kind}, {p.name}));"]
    if p.handle:
        return [f"call.put(call.handle({kind}, {p.name}));"]
    if p.type in PLAIN_SCALARS and p.type not in ("size_t", "CUdeviceptr"):
        return [f"call.put({p.name});"]
    return [f"call.put(static_cast<{p.wire_type}>({p.name}));"]


def _take(p: Param) -> list[str]:
    """Stores what the reply holds; a reply carries its payload whatever its result is."""
    if p.create:
        return [f"if (result == CUDA_SUCCESS) *{p.name} = as_handle<{p.pointee}>({p.name}_id);"]
    value = f"static_cast<{scalar_type(p)}>(call.get<{p.wire_type}>())"
    if not p.optional:
        return [f"if (result == CUDA_SUCCESS) *{p.name} = {value};"]
    return [
        f"const auto {p.name}_value = {value};",
        f"if (result == CUDA_SUCCESS && {p.name} != nullptr) *{p.name} = {p.name}_value;",
    ]

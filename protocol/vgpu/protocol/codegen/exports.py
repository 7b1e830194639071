"""``*_api.h`` and ``*_exports.cc``: the entry points of the stub and of the software GPU."""

from __future__ import annotations

from dataclasses import dataclass

from vgpu.protocol.codegen.cpp import BANNER, arguments, names
from vgpu.protocol.codegen.model import Function, Param, Spec


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two driver libraries that have the same entry points."""

    namespace: str  # vgpu::<namespace>
    include: str  # declares unsupported() and ScopedPerThreadDefault

    def supported(self, f: Function) -> bool:
        return (f.stub if self.namespace == "stub" else f.soft) != "unsupported"


STUB = Side("stub", "stub/call.h")
SOFTGPU = Side("softgpu", "softgpu/driver/per_thread.h")
SIDES = (STUB, SOFTGPU)

_API = """\
// Bodies of the entry points: one function for each call that this library serves. Those marked
// `generated` are in stub_marshal.cc; the others are written by hand, in the file of their area.
#pragma once

#include "generated/opcode.h"

namespace vgpu::%(namespace)s::api {

%(declarations)s

}  // namespace vgpu::%(namespace)s::api
"""

_EXPORTS = """\
// All ABI variants of cuda.h, and default visibility for what it declares.
#define __CUDA_API_VERSION_INTERNAL 1
#define __CUDA_API_VERSION_INTERNAL_ODR 1
#define __CUDA_API_PUSH_VISIBILITY_DEFAULT 1
#include "generated/%(namespace)s_api.h"

#include "%(include)s"

#define VGPU_EXPORT __attribute__((visibility("default")))

namespace {

using vgpu::%(namespace)s::ScopedPerThreadDefault;
using vgpu::%(namespace)s::unsupported;
namespace api = vgpu::%(namespace)s::api;

// No exception crosses the C interface: one that escapes a body ends the process here.
template <auto Body, typename... Arguments>
inline CUresult guarded(Arguments... arguments) noexcept {
  return Body(arguments...);
}

// The default stream of a per-thread spelling.
[[maybe_unused]] inline CUstream per_thread(CUstream stream) {
  return stream != nullptr ? stream : CU_STREAM_PER_THREAD;
}

}  // namespace

extern "C" {

%(functions)s
}  // extern "C"
"""


def api(spec: Spec, side: Side) -> str:
    lines = [
        f"CUresult {f.name}({arguments(f)});"
        for f in spec.functions
        if not f.alias and side.supported(f)
    ]
    return BANNER + _API % {"namespace": side.namespace, "declarations": "\n".join(lines)}


def exports(spec: Spec, side: Side) -> str:
    functions = []
    for f in spec.functions:
        functions.append(_export(spec, side, f, ""))
        if f.per_thread:
            functions.append(_export(spec, side, f, f"_{f.per_thread}"))
    values = {"namespace": side.namespace, "include": side.include}
    return BANNER + _EXPORTS % {**values, "functions": "\n".join(functions)}


def _export(spec: Spec, side: Side, f: Function, suffix: str) -> str:
    head = f"VGPU_EXPORT CUresult {f.name}{suffix}({arguments(f)}) {{\n"
    body = spec.resolve(f)
    if not side.supported(body):
        silenced = "".join(f"  (void){p.name};\n" for p in f.params)
        return head + silenced + f'  return unsupported("{f.name}{suffix}");\n}}\n'
    lines, passed = _per_thread(f) if suffix else ([], names(f))
    text = "".join(f"  {line}\n" for line in lines)
    return head + text + f"  return guarded<&api::{body.name}>({passed});\n}}\n"


def _per_thread(f: Function) -> tuple[list[str], str]:
    """Lines in front of the call, and the arguments, of a _ptsz or _ptds spelling."""
    if f.per_thread == "ptsz":
        if any(p.type == "CUstream" for p in f.params):
            return [], ", ".join(_stream_argument(p) for p in f.params)
        configs = [p for p in f.params if p.type == "const CUlaunchConfig*"]
        if configs:
            name = configs[0].name
            lines = [
                f"if ({name} == nullptr) return CUDA_ERROR_INVALID_VALUE;",
                f"CUlaunchConfig copy = *{name};",
                "copy.hStream = per_thread(copy.hStream);",
            ]
            passed = (
                "static_cast<const CUlaunchConfig*>(&copy)" if p is configs[0] else p.name
                for p in f.params
            )
            return lines, ", ".join(passed)
    return ["ScopedPerThreadDefault scope;"], names(f)


def _stream_argument(p: Param) -> str:
    return f"per_thread({p.name})" if p.type == "CUstream" else p.name

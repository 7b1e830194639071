"""``executor_api.h`` and ``executor_dispatch.cc``: handlers of records, and how they are found."""

from __future__ import annotations

from vgpu.protocol.codegen.cpp import BANNER, scalar_type
from vgpu.protocol.codegen.model import Function, Param, Spec
from vgpu.protocol.codegen.stub_marshal import ordering_stream

_SIGNATURE = "Session& session, const Command& command, wire::Reader& in, wire::Writer& out"

_HEADER = """\
// One handler for each call that travels. Those marked `generated` are in executor_dispatch.cc; the
// others are written by hand, in the file of their area.
#pragma once

#include "executor/session.h"
#include "generated/opcode.h"

namespace vgpu::executor {

// Decodes one record from `in`, executes it, and appends what its reply holds to `out`.
using Handler = CUresult (*)(%(signature)s);

// Null for a number that is no call of the wire.
Handler find_handler(Opcode opcode);

namespace handlers {

%(declarations)s

}  // namespace handlers
}  // namespace vgpu::executor
"""

_SOURCE = """\
#include <cstring>
#include <string>
#include <vector>

#include "generated/driver_table.h"
#include "generated/executor_api.h"

namespace vgpu::executor {
namespace {

// An array as it travels, aligned.
template <typename T>
[[maybe_unused]] std::vector<T> elements(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

}  // namespace

namespace handlers {

%(bodies)s
}  // namespace handlers

Handler find_handler(Opcode opcode) {
  switch (opcode) {
%(cases)s
    default:
      return nullptr;
  }
}

}  // namespace vgpu::executor
"""


def header(spec: Spec) -> str:
    lines = "\n".join(f"CUresult {f.name}({_SIGNATURE});" for f in spec.wire_calls)
    return BANNER + _HEADER % {"signature": _SIGNATURE, "declarations": lines}


def source(spec: Spec) -> str:
    bodies = "\n".join(_body(f) for f in spec.wire_calls if f.executor == "generated")
    cases = "\n".join(
        f"    case Opcode::{f.name}:\n      return handlers::{f.name};" for f in spec.wire_calls
    )
    return BANNER + _SOURCE % {"bodies": bodies, "cases": cases}


def _body(f: Function) -> str:
    ordering = ordering_stream(f)
    decode = [line for p in f.params for line in _decode(p, p is ordering)]
    outs = [p for p in f.params if p.dir == "out"]
    resolves = any(p.handle and p.handle != "stream" and p.dir == "in" for p in f.params)
    resolves = resolves or ordering is not None
    # failed() also clears: ask in any case, so that a truncated record leaves nothing behind.
    lines = [*decode, *(["const bool unknown = session.failed();"] if resolves else [])]
    lines.append("if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;")
    lines += ["if (unknown) return CUDA_ERROR_INVALID_HANDLE;"] if resolves else []
    for p in f.params:
        if p.pointer and p.dir == "in" and p.length != "nul":
            # The driver believes the count, so that the count must be the array's.
            lines.append(f"if ({p.name}.size() != {p.length}) return CUDA_ERROR_INVALID_VALUE;")
    lines += [f"{scalar_type(p)} {p.name}{{}};" for p in outs]
    lines.append(f"const auto function = session.driver().{f.name};")
    lines.append("if (function == nullptr) return CUDA_ERROR_NOT_SUPPORTED;")
    passed = ", ".join(_argument(p) for p in f.params)
    after = [line for p in f.params for line in _after(p)]
    if after:
        lines += [f"const CUresult result = function({passed});", *after, "return result;"]
    else:
        lines.append(f"return function({passed});")
    unused = _unused(lines)
    text = "".join(f"  {line}\n" for line in unused + lines)
    return f"CUresult {f.name}({_SIGNATURE}) {{\n{text}}}\n"


def _unused(lines: list[str]) -> list[str]:
    text = "\n".join(lines)
    uses = {"command": "command.header", "out": "out.put"}
    return [f"(void){name};" for name, use in uses.items() if use not in text]


def _decode(p: Param, ordering: bool) -> list[str]:
    if p.dir == "out":
        return [f"const auto {p.name}_id = in.get<uint64_t>();"] if p.create else []
    if ordering:
        return [f"const auto {p.name} = session.stream(command.header.stream);"]
    if p.length == "nul":
        return [f"const std::string {p.name}(in.text());"]
    if p.pointer and p.handle:
        return [
            f"std::vector<{p.pointee}> {p.name};",
            "for (uint64_t id : elements<uint64_t>(in.array(sizeof(uint64_t)))) {",
            f"  {p.name}.push_back(session.resolve<{p.pointee}>(id));",
            "}",
        ]
    if p.pointer:
        return [f"const auto {p.name} = elements<{p.pointee}>(in.array(sizeof({p.pointee})));"]
    if p.handle == "device":
        return [f"const auto {p.name} = session.device(in.get<uint32_t>());"]
    if p.handle:
        # A physical allocation is an integer to the driver: its type does not tell its kind.
        find = "allocation" if p.handle == "mem_allocation" else f"resolve<{p.type}>"
        return [
            f"const auto {p.name}_id = in.get<uint64_t>();",
            f"const auto {p.name} = session.{find}({p.name}_id);",
        ]
    return [f"const auto {p.name} = static_cast<{p.type}>(in.get<{p.wire_type}>());"]


def _argument(p: Param) -> str:
    if p.dir == "out":
        return f"&{p.name}"
    if p.length == "nul":
        return f"{p.name}.c_str()"
    return f"{p.name}.data()" if p.pointer else p.name


def _after(p: Param) -> list[str]:
    if p.create:
        return [f"if (result == CUDA_SUCCESS) session.bind({p.name}_id, {p.name});"]
    if p.dir == "out":
        return [f"out.put(static_cast<{p.wire_type}>({p.name}));"]
    if p.destroy:
        return [f"if (result == CUDA_SUCCESS) session.forget({p.name}_id);"]
    return []

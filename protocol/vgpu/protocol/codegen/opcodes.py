"""``opcode.h``: the enumeration of calls and the facts about each."""

from __future__ import annotations

from vgpu.protocol.codegen.cpp import BANNER
from vgpu.protocol.codegen.model import Function, Spec

_HEAD = """\
// The calls of the protocol. Including this header also removes the macros with which cuda.h maps
// old names to newer ABI names: from here on a function is written with its exported name.
#pragma once

#include <cuda.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

"""

_TYPES = """
namespace vgpu {

enum class Opcode : uint16_t {
%(enumerators)s
};

enum class CallClass : uint8_t {
  kLocal,  // answered by the client alone
  kAsync,  // appended to the command stream, returns at once
  kSync,   // waits for the reply
};

// Which queue of the executor keeps a call in order.
enum class CallOrder : uint8_t {
  kNone,     // handled when it is decoded
  kStream,   // behind the earlier work of its stream
  kLegacy,   // behind all blocking streams of its context
  kContext,  // behind all work of its context
};

struct CallInfo {
  Opcode opcode;
  const char* name;
  CallClass call_class;
  CallOrder order;
  bool blocking;  // may block in the driver: run it on a helper thread
  bool on_wire;   // has an executor handler
  int since;      // CUDA version of this ABI name
  bool needs_context;  // fails with CUDA_ERROR_INVALID_CONTEXT when the thread has none
};

inline constexpr CallInfo kCalls[] = {
%(rows)s
};
inline constexpr size_t kCallCount = std::size(kCalls);

// Null for a number that names no call.
inline const CallInfo* call_info(Opcode opcode) {
  const CallInfo* end = kCalls + kCallCount;
  const CallInfo* found = std::lower_bound(
      kCalls, end, opcode, [](const CallInfo& call, Opcode value) { return call.opcode < value; });
  return found != end && found->opcode == opcode ? found : nullptr;
}
inline const char* call_name(Opcode opcode) {
  const CallInfo* info = call_info(opcode);
  return info != nullptr ? info->name : "unknown call";
}

}  // namespace vgpu
"""


def emit(spec: Spec, macros: list[str]) -> str:
    """The header, with the calls in the order of their opcodes."""
    undefs = "".join(f"#undef {name}\n" for name in macros)
    enumerators = "\n".join(f"  {f.name} = 0x{f.opcode:04x}," for f in spec.functions)
    rows = "\n".join(_row(spec, f) for f in spec.functions)
    return BANNER + _HEAD + undefs + _TYPES % {"enumerators": enumerators, "rows": rows}


def _row(spec: Spec, f: Function) -> str:
    body = spec.resolve(f)
    on_wire = not f.alias and f.executor != "none"
    return (
        f'    {{Opcode::{f.name}, "{f.name}", CallClass::k{body.call_class.capitalize()}, '
        f"CallOrder::k{body.order.capitalize()}, {_bool(body.blocking)}, {_bool(on_wire)}, "
        f"{f.since}, {_bool(body.needs_context)}}},"
    )


def _bool(value: bool) -> str:
    return "true" if value else "false"

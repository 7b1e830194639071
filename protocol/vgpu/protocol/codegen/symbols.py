"""``*_symbols.cc``: cuGetProcAddress, from symbol, version and flags to an entry point."""

from __future__ import annotations

from vgpu.protocol.codegen.cpp import BANNER, arguments
from vgpu.protocol.codegen.exports import Side
from vgpu.protocol.codegen.model import Spec

_SOURCE = """\
#define __CUDA_API_VERSION_INTERNAL 1
#define __CUDA_API_VERSION_INTERNAL_ODR 1
#include "generated/opcode.h"

#include <cstring>
#include <iterator>

extern "C" {
%(declarations)s
}  // extern "C"

namespace {

using Entry = void (*)();

// Sorted by symbol, then by version.
struct Row {
  const char* symbol;
  int since;  // CUDA version of this ABI name
  Entry entry;
  Entry per_thread;  // its per-thread-default-stream spelling, or null
};

#define VGPU_ENTRY(name) reinterpret_cast<Entry>(&::name)
const Row kRows[] = {
%(rows)s
};
#undef VGPU_ENTRY

}  // namespace

namespace vgpu::%(namespace)s {

// The highest ABI version not above `version`; flag 2 takes the per-thread spelling if there is
// one. As cuda.h says, an unknown symbol is CUDA_SUCCESS with a null entry and a status.
CUresult find_symbol(const char* symbol, int version, uint64_t flags, void** entry,
                     CUdriverProcAddressQueryResult* status) {
  if (symbol == nullptr || entry == nullptr || flags > 2) return CUDA_ERROR_INVALID_VALUE;
  *entry = nullptr;
  CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  const Row* row = std::lower_bound(
      std::begin(kRows), std::end(kRows), symbol,
      [](const Row& left, const char* right) { return std::strcmp(left.symbol, right) < 0; });
  for (; row != std::end(kRows) && std::strcmp(row->symbol, symbol) == 0; ++row) {
    if (row->since > version) {
      if (*entry == nullptr) found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
      break;
    }
    const bool spelled = flags == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    const Entry chosen = spelled && row->per_thread != nullptr ? row->per_thread : row->entry;
    *entry = reinterpret_cast<void*>(chosen);
    found = CU_GET_PROC_ADDRESS_SUCCESS;
  }
  if (status != nullptr) *status = found;
  return CUDA_SUCCESS;
}

}  // namespace vgpu::%(namespace)s
"""


def emit(spec: Spec, side: Side) -> str:
    ordered = sorted(spec.functions, key=lambda f: (f.symbol.encode(), f.since))
    rows, declarations = [], []
    for f in ordered:
        declarations.append(f"CUresult {f.name}({arguments(f)});")
        if f.per_thread:
            declarations.append(f"CUresult {f.name}_{f.per_thread}({arguments(f)});")
        spelled = f"VGPU_ENTRY({f.name}_{f.per_thread})" if f.per_thread else "nullptr"
        rows.append(f'    {{"{f.symbol}", {f.since}, VGPU_ENTRY({f.name}), {spelled}}},')
    return BANNER + _SOURCE % {
        "declarations": "\n".join(declarations),
        "rows": "\n".join(rows),
        "namespace": side.namespace,
    }

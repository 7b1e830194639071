"""``driver_table.h`` and ``driver_table.cc``: the driver's functions, found by dlsym."""

from __future__ import annotations

from vgpu.protocol.codegen.cpp import BANNER, types
from vgpu.protocol.codegen.model import Spec

_HEADER = """\
// Function pointers into the driver library that an executor drives.
#pragma once

#include <string>

#include "generated/opcode.h"

namespace vgpu::executor {

struct DriverTable {
%(members)s

  // Fills the table from a library that dlopen gave. A function that the driver lacks stays null:
  // its calls answer CUDA_ERROR_NOT_SUPPORTED. False if one is absent that nothing works without;
  // `missing` then names all of those.
  bool load(void* library, std::string& missing);
};

}  // namespace vgpu::executor
"""

_SOURCE = """\
#include "generated/driver_table.h"

#include <dlfcn.h>

namespace vgpu::executor {
namespace {

struct Row {
  const char* name;
  bool required;
  void (*set)(DriverTable&, void*);
};

template <auto Member>
void set(DriverTable& table, void* address) {
  using Pointer = std::remove_reference_t<decltype(table.*Member)>;
  table.*Member = reinterpret_cast<Pointer>(address);
}

constexpr Row kRows[] = {
%(rows)s
};

}  // namespace

bool DriverTable::load(void* library, std::string& missing) {
  missing.clear();
  for (const Row& row : kRows) {
    void* address = dlsym(library, row.name);
    row.set(*this, address);
    if (address != nullptr || !row.required) continue;
    if (!missing.empty()) missing += ", ";
    missing += row.name;
  }
  return missing.empty();
}

}  // namespace vgpu::executor
"""


def header(spec: Spec) -> str:
    members = "\n".join(
        f"  CUresult (*{f.name})({types(f)}) = nullptr;"
        for f in spec.functions
        if f.in_driver_table
    )
    return BANNER + _HEADER % {"members": members}


def source(spec: Spec) -> str:
    rows = "\n".join(
        f'    {{"{f.name}", {"true" if f.required else "false"}, set<&DriverTable::{f.name}>}},'
        for f in spec.functions
        if f.in_driver_table
    )
    return BANNER + _SOURCE % {"rows": rows}

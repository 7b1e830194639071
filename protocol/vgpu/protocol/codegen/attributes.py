"""``device_attributes.h``: what the client answers whatever the driver says."""

from __future__ import annotations

from vgpu.protocol.codegen.cpp import BANNER
from vgpu.protocol.codegen.model import Spec

_HEADER = """\
// Device attributes that the client answers by itself, because what they promise is not served.
#pragma once

#include <cuda.h>

namespace vgpu {

struct AttributeOverride {
  CUdevice_attribute attribute;
  int value;
};

inline constexpr AttributeOverride kAttributeOverrides[] = {
%(rows)s
};

}  // namespace vgpu
"""


def emit(spec: Spec) -> str:
    """The header; an empty table is not valid C++, and never wanted."""
    rows = "\n".join(f"    // {a.reason}\n    {{{a.name}, {a.value}}}," for a in spec.attributes)
    return BANNER + _HEADER % {"rows": rows}

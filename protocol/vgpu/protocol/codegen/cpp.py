"""Small pieces of C++ text that several emitters need."""

from __future__ import annotations

import re
from pathlib import Path

from vgpu.protocol.codegen.model import Function, Param

BANNER = "// Generated from protocol/spec by vgpu.protocol.codegen. Not committed; do not edit.\n"


def arguments(function: Function) -> str:
    """The parameter list of a declaration, verbatim from the spec."""
    return ", ".join(f"{p.type} {p.name}" for p in function.params) or ""


def types(function: Function) -> str:
    """The parameter types alone."""
    return ", ".join(p.type for p in function.params)


def names(function: Function) -> str:
    """The parameter names alone."""
    return ", ".join(p.name for p in function.params)


def scalar_type(p: Param) -> str:
    """The C type of a value, or of what an out pointer points to."""
    return p.pointee if p.pointer else p.type


def versioned_macros(cuda_include: Path) -> list[str]:
    """Names that cuda.h redefines (cuMemAlloc -> cuMemAlloc_v2), and that we need plain."""
    text = (cuda_include / "cuda.h").read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^[ \t]*#[ \t]*define[ \t]+(cu[A-Z]\w*)[ \t]", text, re.MULTILINE)
    return sorted(set(found))

"""Turns ``protocol/spec`` into C++: load, check, emit.

Run as ``python -m vgpu.protocol.codegen --spec DIR --cuda-include DIR --output DIR``. Standard
library only; the output depends on the inputs alone, byte for byte.
"""

"""Errors of ``vgpu.protocol``.

ProtocolError
├── MessageError      a control message that cannot be decoded or breaks its schema
├── VersionMismatch   the other end speaks another major version
└── SpecError         a mistake in the API specification; names the file and the entry
"""

from __future__ import annotations


class ProtocolError(Exception):
    """Base of all errors of this package."""


class MessageError(ProtocolError, ValueError):
    """A control message that cannot be decoded or breaks its schema; the text names the field."""


class VersionMismatch(ProtocolError):
    """The other end speaks another major version; the text names both and the fix."""


class SpecError(ProtocolError):
    """A mistake in the API specification."""

    def __init__(self, file: str, entry: str, problem: str) -> None:
        self.file = file
        self.entry = entry
        self.problem = problem
        super().__init__(f"{file}: {entry}: {problem}" if entry else f"{file}: {problem}")

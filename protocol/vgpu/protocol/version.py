"""The protocol's version, and the rule by which two ends agree on one."""

from __future__ import annotations

from dataclasses import dataclass

from vgpu.protocol.errors import VersionMismatch


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """A protocol version. Another major is another language; minors only ever add."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


#: What this build speaks. SYNC: wire/record.h kMajor, kMinor.
CURRENT = Version(1, 1)


def negotiate(ours: Version, theirs: Version) -> Version:
    """The version both ends use from now on: the lower minor of one major.

    Raises VersionMismatch, whose message names both versions and the fix.
    """
    if ours.major != theirs.major:
        older = "client" if theirs.major < ours.major else "worker"
        raise VersionMismatch(
            f"the worker speaks protocol {ours}, the client {theirs}: "
            f"upgrade the {older} to the same major version of vgpu"
        )
    return min(ours, theirs)

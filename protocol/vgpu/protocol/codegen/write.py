"""Writes outputs so that unchanged files do not cause a rebuild of what includes them."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, text: str) -> bool:
    """Writes `text` if the file differs from it; True if it did.

    An unchanged file keeps its time stamp: CMake's rules for ninja have `restat`, so that nothing
    that depends on it is built again, and the generator itself not before its inputs change.
    """
    data = text.encode("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() == data:
        return False
    scratch = path.with_name(path.name + ".new")
    scratch.write_bytes(data)
    scratch.replace(path)
    return True

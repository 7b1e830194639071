"""Writes outputs so that unchanged files do not cause a rebuild of what includes them."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, text: str) -> bool:
    """Writes `text` if the file differs from it; True if it did.

    An unchanged file is left alone by content; its time stamp is renewed, since ninja would run the
    generator again and again otherwise.
    """
    data = text.encode("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() == data:
        path.touch()
        return False
    scratch = path.with_name(path.name + ".new")
    scratch.write_bytes(data)
    scratch.replace(path)
    return True

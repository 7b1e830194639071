"""Pod annotations as the Kubernetes downward API writes them into a file.

One line per annotation: `key="value"`, the value quoted as Go's `strconv.Quote` does. Keys without
our prefix belong to others and are skipped; with it, the rest of the key names a workload setting.
"""

from __future__ import annotations

import re
from pathlib import Path

from vgpu.worker.errors import ConfigError

DEFAULT_PREFIX = "tensor-fusion.ai/"

_SIMPLE_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_LINE = re.compile(r'\s*([^\s="]+)="((?:[^"\\]|\\.)*)"\s*')
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)")


def unquote(text: str) -> str:
    """Undoes the escapes of a Go string literal (without its quotes); ValueError when malformed."""

    def replace(match: re.Match[str]) -> str:
        body = match.group(1)
        if body[0] in _HEX_DIGITS and len(body) == 1 + _HEX_DIGITS[body[0]]:
            code = int(body[1:], 16)
            if code > 0x10FFFF:
                raise ValueError(f"\\{body} is not a character")
            return chr(code)
        if len(body) == 3:
            return chr(int(body, 8))
        if body not in _SIMPLE_ESCAPES:
            raise ValueError(f"unknown escape \\{body}")
        return _SIMPLE_ESCAPES[body]

    return _ESCAPE.sub(replace, text)


def parse_annotations(text: str, *, origin: str = "annotations") -> dict[str, str]:
    """All annotations of a downward-API file; ConfigError names the line that is malformed."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ConfigError(
                f'{origin}: line {number} is not of the form key="value" '
                "(the file of a downward-API volume with fieldPath metadata.annotations)"
            )
        key = match.group(1)
        if key in found:
            raise ConfigError(f"{origin}: line {number} repeats the annotation {key}")
        try:
            found[key] = unquote(match.group(2))
        except ValueError as error:
            raise ConfigError(f"{origin}: line {number}: {error}") from error
    return found


def select(annotations: dict[str, str], prefix: str) -> dict[str, str]:
    """The annotations with our prefix, without it."""
    return {
        key.removeprefix(prefix): value
        for key, value in annotations.items()
        if key.startswith(prefix)
    }


def read_annotations(path: Path, prefix: str = DEFAULT_PREFIX) -> dict[str, str]:
    """The workload settings in a downward-API file, by their names without the prefix."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the annotations file {path}: {error}") from error
    return select(parse_annotations(text, origin=str(path)), prefix)

"""Kubernetes quantities: `4Gi`, `500m`, `1e9`.

Source: the serialization format of `resource.Quantity` in the Kubernetes API documentation. Values
are exact rationals; nothing passes through floating point.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil

_SUFFIXES: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}

_PATTERN = re.compile(
    r"([+-]?)(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)"
)

# Longer texts cannot be meant seriously, and exact arithmetic on them would cost time.
_MAX_LENGTH = 64


def parse_quantity(text: str) -> Fraction:
    """The exact value of a Kubernetes quantity; ValueError when it is not one."""
    match = _PATTERN.fullmatch(text) if text.isascii() and len(text) <= _MAX_LENGTH else None
    if match is None:
        raise ValueError(
            f"{text[:_MAX_LENGTH]!r} is not a Kubernetes quantity such as 4Gi, 500M or 1.5"
        )
    sign, digits, exponent, suffix = match.groups()
    value = Fraction(digits if not digits.startswith(".") else "0" + digits)
    value *= Fraction(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""]
    return -value if sign == "-" else value


def parse_bytes(text: str) -> int:
    """A positive number of bytes; fractions of a byte are rounded up, as Kubernetes does."""
    value = parse_quantity(text)
    if value <= 0:
        raise ValueError(f"{text!r} is not a positive amount of memory")
    return ceil(value)


def format_bytes(count: int) -> str:
    """The shortest exact binary form of a byte count: 1073741824 -> `1Gi`."""
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        unit = int(_SUFFIXES[suffix])
        if count >= unit and count % unit == 0:
            return f"{count // unit}{suffix}"
    return str(count)

"""PTX types as NumPy arrays, and the operand values that tests draw.

Floating-point values are bit patterns (unsigned integers of their width): a test chooses how to
read them. A predicate is 0 or 1 in 32 bits; 128 bits are two 64-bit words, the low one first.
"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import strategies as st

WIDTHS = {
    "b8": 8, "u8": 8, "s8": 8, "e4m3": 8, "e5m2": 8,
    "b16": 16, "u16": 16, "s16": 16, "f16": 16, "bf16": 16, "e4m3x2": 16, "e5m2x2": 16,
    "b32": 32, "u32": 32, "s32": 32, "f32": 32, "tf32": 32, "f16x2": 32, "bf16x2": 32,
    "u16x2": 32, "s16x2": 32, "pred": 32,
    "b64": 64, "u64": 64, "s64": 64, "f64": 64, "f32x2": 64,
    "b128": 128,
}  # fmt: skip

_FLOATS = {"f16": (5, 10), "bf16": (8, 7), "f32": (8, 23), "tf32": (8, 23), "f64": (11, 52)}
MOST_EDGES = 1200  # tuples of edge values in one launch


def is_signed(kind: str) -> bool:
    return kind in ("s8", "s16", "s32", "s64")


def dtype_of(kind: str) -> np.dtype:
    if kind == "b128":
        return np.dtype("2u8")
    return np.dtype(f"{'i' if is_signed(kind) else 'u'}{WIDTHS[kind] // 8}")


def wrap(kind: str, value: int) -> int:
    """The value that a register of this type holds: cut to its width, sign extended if signed."""
    if kind == "pred":
        return value & 1
    width = WIDTHS[kind]
    value &= (1 << width) - 1
    return value - (1 << width) if is_signed(kind) and value >> (width - 1) else value


def array_of(kind: str, values: Iterable[int]) -> np.ndarray:
    wrapped = [wrap(kind, v) for v in values]
    if kind == "b128":
        words = [(v & (1 << 64) - 1, v >> 64) for v in wrapped]
        return np.array(words, np.uint64).reshape(-1, 2)
    return np.array(wrapped, dtype_of(kind))


def integers_of(kind: str, array: np.ndarray) -> list[int]:
    """Python integers of an array: what a model of one lane is given."""
    if kind == "b128":
        return [low | high << 64 for low, high in array.tolist()]
    return array.tolist()


def float_edges(kind: str) -> list[int]:
    """Zeros, ones, denormals, the largest, infinities, NaNs quiet and signalling; both signs."""
    exponent, mantissa = _FLOATS[kind]
    top = (1 << exponent) - 1
    bias = top >> 1
    positive = [
        0,
        1,  # the smallest denormal
        (1 << mantissa) - 1,  # the largest denormal
        1 << mantissa,  # the smallest normal
        bias << mantissa,  # 1
        bias << mantissa | 1,
        (bias - 1) << mantissa,  # 0.5
        (bias + 1) << mantissa | 1 << (mantissa - 1),  # 3
        (top << mantissa) - 1,  # the largest
        top << mantissa,  # infinity
        top << mantissa | 1,  # a signalling NaN
        top << mantissa | 1 << (mantissa - 1) | 5,  # a quiet NaN with a payload
    ]
    sign = 1 << (exponent + mantissa)
    return positive + [p | sign for p in positive]


def edges_of(kind: str) -> list[int]:
    """Values of a type at which instructions go wrong."""
    if kind == "pred":
        return [0, 1]
    if kind in _FLOATS:
        return float_edges(kind)
    if kind in ("f16x2", "bf16x2", "f32x2"):
        half = kind[:-2]
        values = float_edges(half)
        turned = values[7:] + values[:7]
        return [low | high << WIDTHS[half] for low, high in zip(values, turned, strict=True)]
    width = WIDTHS[kind]
    top = 1 << (width - 1)
    patterns = [0, 1, 2, -1, -2, top, top - 1, top + 1, 0x55, width - 1, width, width + 1]
    patterns += [0x0123456789ABCDEF, 0x80008000, 0x7F80FF01]
    return sorted({wrap(kind, p) for p in patterns})


def edge_tuples(domains: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Every combination of edge values; evenly thinned out when there are too many."""
    total = 1
    for domain in domains:
        total *= len(domain)
    step = max(1, total // MOST_EDGES | 1)  # odd, so that no operand is stuck on one value
    return list(itertools.islice(itertools.product(*domains), 0, None, step))


def random_values(kind: str, domain: Sequence[int], seed: int, count: int) -> list[int]:
    """Seeded values: whole-range bits, bits of a random length, and edge values among them."""
    generator = np.random.Generator(np.random.PCG64(seed))
    width = WIDTHS[kind]
    raw = generator.bytes(count * width // 8)
    size = width // 8
    values = [int.from_bytes(raw[i * size : (i + 1) * size], "little") for i in range(count)]
    choice = generator.integers(0, 8, count).tolist()
    length = generator.integers(0, width, count).tolist()
    pick = generator.integers(0, len(domain), count).tolist()
    for i in range(count):
        if choice[i] == 0:
            values[i] = domain[pick[i]]
        elif choice[i] <= 2:
            values[i] >>= length[i]
        elif choice[i] == 3:
            values[i] = -(values[i] >> length[i])
    return [wrap(kind, v) for v in values]


@st.composite
def batches(
    draw: st.DrawFn, kinds: Sequence[str], domains: Sequence[Sequence[int]], count: int
) -> list[list[int]]:
    """One column of values per operand: ``count`` seeded tuples and a few that hypothesis draws."""
    seed = draw(st.integers(0, 2**32 - 1))
    tuples = draw(st.integers(0, 8))
    columns = []
    for i, (kind, domain) in enumerate(zip(kinds, domains, strict=True)):
        size = WIDTHS[kind] // 8
        raw = draw(st.binary(min_size=tuples * size, max_size=tuples * size))
        drawn = [
            wrap(kind, int.from_bytes(raw[k * size : (k + 1) * size], "little"))
            for k in range(tuples)
        ]
        columns.append(drawn + random_values(kind, domain, seed + i * 0x9E3779B9, count))
    return columns

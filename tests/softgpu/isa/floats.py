"""Floating point by exact integer arithmetic: what PTX instructions must return, bit for bit.

A number is sign * m * 2^e with integers m and e, and a sticky bit for what lies below it; results
are exact until ``Format.round``, which knows every rounding mode. Nothing here uses the host's
floating point.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

MODES: Final = ("rn", "rz", "rm", "rp")


class Number(NamedTuple):
    kind: str  # "nan", "inf" or "finite"
    negative: bool = False
    m: int = 0
    e: int = 0
    sticky: bool = False  # something non-zero below the last bit of m

    @property
    def zero(self) -> bool:
        return self.kind == "finite" and self.m == 0 and not self.sticky


NAN: Final = Number("nan")


@dataclasses.dataclass(frozen=True, eq=False)
class Format:
    """A binary format; without ``infinity`` its top exponent holds numbers."""

    exponent: int
    mantissa: int
    nan: int | None  # the NaN that instructions return; None: any of the format's
    infinity: bool = True
    largest: int = 0  # finite, as bits; 0: the usual one

    @functools.cached_property
    def width(self) -> int:
        return 1 + self.exponent + self.mantissa

    @functools.cached_property
    def sign(self) -> int:
        return 1 << (self.width - 1)

    @functools.cached_property
    def bias(self) -> int:
        return (1 << (self.exponent - 1)) - 1

    @functools.cached_property
    def infinite(self) -> int:
        return ((1 << self.exponent) - 1) << self.mantissa

    @functools.cached_property
    def most(self) -> int:
        return self.largest or self.infinite - 1

    @functools.lru_cache(maxsize=1 << 18)  # noqa: B019 (formats live as long as the module)
    def decode(self, bits: int) -> Number:
        negative, magnitude = bool(bits & self.sign), bits & (self.sign - 1)
        if magnitude > self.most:
            return Number("inf", negative) if self.infinity and magnitude == self.infinite else NAN
        field, fraction = magnitude >> self.mantissa, magnitude & ((1 << self.mantissa) - 1)
        m = fraction | (1 << self.mantissa if field else 0)
        return Number("finite", negative, m, max(field, 1) - self.bias - self.mantissa)

    def round(self, x: Number, mode: str = "rn", *, finite: bool = False) -> int:
        """Bits of ``x`` in this format. ``finite``: what is too large becomes the largest."""
        sign = self.sign if x.negative else 0
        if x.kind == "nan":
            return self.infinite + 1 if self.nan is None else self.nan
        if x.kind == "inf":
            return sign | (self.most if finite or not self.infinity else self.infinite)
        lowest = 1 - self.bias - self.mantissa
        shift = max(x.m.bit_length() - (self.mantissa + 1), lowest - x.e)
        if shift <= 0:
            kept, rest, half = x.m << -shift, 2 if x.sticky else 0, 4
        else:
            kept, rest = x.m >> shift, (x.m & ((1 << shift) - 1)) * 4 + (2 if x.sticky else 0)
            half = 1 << (shift + 1)
        up = {
            "rn": rest > half or (rest == half and kept & 1 == 1),
            "rna": rest >= half,
            "rz": False,
            "rm": rest != 0 and x.negative,
            "rp": rest != 0 and not x.negative,
        }[mode]
        field = x.e + shift - lowest  # the exponent field, less the hidden bit's contribution
        bits = (field << self.mantissa) + kept + up if kept else int(up)
        if bits > self.most:
            towards = mode in ("rn", "rna") or mode == ("rm" if x.negative else "rp")
            bits = self.infinite if towards and self.infinity and not finite else self.most
        return sign | bits

    def flush(self, bits: int) -> int:
        return bits & self.sign if bits & (self.sign - 1) < 1 << self.mantissa else bits

    def saturate(self, bits: int) -> int:
        """.sat: to [+0, 1]; NaN becomes +0."""
        one = self.bias << self.mantissa
        x = self.decode(bits)
        if x.kind == "nan" or x.negative:
            return 0
        return min(bits, one)

    def relu(self, bits: int) -> int:
        """.relu: negative values become +0, NaN the canonical one."""
        if self.decode(bits).kind == "nan":
            return self.round(NAN)
        return 0 if bits & self.sign else bits

    def is_nan(self, bits: int) -> bool:
        return self.decode(bits).kind == "nan"


F16 = Format(5, 10, 0x7FFF)
BF16 = Format(8, 7, 0x7FFF)
TF32 = Format(8, 10, 0x3FFFF)
F32 = Format(8, 23, 0x7FFFFFFF)
F64 = Format(11, 52, None)
E5M2 = Format(5, 2, 0x7F)
E4M3 = Format(4, 3, 0x7F, infinity=False, largest=0x7E)
# Four and six bits have no NaN: it becomes the largest positive number.
E2M1 = Format(2, 1, 0x7, infinity=False, largest=0x7)
E2M3 = Format(2, 3, 0x1F, infinity=False, largest=0x1F)
E3M2 = Format(3, 2, 0x1F, infinity=False, largest=0x1F)
FORMATS: Final = {"f16": F16, "bf16": BF16, "f32": F32, "f64": F64}


def integer(value: int) -> Number:
    return Number("finite", value < 0, abs(value), 0)


def negate(x: Number) -> Number:
    return x._replace(negative=not x.negative)


def add(x: Number, y: Number, mode: str = "rn") -> Number:
    if "nan" in (x.kind, y.kind):
        return NAN
    if "inf" in (x.kind, y.kind):
        if x.kind == y.kind:
            return x if x.negative == y.negative else NAN
        return x if x.kind == "inf" else y
    e = min(x.e, y.e)
    total = sum((-v.m if v.negative else v.m) << (v.e - e) for v in (x, y))
    if total == 0:
        # An exact zero is negative if both terms are, or when rounding down unless both are not.
        negative = x.negative if x.negative == y.negative and x.zero else mode == "rm"
        return Number("finite", negative)
    return Number("finite", total < 0, abs(total), e)


def multiply(x: Number, y: Number) -> Number:
    negative = x.negative != y.negative
    if "nan" in (x.kind, y.kind):
        return NAN
    if "inf" in (x.kind, y.kind):
        return NAN if x.zero or y.zero else Number("inf", negative)
    return Number("finite", negative, x.m * y.m, x.e + y.e)


def divide(x: Number, y: Number) -> Number:
    negative = x.negative != y.negative
    if "nan" in (x.kind, y.kind) or x.kind == y.kind == "inf" or (x.zero and y.zero):
        return NAN
    if x.kind == "inf" or y.zero:
        return Number("inf", negative)
    if y.kind == "inf":
        return Number("finite", negative)
    quotient, rest = divmod(x.m << 128, y.m)
    return Number("finite", negative, quotient, x.e - y.e - 128, rest != 0)


def root(x: Number) -> Number:
    if x.kind == "nan" or (x.negative and not x.zero):
        return NAN
    if x.kind == "inf" or x.zero:
        return x
    scaled = x.m << (128 + (x.e & 1))
    m = math.isqrt(scaled)
    return Number("finite", False, m, (x.e - (x.e & 1) - 128) // 2, m * m != scaled)


#: Each takes the operands and the rounding mode, which decides the sign of an exact zero.
OPERATIONS: Final[dict[str, Callable[..., Number]]] = {
    "add": lambda a, b, mode: add(a, b, mode),
    "sub": lambda a, b, mode: add(a, negate(b), mode),
    "mul": lambda a, b, mode: multiply(a, b),
    "fma": lambda a, b, c, mode: add(multiply(a, b), c, mode),
    "mad": lambda a, b, c, mode: add(multiply(a, b), c, mode),
    "div": lambda a, b, mode: divide(a, b),
    "rcp": lambda a, mode: divide(integer(1), a),
    "sqrt": lambda a, mode: root(a),
}


def finish(fmt: Format, bits: int, ftz: bool = False, sat: bool = False, relu: bool = False) -> int:
    if ftz:
        bits = fmt.flush(bits)
    if sat:
        bits = fmt.saturate(bits)
    return fmt.relu(bits) if relu else bits


def operation(
    name: str, kind: str, mode: str = "rn", *, ftz: bool = False, sat: bool = False,
    relu: bool = False,
) -> Callable[..., int]:  # fmt: skip
    """The instruction ``name.mode{.ftz}{.sat}{.relu}.kind`` on bit patterns."""
    fmt, exact = FORMATS[kind], OPERATIONS[name]

    def model(*operands: int) -> int:
        values = [fmt.decode(fmt.flush(v) if ftz else v) for v in operands]
        return finish(fmt, fmt.round(exact(*values, mode), mode), ftz, sat, relu)

    return model


def in_pairs(model: Callable[..., int], width: int) -> Callable[..., int]:
    """A model of packed pairs from that of one value of ``width`` bits."""
    mask = (1 << width) - 1

    def pairs(*operands: int) -> int:
        low = model(*(v & mask for v in operands))
        return low | model(*(v >> width for v in operands)) << width

    return pairs


def or_nan(kind: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Accepts equal bits, and any NaN where one is wanted: PTX does not say which."""
    fmt = FORMATS[kind]

    def accept(got: np.ndarray, want: np.ndarray) -> np.ndarray:
        magnitude = fmt.sign - 1
        nans = ((got & magnitude) > fmt.infinite) & ((want & magnitude) > fmt.infinite)
        return (got == want) | nans

    return accept

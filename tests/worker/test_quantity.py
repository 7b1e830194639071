"""Kubernetes quantities."""

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.worker.quantity import _SUFFIXES, format_bytes, parse_bytes, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("4Gi", 4 * 2**30),
        ("4G", 4 * 10**9),
        ("1.5Ki", 1536),
        ("500m", Fraction(1, 2)),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("12E-1", Fraction(6, 5)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("+7k", 7000),
        ("-7", -7),
        ("100n", Fraction(1, 10**7)),
    ],
)
def test_values(text: str, value: Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", "4 Gi", "4gi", "4GiB", "4KI", "K", "1e", "1e3Ki", "--1", "0x10", "1_0", "nan", "٤"],
)
def test_malformed(text: str) -> None:
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["0", "-1Gi", "-0.1"])
def test_memory_is_positive(text: str) -> None:
    with pytest.raises(ValueError, match="not a positive amount"):
        parse_bytes(text)


def test_fractions_of_a_byte_round_up() -> None:
    assert parse_bytes("1500m") == 2
    assert parse_bytes("1n") == 1


@given(
    st.integers(0, 10**15), st.integers(0, 999), st.sampled_from(sorted(_SUFFIXES)), st.booleans()
)
def test_every_written_quantity_has_its_exact_value(
    whole: int, thousandths: int, suffix: str, negative: bool
) -> None:
    text = f"{'-' if negative else ''}{whole}.{thousandths:03}{suffix}"
    expected = (whole + Fraction(thousandths, 1000)) * _SUFFIXES[suffix]
    assert parse_quantity(text) == (-expected if negative else expected)


@given(st.text(max_size=80))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_quantity(text), Fraction)


@given(st.integers(1, 2**63))
def test_format_round_trips(count: int) -> None:
    assert parse_bytes(format_bytes(count)) == count

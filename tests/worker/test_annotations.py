"""Downward-API files."""

import contextlib
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.worker.annotations import parse_annotations, read_annotations, unquote
from vgpu.worker.errors import ConfigError

_GO_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def go_quote(text: str) -> str:
    """What Go's strconv.Quote writes, without the quotes."""
    parts = []
    for letter in text:
        if letter in _GO_ESCAPES:
            parts.append(_GO_ESCAPES[letter])
        elif letter.isprintable():
            parts.append(letter)
        elif ord(letter) < 0x80:
            parts.append(f"\\x{ord(letter):02x}")
        elif ord(letter) < 0x10000:
            parts.append(f"\\u{ord(letter):04x}")
        else:
            parts.append(f"\\U{ord(letter):08x}")
    return "".join(parts)


@given(st.text())
def test_unquote_undoes_go_quote(text: str) -> None:
    assert unquote(go_quote(text)) == text


@given(
    st.dictionaries(
        st.text(string.ascii_letters + "./-", min_size=1),
        st.text(st.characters(exclude_categories=["Cs"])),
        max_size=5,
    )
)
def test_files_round_trip(annotations: dict[str, str]) -> None:
    text = "".join(f'{key}="{go_quote(value)}"\n' for key, value in annotations.items())
    assert parse_annotations(text) == annotations


@given(st.text())
def test_any_text_is_a_file_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert all('"' not in key for key in parse_annotations(text))


def test_values_with_json_and_newlines() -> None:
    text = 'a/b="{\\"container-a\\":1}"\nother.io/x="two\\nlines"\n'
    assert parse_annotations(text) == {"a/b": '{"container-a":1}', "other.io/x": "two\nlines"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a="1"\nb=1\n', "line 2 is not of the form"),
        ('a="1"\na="2"\n', "line 2 repeats the annotation a"),
        ('a="\\q"\n', r"line 1: unknown escape \\q"),
        ('a="\\UFFFFFFFF"\n', "line 1: .* is not a character"),
        ('a="unfinished\n', "line 1 is not of the form"),
    ],
)
def test_malformed_lines_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_annotations(text)


def test_only_our_prefix_is_read(tmp_path: Path) -> None:
    file = tmp_path / "annotations"
    file.write_text('kubernetes.io/config.seen="now"\nexample.com/vram-limit="1Gi"\n')
    assert read_annotations(file) == {}
    assert read_annotations(file, "example.com/") == {"vram-limit": "1Gi"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the annotations file .*nothing"):
        read_annotations(tmp_path / "nothing")

"""Each manual row of the specification has a body, and each body a manual row."""

import re
from pathlib import Path

import pytest

from protocol.paths import NATIVE, SPEC
from vgpu.protocol.codegen.load import load

_DEFINITION = re.compile(r"^CUresult (cu[A-Z]\w*)\([^;{]*\)(?: noexcept)? \{", re.MULTILINE)


def manual_rows(part: str) -> set[str]:
    spec = load(SPEC)
    column = {"stub": "stub", "softgpu": "soft", "executor": "executor"}[part]
    return {f.name for f in spec.functions if not f.alias and getattr(f, column) == "manual"}


def sources(part: str) -> list[Path]:
    return sorted((NATIVE / part).rglob("*.cc"))


@pytest.mark.parametrize("part", ["stub", "softgpu", "executor"])
def test_every_body_is_a_manual_row(part: str) -> None:
    rows = manual_rows(part)
    for path in sources(part):
        for name in _DEFINITION.findall(path.read_text(encoding="utf-8")):
            assert name in rows, f"{path.relative_to(NATIVE)} defines {name}: mark its row manual"


@pytest.mark.parametrize("part", ["stub", "softgpu", "executor"])
def test_every_manual_row_has_a_body(part: str) -> None:
    """A body may come from a macro, so that the name is what is looked for; the link is exact."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources(part))
    words = set(re.findall(r"\bcu[A-Z]\w*", text))
    assert sorted(manual_rows(part) - words) == []

"""Reading and showing what client processes counted."""

import io
import json
from pathlib import Path

from rich.console import Console

from vgpu.client.statistics import read_statistics, show_statistics


def shown(*entries: dict[str, object]) -> str:
    console = Console(file=io.StringIO(), width=120)
    show_statistics(list(entries), console)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_files_of_several_processes(tmp_path: Path) -> None:
    file = tmp_path / "statistics"
    entries = [{"pid": 1, "round_trips": 3}, {"pid": 2, "round_trips": 0}]
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + "damaged{\n[1]\n")
    assert read_statistics(file) == entries
    assert read_statistics(tmp_path / "missing") == []


def test_a_column_per_process() -> None:
    text = shown(
        {"pid": 1, "program": "python", "path": "tcp", "round_trips": 1234567, "new_counter": 5},
        {"pid": 2, "program": "child", "round_trips": 0, "calls": {"cuInit": 1, "cuX": 2000}},
    )
    assert text.index("cuX 2,000") < text.index("cuInit 1")
    assert "python [1]" in text
    assert "child [2]" in text
    assert "round trips" in text
    assert "1,234,567" in text
    assert "new counter" in text
    assert "tcp" in text


def test_a_program_without_gpu() -> None:
    assert "did not use the GPU" in shown()

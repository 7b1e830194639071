"""The statistics that client processes leave behind at exit (VGPU_STATS)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# What a counter is called in the table; others appear under their own names.
_TITLES = {
    "path": "path",
    "round_trips": "round trips",
    "records": "calls sent",
    "batches": "batches",
    "launches": "kernel launches",
    "bytes_sent": "bytes sent",
    "bytes_received": "bytes received",
    "late_errors": "late errors",
    "unsupported_calls": "unsupported calls",
    "local_synchronizes": "synchronizes answered locally",
    "bulk_sent": "bulk transfers sent",
    "bulk_received": "bulk transfers received",
    "calls": "calls that waited",
}


_SHOWN_CALLS = 12


def read_statistics(path: Path) -> list[dict[str, Any]]:
    """One object per process that attached, in order of their exit; damaged lines are skipped."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def show_statistics(entries: Iterable[dict[str, Any]], console: Console) -> None:
    """Prints a table, one column per process."""
    processes = list(entries)
    if not processes:
        console.print("vgpu: no statistics: the program did not use the GPU")
        return
    table = Table(title="vgpu statistics", title_justify="left")
    table.add_column("")
    for entry in processes:
        table.add_column(
            f"{entry.get('program', '?')} [{entry.get('pid', '?')}]",
            justify="right",
            overflow="fold",
        )
    names = [name for name in _TITLES if any(name in entry for entry in processes)]
    names += sorted(
        {name for entry in processes for name in entry} - set(_TITLES) - {"pid", "program"}
    )
    for name in names:
        row = [_text(entry.get(name)) for entry in processes]
        table.add_row(_TITLES.get(name, name.replace("_", " ")), *row)
    console.print(table)


def _text(value: object) -> str:
    if isinstance(value, dict):
        lines = [f"{name} {_text(count)}" for name, count in _by_count(value)]
        rest = len(lines) - _SHOWN_CALLS
        return "\n".join([*lines[:_SHOWN_CALLS], *([f"and {rest} more"] if rest > 0 else [])])
    if isinstance(value, bool) or not isinstance(value, int):
        return "" if value is None else str(value)
    return f"{value:,}"


def _by_count(counts: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(counts.items(), key=lambda item: (-_number(item[1]), item[0]))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0

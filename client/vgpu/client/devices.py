"""Showing what a worker has: `vgpu devices` and `vgpu status`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from vgpu.client.errors import ConnectionFailedError
from vgpu.protocol.control import Device

# CUdevice_attribute numbers (cuda.h).
_CAPABILITY_MAJOR = 75
_CAPABILITY_MINOR = 76
_MULTIPROCESSORS = 16


def read_devices(answer: Mapping[str, Any]) -> list[Device]:
    """The devices in a worker's answer."""
    try:
        return [Device.model_validate(entry) for entry in answer.get("devices", [])]
    except (ValidationError, TypeError) as error:
        raise ConnectionFailedError(f"the worker describes its devices wrongly: {error}") from error


def driver_text(answer: Mapping[str, Any]) -> str:
    """What executes kernels, in words."""
    version = answer.get("driver_version")
    number = f"{version // 1000}.{version % 1000 // 10}" if isinstance(version, int) else "?"
    if answer.get("driver") == "soft":
        return f"software GPU (CUDA {number}): kernels run on the worker's CPU"
    return f"CUDA driver {number}"


def memory_text(size: int) -> str:
    """Bytes for people: `1.5 GiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} TiB"


def plain_status(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A worker's answer to `status` as plain data, for programs."""
    devices = [
        {
            "ordinal": device.ordinal,
            "name": device.name,
            "uuid": device.uuid_text,
            "total_memory": device.total_memory,
            "capability": f"{device.attributes.get(_CAPABILITY_MAJOR, 0)}."
            f"{device.attributes.get(_CAPABILITY_MINOR, 0)}",
        }
        for device in read_devices(answer)
    ]
    sessions = [
        {
            "pid": (session.get("client") or {}).get("pid"),
            "host": (session.get("client") or {}).get("host"),
            **{key: session.get(key) for key in ("program", "executor", "since", "used")},
            "statistics": session.get("statistics") or {},
        }
        for session in answer.get("sessions") or []
    ]
    names = ("worker", "driver", "driver_version", "images", "limits")
    return {
        **{name: answer.get(name) for name in names},
        "devices": devices,
        "sessions": sessions,
    }


def show_devices(answer: Mapping[str, Any], address: str, console: Console) -> None:
    """Prints the devices as a program would see them."""
    worker = answer.get("worker", "worker")
    console.print(f"{worker} at {address}: {driver_text(answer)}", soft_wrap=True, highlight=False)
    table = Table()
    for column in ("device", "name", "capability", "SMs", "memory", "uuid"):
        table.add_column(column, overflow="fold")
    for device in read_devices(answer):
        major = device.attributes.get(_CAPABILITY_MAJOR, "?")
        minor = device.attributes.get(_CAPABILITY_MINOR, "?")
        table.add_row(
            f"cuda:{device.ordinal}",
            device.name,
            f"{major}.{minor}",
            str(device.attributes.get(_MULTIPROCESSORS, "?")),
            memory_text(device.total_memory),
            device.uuid_text,
        )
    console.print(table)


def show_sessions(answer: Mapping[str, Any], console: Console) -> None:
    """Prints who uses the worker now."""
    sessions = answer.get("sessions") or []
    if not sessions:
        console.print("no session")
        return
    table = Table()
    for column in ("program", "executor", "since", "memory in use", "launches"):
        table.add_column(column)
    for session in sessions:
        client = session.get("client") or {}
        since = datetime.fromtimestamp(session.get("since", 0), UTC)
        table.add_row(
            f"{session.get('program') or '?'} [{client.get('pid', '?')}] on "
            f"{client.get('host') or '?'}",
            str(session.get("executor", "?")),
            since.isoformat(timespec="seconds"),
            ", ".join(memory_text(used) for used in session.get("used") or []),
            str((session.get("statistics") or {}).get("launches", "?")),
        )
    console.print(table)

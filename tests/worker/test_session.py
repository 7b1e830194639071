"""The session table, and the worker's view of the quota ledger."""

import asyncio
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vgpu.protocol.control import ClientIdentity
from vgpu.worker.ledger import Ledger
from vgpu.worker.paths import NativeFiles
from vgpu.worker.session import SessionTable


def test_ids_are_secret_and_distinct() -> None:
    table = SessionTable()
    sessions = [table.admit(ClientIdentity()) for _ in range(50)]
    ids = {session.id for session in sessions if session is not None}
    assert len(ids) == 50
    assert all(len(one) == 16 for one in ids)
    assert all(one.hex() not in session.name for one in ids for session in sessions if session)


def test_a_full_table_forgets_idle_sessions_only() -> None:
    table = SessionTable(limit=3)
    first, second, third = (table.admit(ClientIdentity(pid=pid)) for pid in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    first.executor = cast(Any, SimpleNamespace())
    second.binding = True
    fourth = table.admit(ClientIdentity())
    assert fourth is not None
    assert table.find(third.id) is None
    assert table.find(first.id) is first
    fourth.binding = True
    assert table.admit(ClientIdentity()) is None
    first.end_reason = "killed"
    assert table.admit(ClientIdentity()) is not None
    assert table.find(first.id) is None


def test_the_ledger_of_the_executor_program(native_files: Path) -> None:
    async def make() -> Ledger:
        return await Ledger.make(NativeFiles(native_files), [1 << 30, 0], 3, os.environ)

    ledger = asyncio.run(make())
    try:
        assert (ledger.devices, ledger.slots) == (2, 3)
        memory = os.pread(ledger.descriptor, 4096, 0)
        assert struct.unpack_from("<2Q", memory, 256) == (1 << 30, 0)
        assert ledger.used(1) == [0, 0]
        # What an executor in slot 1 would have counted.
        os.pwrite(ledger.descriptor, struct.pack("<2Q", 512, 1024), 256 + 2 * 16)
        assert [ledger.used(slot) for slot in range(3)] == [[0, 0], [512, 1024], [0, 0]]
        ledger.clear(1)
        assert ledger.used(1) == [0, 0]
        with pytest.raises(IndexError):
            ledger.used(3)
    finally:
        ledger.close()

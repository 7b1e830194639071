"""The quota ledger: bytes in use per executor and device, in memory that all executors share.

The layout is frozen in native/executor/ledger.h. Executors count their own row; the worker makes
the memory, reads it for `status`, and clears the row of an executor that is dead.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
from collections.abc import Mapping, Sequence

from vgpu.worker.errors import ExecutorError
from vgpu.worker.paths import NativeFiles

# SYNC: quota-ledger (native/executor/ledger.h)
_MAGIC = int.from_bytes(b"vgpuldgr", "little")
_VERSION = 1
_HEADER = struct.Struct("<QIIII")
_HEADER_BYTES = 256
_WORD = 8


class Ledger:
    """The worker's view; `descriptor` is passed to executors."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0)
        magic, version, devices, slots, _ = _HEADER.unpack_from(self._memory)
        self.devices: int = devices
        self.slots: int = slots
        if magic != _MAGIC or version != _VERSION:
            raise ExecutorError(
                f"the quota ledger has version {version}, expected {_VERSION}: worker and "
                "vgpu-executor come from different installations"
            )

    @classmethod
    async def make(
        cls,
        native: NativeFiles,
        limits: Sequence[int],
        slots: int,
        environment: Mapping[str, str],
    ) -> Ledger:
        """A ledger with a limit in bytes per device (0: none) and a row per executor slot.

        The executor program initialises it, since it holds a process-shared mutex.
        """
        descriptor = os.memfd_create("vgpu-ledger", os.MFD_CLOEXEC)
        try:
            process = await asyncio.create_subprocess_exec(
                native.executor,
                "--make-ledger",
                "--ledger-fd",
                str(descriptor),
                "--limits",
                ",".join(str(limit) for limit in limits),
                "--slots",
                str(slots),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(descriptor,),
                env=dict(environment),
            )
            _, errors = await process.communicate()
            if process.returncode != 0:
                raise ExecutorError(
                    f"vgpu-executor cannot make the quota ledger: "
                    f"{errors.decode(errors='replace').strip() or process.returncode}"
                )
            return cls(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def _row(self, slot: int) -> int:
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} of {self.slots}")
        return _HEADER_BYTES + (1 + slot) * self.devices * _WORD

    def used(self, slot: int) -> list[int]:
        """Bytes in use by one executor, per device."""
        return list(struct.unpack_from(f"<{self.devices}Q", self._memory, self._row(slot)))

    def clear(self, slot: int) -> None:
        """Gives back what a dead executor had; only ever called for one that has been reaped."""
        struct.pack_into(f"<{self.devices}Q", self._memory, self._row(slot), *[0] * self.devices)

    def close(self) -> None:
        """Unmaps and closes it."""
        self._memory.close()
        os.close(self.descriptor)

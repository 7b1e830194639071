"""Executors: a few warm ones in waiting, cold ones on request, and their slots in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from vgpu.protocol import control
from vgpu.worker.errors import ExecutorError, WorkerError
from vgpu.worker.executor_process import ExecutorProcess
from vgpu.worker.ledger import Ledger

# Between attempts to replace a warm executor that failed to start.
_BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)

_log = structlog.get_logger("vgpu.worker.pool")


class StartExecutor(Protocol):
    """Starts a process for a slot, with extra environment variables."""

    def __call__(
        self, slot: int, environment: Mapping[str, str], *, warm: bool
    ) -> Awaitable[ExecutorProcess]:
        """See ExecutorProcess.start."""
        ...


class PoolFullError(WorkerError):
    """Every slot of the ledger has an executor."""


class ExecutorPool:
    """Owns every executor from start to reaping; its tasks run in the group it is given.

    `verify` raises ExecutorError for an executor that must not be used.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        start: StartExecutor,
        ledger: Ledger,
        warm: int,
        on_exit: Callable[[ExecutorProcess], None],
        verify: Callable[[control.Ready], None],
    ) -> None:
        self._group = group
        self._start = start
        self._ledger = ledger
        self._target = warm
        self._on_exit = on_exit
        self._verify = verify
        self._free_slots = list(range(ledger.slots))
        self._executors: set[ExecutorProcess] = set()
        self._warm: list[ExecutorProcess] = []
        self._changed = asyncio.Event()
        self._refill: asyncio.Task[None] | None = None
        self._closing = False

    async def fill(self) -> None:
        """Starts the warm executors; raises what their driver says if the first cannot start."""
        for _ in range(self._target):
            self._warm.append(await self._launch({}, warm=True))
        if self._target:
            self._refill = self._group.create_task(self._keep_warm())

    async def acquire(self, environment: Mapping[str, str]) -> ExecutorProcess:
        """A ready executor: a warm one if no variable must act at driver start, else a new one."""
        while not environment and self._warm:
            executor = self._warm.pop(0)
            self._changed.set()
            if executor.alive:
                return executor
        return await self._launch(environment, warm=False)

    async def _launch(self, environment: Mapping[str, str], *, warm: bool) -> ExecutorProcess:
        if self._closing:
            raise ExecutorError("the worker is shutting down")
        if not self._free_slots:
            raise PoolFullError(
                f"the worker serves {self._ledger.slots} executors already; end a session or "
                "start it with a larger --max-sessions"
            )
        slot = self._free_slots.pop(0)
        try:
            executor = await self._start(slot, environment, warm=warm)
        except BaseException:
            self._free_slots.append(slot)
            raise
        self._executors.add(executor)
        self._group.create_task(self._watch(executor))
        ready = await executor.ready()
        try:
            self._verify(ready)
        except ExecutorError as error:
            executor.close(str(error))
            raise
        _log.debug("executor ready", executor=executor.pid, slot=slot, devices=len(ready.devices))
        return executor

    async def _watch(self, executor: ExecutorProcess) -> None:
        try:
            await executor.watch()
        except Exception:
            # A defect in watching one executor must not end the others.
            _log.exception("lost track of an executor", executor=executor.pid)
        finally:
            self._ledger.clear(executor.slot)
            self._free_slots.append(executor.slot)
            self._executors.discard(executor)
            if executor in self._warm:
                self._warm.remove(executor)
                if not self._closing:
                    _log.warning(
                        "warm executor ended", executor=executor.pid, reason=executor.end_reason
                    )
            self._changed.set()
            self._on_exit(executor)

    async def _keep_warm(self) -> None:
        failures = 0
        while not self._closing:
            if len(self._warm) >= self._target or not self._free_slots:
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                self._warm.append(await self._launch({}, warm=True))
                failures = 0
            except WorkerError as error:
                if self._closing:
                    return
                delay = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
                failures += 1
                _log.error("cannot start a warm executor", error=str(error), retry_seconds=delay)
                await asyncio.sleep(delay)

    async def close(self) -> None:
        """Ends all executors in order; returns when none is left."""
        self._closing = True
        if self._refill is not None:
            self._refill.cancel()
        for executor in list(self._executors):
            executor.close("the worker is shutting down")
        for executor in list(self._executors):
            await executor.ended.wait()

    def kill(self) -> None:
        """Ends all executors at once."""
        for executor in list(self._executors):
            executor.kill("the worker was told twice to stop")

"""One `vgpu-executor` process: start, bind to a session, watch, end.

Messages are length-prefixed msgpack maps over a socketpair (protocol/README.md). The executor dies
with the worker: it sets a parent-death signal, and end of file on the socketpair ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from vgpu.protocol import control
from vgpu.protocol.errors import MessageError
from vgpu.worker.devices import describe_exit
from vgpu.worker.drivers import DriverChoice
from vgpu.worker.errors import ExecutorError
from vgpu.worker.ledger import Ledger
from vgpu.worker.paths import NativeFiles

# Creating a context on a cold real device takes seconds; a driver that needs longer hangs.
READY_SECONDS = 60.0
BIND_SECONDS = 30.0
# From end of file and SIGTERM to SIGKILL.
TERMINATE_SECONDS = 5.0

_LENGTH = struct.Struct("<I")
_LOG_LINE_LIMIT = 1 << 16

_log = structlog.get_logger("vgpu.worker.executor")


@dataclass(frozen=True)
class BindRequest:
    """What an executor needs to serve one session."""

    token: bytes
    server_public: str
    server_secret: str
    client_public: str
    environment: Mapping[str, str]
    devices: Sequence[int]
    disable_features: Sequence[str]
    silence_timeout_ms: int
    command: str = ""  # URLs to bind
    bulk: str = ""

    def fields(self) -> dict[str, Any]:
        """The map that travels."""
        return {
            "t": "bind",
            "token": self.token,
            "command": self.command,
            "bulk": self.bulk,
            "server_public": self.server_public,
            "server_secret": self.server_secret,
            "client_public": self.client_public,
            "environment": dict(self.environment),
            "devices": list(self.devices),
            "disable_features": list(self.disable_features),
            "silence_timeout_ms": self.silence_timeout_ms,
        }


class ExecutorProcess:
    """A running executor. `watch()` must run from start to end: it alone reads and reaps."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        slot: int,
    ) -> None:
        self.pid = process.pid
        self.slot = slot
        self.statistics = control.Statistics()
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.end_reason = ""
        self.clean = False
        self._process = process
        self._reader = reader
        self._writer = writer
        self._ready: asyncio.Future[control.Ready] = asyncio.get_running_loop().create_future()
        self._bound: asyncio.Future[control.Bound] = asyncio.get_running_loop().create_future()
        self._last_error_line = ""
        self._kill_reason = ""
        self._log = _log.bind(executor=self.pid, slot=slot)

    @classmethod
    async def start(
        cls,
        native: NativeFiles,
        driver: DriverChoice,
        ledger: Ledger,
        slot: int,
        environment: Mapping[str, str],
        *,
        warm: bool,
    ) -> ExecutorProcess:
        """Starts the program; it has not initialised its driver yet (see `ready`).

        A warm one creates a context on the first device before its client comes.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            process = await asyncio.create_subprocess_exec(
                native.executor,
                "--driver",
                driver.path,
                "--control-fd",
                str(theirs.fileno()),
                "--ledger-fd",
                str(ledger.descriptor),
                "--slot",
                str(slot),
                *(["--warm"] if warm else []),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(), ledger.descriptor),
                env=dict(environment),
                # A Ctrl-C on the terminal is for the worker, which ends its executors in order.
                start_new_session=True,
                limit=_LOG_LINE_LIMIT,
            )
        except OSError as error:
            ours.close()
            raise ExecutorError(f"cannot start {native.executor}: {error}") from error
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(process, reader, writer, slot)

    async def ready(self) -> control.Ready:
        """Waits until its driver is initialised; ExecutorError has the driver's error if not."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                return await asyncio.shield(self._ready)
        except TimeoutError as error:
            self.kill(f"its driver did not initialise within {READY_SECONDS:.0f} s")
            raise ExecutorError(self._kill_reason) from error

    async def bind(self, request: BindRequest) -> control.Bound:
        """Gives it its session; returns the endpoints it listens on.

        After an ExecutorError it is still there, and another bind with other endpoints may succeed.
        """
        if self._bound.done():
            self._bound = asyncio.get_running_loop().create_future()
        await self._send(request.fields())
        try:
            async with asyncio.timeout(BIND_SECONDS):
                return await asyncio.shield(self._bound)
        except TimeoutError as error:
            self.kill(f"it did not bind its session within {BIND_SECONDS:.0f} s")
            raise ExecutorError(self._kill_reason) from error

    async def _send(self, message: Mapping[str, Any]) -> None:
        payload = control.encode(message)
        try:
            self._writer.write(_LENGTH.pack(len(payload)) + payload)
            await self._writer.drain()
        except OSError as error:
            raise ExecutorError(f"executor {self.pid} is gone: {error}") from error

    async def watch(self) -> None:
        """Reads its messages and its log until it has ended and is reaped."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._relay_log())
                await self._read_messages()
                # Its end of the socketpair is closed: it exits by itself, or is made to.
                await self._reap()
        finally:
            if self._process.returncode is None:
                self._signal(signal.SIGKILL)
                await self._process.wait()
            self._writer.close()
            self._conclude()

    async def _read_messages(self) -> None:
        while True:
            try:
                (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                if length > control.MAX_MESSAGE:
                    raise MessageError(f"a message of {length} bytes")
                message = control.decode(await self._reader.readexactly(length))
                self._handle(message)
            except MessageError as error:
                self.kill(f"it sent nonsense to the worker: {error}")
                return
            except (asyncio.IncompleteReadError, OSError):
                return

    def _handle(self, message: Mapping[str, Any]) -> None:
        kind = message.get("t")
        if kind == "ready":
            _resolve(self._ready, control.Ready.read(message))
        elif kind == "bound":
            _resolve(self._bound, control.Bound.read(message))
        elif kind == "error":
            self._fail(control.Refusal.read(message).message or "unnamed error")
        elif kind == "began":
            self.began.set()
        elif kind == "statistics":
            self.statistics = control.Statistics.read(message)
        elif kind == "ended":
            ended = control.Ended.read(message)
            self.end_reason, self.clean = ended.reason, ended.clean
            self._log.debug("session ended", reason=ended.reason, clean=ended.clean)
        else:
            self._log.warning("unknown message of an executor", t=str(kind)[:64])

    def _fail(self, text: str) -> None:
        if not self._ready.done():
            self.end_reason = text  # it exits next
            self._ready.set_exception(ExecutorError(text))
        elif not self._bound.done():
            self._bound.set_exception(ExecutorError(text))
        else:
            self._log.warning("late error of an executor", error=text)

    async def _relay_log(self) -> None:
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # a line longer than the limit; its head is gone
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            if text:
                self._last_error_line = text
                # Executors filter by VGPU_LOG themselves: what they say is to be seen.
                self._log.warning(text)

    async def _reap(self) -> None:
        try:
            async with asyncio.timeout(TERMINATE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.kill("it did not exit in time")
            await self._process.wait()

    def _conclude(self) -> None:
        status = describe_exit(self._process.returncode)
        if self._kill_reason:
            self.end_reason, self.clean = f"ended by the worker: {self._kill_reason}", False
        elif not self.end_reason:
            # A program that gives up says why; one that is killed cannot.
            code = self._process.returncode or 0
            gave_up = code > 0 or code == -signal.SIGABRT
            said = f": {self._last_error_line}" if gave_up and self._last_error_line else ""
            self.end_reason = status + said
        for waiting in (self._ready, self._bound):
            if not waiting.done():
                waiting.set_exception(ExecutorError(self.end_reason))
            waiting.exception()  # retrieved: nobody may be waiting any more
        self.ended.set()

    @property
    def alive(self) -> bool:
        """Whether it has not been reaped yet."""
        return self._process.returncode is None

    def close(self, reason: str) -> None:
        """Asks it to exit: end of file on its socketpair, and SIGTERM."""
        self._kill_reason = self._kill_reason or reason
        self._writer.close()
        self._signal(signal.SIGTERM)

    def kill(self, reason: str) -> None:
        """Ends it at once."""
        self._kill_reason = self._kill_reason or reason
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _resolve(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)

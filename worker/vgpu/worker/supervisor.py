"""The worker: admits clients on its control socket, binds an executor to each, watches them all.

One asyncio task group owns everything. Requests are answered by tasks of their own, so a slow bind
(a cold driver) delays nobody; no request, however malformed, ends the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog
import zmq
import zmq.asyncio

from vgpu.protocol import control
from vgpu.protocol.errors import MessageError, VersionMismatch
from vgpu.protocol.keyfile import ServerKeys, is_key
from vgpu.protocol.version import CURRENT, negotiate
from vgpu.worker.addresses import ControlAddress, SessionEndpoints, with_any_host
from vgpu.worker.config import WorkloadConfig
from vgpu.worker.control_socket import bound_address, control_socket
from vgpu.worker.devices import probe, select_devices, shown_devices
from vgpu.worker.drivers import DriverChoice
from vgpu.worker.errors import ExecutorError, WorkerError
from vgpu.worker.executor_process import BindRequest, ExecutorProcess
from vgpu.worker.keys import make_pair
from vgpu.worker.ledger import Ledger
from vgpu.worker.paths import NativeFiles
from vgpu.worker.pool import ExecutorPool, PoolFullError
from vgpu.worker.session import Session, SessionTable

# Requests in progress at once; a client has one outstanding, so this many clients attach together.
MAX_REQUESTS = 256
BIND_ATTEMPTS = 3
# A client connects to its executor right after `bound`; one that does not is gone.
BEGIN_SECONDS = 30.0
# How long `end` waits for an executor that is just exiting, so that the client learns why.
END_SECONDS = 1.0

# Variables that act when a driver or the software GPU starts, and may come from a client. A session
# that sets one gets an executor of its own instead of a warm one.
CLIENT_VARIABLES = frozenset(
    {
        "CUDA_AUTO_BOOST",
        "CUDA_CACHE_DISABLE",
        "CUDA_DEVICE_DEFAULT_PERSISTING_L2_CACHE_PERCENTAGE_LIMIT",
        "CUDA_DEVICE_MAX_CONNECTIONS",
        "CUDA_DEVICE_MAX_COPY_CONNECTIONS",
        "CUDA_DEVICE_WAITS_ON_EXCEPTION",
        "CUDA_DISABLE_JIT",
        "CUDA_DISABLE_PTX_JIT",
        "CUDA_FORCE_JIT",
        "CUDA_FORCE_PTX_JIT",
        "CUDA_LAUNCH_BLOCKING",
        "CUDA_MODULE_DATA_LOADING",
        "CUDA_MODULE_LOADING",
        "CUDA_SCALE_LAUNCH_QUEUES",
        "VGPU_SOFT_DETERMINISTIC",
        "VGPU_SOFT_SKIP_SASS",
    }
)

_log = structlog.get_logger("vgpu.worker")


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is started with, beside the workload's configuration."""

    address: ControlAddress
    session_ports: range | None
    driver: DriverChoice
    native: NativeFiles
    environment: Mapping[str, str]  # for executors: see executor_environment()
    keys: ServerKeys | None = None
    warm_pool: int = 1
    max_sessions: int = 64
    grace_seconds: float = 60.0


class Refused(Exception):
    """A request that gets an `error` answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Supervisor:
    """A running worker; `serve()` is its whole life."""

    def __init__(self, options: WorkerOptions, config: WorkloadConfig) -> None:
        self._options = options
        self._config = config
        self._sessions = SessionTable()
        self._stopping = asyncio.Event()
        self._requests = 0

    async def serve(self, on_serving: Callable[[str], None]) -> None:
        """Runs until told to stop; calls `on_serving` with the bound address once clients may come.

        Raises WorkerError when the driver, the devices or the address cannot be had.
        """
        options = self._options
        self._environment = dict(options.environment)
        self._inventory = await probe(options.native, options.driver, self._environment)
        self._selected = select_devices(self._inventory, self._config)
        self._shown = shown_devices(self._inventory, self._selected, self._config.vram_limit)
        self._name_devices_for_executors()
        limits = [self._config.vram_limit or 0] * len(self._shown)
        slots = options.max_sessions + options.warm_pool
        ledger = await Ledger.make(options.native, limits, slots, self._environment)
        try:
            with _signals(self._on_signal):
                await self._serve(ledger, on_serving)
        finally:
            ledger.close()

    def _name_devices_for_executors(self) -> None:
        """What `bind` tells executors: the driver's ordinals, in the order that clients see."""
        devices = [self._inventory.devices[index] for index in self._selected]
        if self._inventory.driver.kind == "cuda":
            # By UUID: an index would depend on what else the driver finds.
            self._environment["CUDA_VISIBLE_DEVICES"] = ",".join(d.uuid_text for d in devices)
            self._ordinals = list(range(len(devices)))
        else:
            self._ordinals = [device.ordinal for device in devices]

    async def _serve(self, ledger: Ledger, on_serving: Callable[[str], None]) -> None:
        options = self._options
        self._ledger = ledger
        self._endpoints = SessionEndpoints(options.address, options.session_ports)
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._pool = ExecutorPool(
                group,
                self._start_executor,
                ledger,
                options.warm_pool,
                on_exit=self._on_executor_exit,
                verify=self._verify_devices,
            )
            try:
                await self._pool.fill()
                with control_socket(options.address, options.keys) as (router, guard):
                    self._router = router
                    tasks = [group.create_task(self._receive())]
                    if guard is not None:
                        tasks.append(group.create_task(guard.run()))
                    address = bound_address(router, options.address)
                    self._log_serving(address)
                    on_serving(address)
                    await self._stopping.wait()
                    for task in tasks:
                        task.cancel()
            finally:
                await self._pool.close()
        _log.info("stopped")

    def _log_serving(self, address: str) -> None:
        _log.info(
            "serving",
            address=address,
            driver=str(self._inventory.driver.path),
            kind=self._inventory.driver.kind,
            devices=[f"{d.ordinal}: {d.name} {d.uuid_text}" for d in self._shown],
            vram_limit=self._config.vram_limit,
            encrypted=self._options.keys is not None,
        )

    def stop(self) -> None:
        """Begins the end of `serve()`."""
        self._stopping.set()

    def _on_signal(self, number: int) -> None:
        if self._stopping.is_set():
            self._pool.kill()
        self.stop()
        _log.info("stopping", signal=signal.Signals(number).name)

    async def _start_executor(
        self, slot: int, environment: Mapping[str, str], *, warm: bool
    ) -> ExecutorProcess:
        return await ExecutorProcess.start(
            self._options.native,
            self._inventory.driver,
            self._ledger,
            slot,
            {**self._environment, **environment},
            warm=warm,
        )

    def _verify_devices(self, ready: control.Ready) -> None:
        """An executor must have the devices that clients were told of, in the same order."""
        found = [device.uuid for device in ready.devices]
        for ordinal, shown in zip(self._ordinals, self._shown, strict=True):
            if ordinal >= len(found) or found[ordinal] != shown.uuid:
                raise ExecutorError(
                    f"the driver no longer shows {shown.uuid_text} as its device {ordinal}: was a "
                    "device lost or reset? Restart the worker"
                )

    def _on_executor_exit(self, executor: ExecutorProcess) -> None:
        session = self._sessions.of_executor(executor)
        if session is None:
            return
        session.end_reason = executor.end_reason or "the session ended"
        log = _log.info if executor.clean else _log.warning
        log(
            "session ended",
            client=session.name,
            executor=executor.pid,
            reason=session.end_reason,
            **executor.statistics.model_dump(),
        )

    # Requests

    async def _receive(self) -> None:
        while True:
            frames = await self._router.recv_multipart()
            if self._requests >= MAX_REQUESTS:
                await self._answer(frames[0], 0, _error("full", "the worker is busy; try again"))
                continue
            self._requests += 1
            self._group.create_task(self._serve_request(frames))

    async def _serve_request(self, frames: list[bytes]) -> None:
        peer, number = frames[0], 0
        try:
            answer, number = await self._decide(frames)
        except Exception:
            # A defect of ours must not end the other sessions.
            _log.exception("request failed")
            answer = _error("executor", "internal error of the worker; see its log")
        finally:
            self._requests -= 1
        await self._answer(peer, number, answer)

    async def _decide(self, frames: list[bytes]) -> tuple[dict[str, Any], int]:
        number = 0
        try:
            if len(frames) != 2:
                raise MessageError(f"a control message is one frame, this has {len(frames) - 1}")
            message = control.decode(frames[1])
            number = _message_number(message)
            return await self._dispatch(message), number
        except MessageError as error:
            _log.warning("malformed request", error=str(error)[:300])
            return _error("bad-message", str(error)), number
        except VersionMismatch as error:
            _log.warning("client refused", error=str(error))
            return _error("version", str(error)), number
        except Refused as refused:
            _log.warning("request refused", code=refused.code, error=str(refused))
            return _error(refused.code, str(refused)), number

    async def _answer(self, peer: bytes, number: int, answer: dict[str, Any]) -> None:
        # A ROUTER drops what it cannot deliver: a client that is gone blocks nobody.
        with contextlib.suppress(zmq.ZMQError):
            await self._router.send_multipart(
                [peer, control.encode({**answer, "id": number})], flags=zmq.NOBLOCK
            )

    def _dispatch(self, message: Mapping[str, Any]) -> Awaitable[dict[str, Any]]:
        kind = message.get("t")
        if kind == "hello":
            return self._hello(control.Hello.read(message))
        if kind == "bind":
            return self._bind(control.Bind.read(message))
        if kind == "end":
            return self._end(control.End.read(message))
        if kind == "status":
            return self._status()
        raise MessageError(f"unknown message {str(kind)[:64]!r}")

    async def _hello(self, hello: control.Hello) -> dict[str, Any]:
        version = negotiate(CURRENT, hello.spoken)
        session = self._sessions.admit(hello.client)
        if session is None:
            raise Refused("full", "the worker serves as many sessions as it can; try again later")
        _log.info("client attached", client=session.name, protocol=str(version))
        return {
            "t": "attached",
            "version": [version.major, version.minor],
            "worker": f"vgpu worker on {os.uname().nodename}, pid {os.getpid()}",
            "session": session.id,
            "driver_version": self._inventory.driver_version,
            "driver": self._inventory.driver.kind,
            "images": self._inventory.images,
            "devices": [device.model_dump() for device in self._shown],
            "opcodes": list(self._inventory.opcodes),
            "disable_features": sorted(self._config.disable_features),
            "limits": {"vram": self._config.vram_limit},
        }

    def _session(self, session_id: bytes) -> Session:
        session = self._sessions.find(session_id)
        if session is None:
            raise Refused(
                "unknown-session",
                "the worker does not know this session: it was restarted since; "
                "start the program again",
            )
        return session

    async def _bind(self, request: control.Bind) -> dict[str, Any]:
        session = self._session(request.session)
        if session.alive or session.end_reason is not None:
            raise Refused("refused", "this session has had its executor already")
        unknown = sorted(name for name in request.environment if name not in CLIENT_VARIABLES)
        if unknown:
            raise Refused(
                "refused", f"{unknown[0]!r} is not a variable that a client may set in an executor"
            )
        if any("\0" in value for value in request.environment.values()):
            raise Refused("refused", "a variable's value holds a NUL character")
        encrypted = self._options.keys is not None
        if encrypted and not is_key(request.client_public):
            raise Refused("refused", "this worker encrypts: bind needs the client's public key")
        session.binding = True
        try:
            return await self._bind_executor(session, request)
        except PoolFullError as error:
            raise Refused("full", str(error)) from error
        except WorkerError as error:
            raise Refused("executor", f"no executor could be started: {error}") from error
        finally:
            session.binding = False

    async def _bind_executor(self, session: Session, request: control.Bind) -> dict[str, Any]:
        environment = {
            name: value
            for name, value in request.environment.items()
            if self._environment.get(name) != value
        }
        token = secrets.token_bytes(16)
        encrypted = self._options.keys is not None
        public, secret = make_pair() if encrypted else ("", "")
        order = BindRequest(
            token=token,
            server_public=public,
            server_secret=secret,
            client_public=request.client_public if encrypted else "",
            environment=request.environment,
            devices=self._ordinals,
            disable_features=sorted(self._config.disable_features),
            silence_timeout_ms=int(self._options.grace_seconds * 1000),
        )
        executor = await self._pool.acquire(environment)
        try:
            bound, urls = await self._bind_endpoints(executor, order)
        except BaseException:
            executor.close("its session could not be bound")
            raise
        session.executor = executor
        self._group.create_task(self._watch_session(executor, urls))
        _log.info(
            "session bound",
            client=session.name,
            executor=executor.pid,
            command=bound.command,
            bulk=bound.bulk,
        )
        return {
            "t": "bound",
            "command": with_any_host(bound.command),
            "bulk": with_any_host(bound.bulk),
            "token": token,
            "server_public": public,
            "executor": executor.pid,
        }

    async def _bind_endpoints(
        self, executor: ExecutorProcess, order: BindRequest
    ) -> tuple[control.Bound, tuple[str, str]]:
        """Binds on free ports; another program may take one between our look and the bind."""
        for attempt in range(1, BIND_ATTEMPTS + 1):
            urls = self._endpoints.take()
            try:
                return await executor.bind(replace(order, command=urls[0], bulk=urls[1])), urls
            except BaseException as error:
                self._endpoints.give_back(*urls)
                if not (isinstance(error, ExecutorError) and executor.alive):
                    raise
                if attempt == BIND_ATTEMPTS:
                    raise
                _log.warning("cannot bind a session", urls=urls, error=str(error))
        raise AssertionError("unreachable")

    async def _watch_session(self, executor: ExecutorProcess, urls: tuple[str, str]) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEGIN_SECONDS):
                    await _first(executor.began, executor.ended)
            if not executor.began.is_set() and not executor.ended.is_set():
                executor.close(f"its client did not connect within {BEGIN_SECONDS:.0f} s")
            await executor.ended.wait()
        finally:
            self._endpoints.give_back(*urls)

    async def _end(self, request: control.End) -> dict[str, Any]:
        session = self._session(request.session)
        if session.executor is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await session.executor.ended.wait()
            await asyncio.sleep(0)
        return {"t": "ended", "reason": session.end_reason or ""}

    async def _status(self) -> dict[str, Any]:
        sessions = []
        for session in self._sessions.living():
            assert session.executor is not None
            sessions.append(
                {
                    # The first bytes tell sessions apart; the whole id is what its client holds.
                    "session": session.id[:4],
                    "client": {**session.client.model_dump()},
                    "program": session.client.program,
                    "executor": session.executor.pid,
                    "since": session.since,
                    "used": self._ledger.used(session.executor.slot),
                    "statistics": session.executor.statistics.model_dump(),
                }
            )
        return {
            "t": "status",
            "version": [CURRENT.major, CURRENT.minor],
            "worker": f"vgpu worker on {os.uname().nodename}, pid {os.getpid()}",
            "driver": self._inventory.driver.kind,
            "driver_version": self._inventory.driver_version,
            "images": self._inventory.images,
            "sessions": sessions,
            "devices": [device.model_dump() for device in self._shown],
            "limits": {"vram": self._config.vram_limit},
        }


def _error(code: str, message: str) -> dict[str, Any]:
    return {"t": "error", "code": code, "message": message}


def _message_number(message: Mapping[str, Any]) -> int:
    number = message.get("id", 0)
    valid = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**64
    return number if valid else 0


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


@contextlib.contextmanager
def _signals(handler: Callable[[int], None]) -> Any:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, handler, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

"""Asking a worker something on its control socket: one request, one answer, a deadline.

libzmq retries in silence whatever goes wrong; its socket monitor tells what did.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from vgpu.client.errors import ConnectionFailedError, WorkerRefusedError
from vgpu.protocol import control
from vgpu.protocol.errors import MessageError, VersionMismatch
from vgpu.protocol.keyfile import ClientKeys, KeyFileFormatError, read_client_keys
from vgpu.protocol.version import CURRENT, Version, negotiate

ANSWER_SECONDS = 5.0

_REFUSED_KEY = zmq.Event.HANDSHAKE_FAILED_AUTH | zmq.Event.HANDSHAKE_FAILED_PROTOCOL


def load_keys(path: Path | None) -> ClientKeys | None:
    """The client's keys from a file or directory; ConnectionFailedError when malformed."""
    if path is None:
        return None
    try:
        return read_client_keys(path)
    except KeyFileFormatError as error:
        raise ConnectionFailedError(str(error)) from error


def check_address(address: str) -> str:
    """A worker's address, if it is one that we can connect to."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme == "ipc" and rest.startswith("/"):
        return address
    host, colon, port = rest.rpartition(":")
    if separator and scheme == "tcp" and colon and host and host != "*" and port.isdigit():
        return address
    raise ConnectionFailedError(
        f"{address!r} is not the address of a worker: expected tcp://HOST:PORT or ipc:///PATH"
    )


def identity() -> dict[str, Any]:
    """What a worker's log calls us."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "program": Path(sys.argv[0]).name}


def hello() -> dict[str, Any]:
    """The request that attaches."""
    return {"t": "hello", "version": [CURRENT.major, CURRENT.minor], "client": identity()}


def ask(
    address: str,
    message: Mapping[str, Any],
    keys: ClientKeys | None = None,
    *,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    """The worker's answer to one request.

    Raises ConnectionFailedError, naming the address and what to check, or WorkerRefusedError.
    """
    check_address(address)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.setsockopt(zmq.MAXMSGSIZE, control.MAX_MESSAGE)
    if keys is not None:
        dealer.curve_serverkey = keys.server_public.encode()
        dealer.curve_publickey = keys.public.encode()
        dealer.curve_secretkey = keys.secret.encode()
    monitor = dealer.get_monitor_socket()
    try:
        try:
            dealer.connect(address)
        except zmq.ZMQError as error:
            raise ConnectionFailedError(f"cannot connect to {address}: {error.strerror}") from error
        dealer.send(control.encode({**message, "id": 1}))
        return _check(address, _wait(address, dealer, monitor, keys, seconds))
    finally:
        dealer.disable_monitor()
        monitor.close()
        dealer.close()
        context.term()


def _wait(
    address: str,
    dealer: zmq.Socket[bytes],
    monitor: zmq.Socket[bytes],
    keys: ClientKeys | None,
    seconds: float,
) -> bytes:
    poller = zmq.Poller()
    poller.register(dealer, zmq.POLLIN)
    poller.register(monitor, zmq.POLLIN)
    deadline = time.monotonic() + seconds
    seen = zmq.Event(0)
    while (left := deadline - time.monotonic()) > 0:
        ready = dict(poller.poll(int(left * 1000) + 1))
        if dealer in ready:
            return dealer.recv()
        while monitor in ready and monitor.poll(0):
            seen |= zmq.Event(recv_monitor_message(monitor)["event"])
        if seen & _REFUSED_KEY:
            break
    raise ConnectionFailedError(_diagnosis(address, seen, keys, seconds))


def _diagnosis(address: str, seen: zmq.Event, keys: ClientKeys | None, seconds: float) -> str:
    if seen & zmq.Event.HANDSHAKE_FAILED_AUTH:
        return (
            f"the worker at {address} does not accept our key: ask for a key file that it admits "
            "(`vgpu keys DIRECTORY --add NAME` on its side, then restart it)"
        )
    if seen & zmq.Event.HANDSHAKE_SUCCEEDED:
        return f"{address} answers no vgpu request within {seconds:.0f} s: is it a vgpu worker?"
    if seen & zmq.Event.CONNECTED:
        if keys is None:
            return (
                f"{address} accepts connections but no vgpu handshake: it is not a vgpu worker, or "
                "it requires keys (--keys FILE, or VGPU_KEYS)"
            )
        return (
            f"{address} accepts connections but not our handshake with keys: it is not a vgpu "
            "worker, it runs without keys, or the key file is of another worker"
        )
    return (
        f"no worker at {address}: nothing accepts a connection there. Check host and port, and "
        "that `vgpu worker` runs"
    )


def _check(address: str, frame: bytes) -> dict[str, Any]:
    try:
        answer = control.decode(frame)
    except MessageError as error:
        raise ConnectionFailedError(f"{address} is not a vgpu worker: {error}") from error
    if answer.get("t") == "error":
        raise WorkerRefusedError(f"the worker at {address} refused: {answer.get('message')}")
    _check_version(address, answer.get("version"))
    return answer


def _check_version(address: str, version: object) -> None:
    if version is None:
        return
    match version:
        case [int(major), int(minor)]:
            theirs = Version(major, minor)
        case _:
            raise ConnectionFailedError(f"{address} answers with version {version!r}")
    try:
        negotiate(theirs, CURRENT)
    except VersionMismatch as error:
        raise WorkerRefusedError(f"{address}: {error}") from error

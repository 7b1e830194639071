"""The worker's control socket: a ROUTER, encrypted and guarded if the worker has keys."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import zmq
import zmq.asyncio

from vgpu.protocol import control
from vgpu.protocol.keyfile import ServerKeys
from vgpu.worker.addresses import ControlAddress
from vgpu.worker.errors import WorkerError
from vgpu.worker.zap import KeyGuard


@contextlib.contextmanager
def control_socket(
    address: ControlAddress, keys: ServerKeys | None
) -> Iterator[tuple[zmq.asyncio.Socket, KeyGuard | None]]:
    """The bound ROUTER, and the guard of its keys if it has any; WorkerError if it cannot bind."""
    context = zmq.asyncio.Context()
    guard = KeyGuard(context, keys.clients) if keys is not None else None
    router = context.socket(zmq.ROUTER)
    try:
        router.linger = 200  # last answers reach clients that wait for them
        router.setsockopt(zmq.MAXMSGSIZE, control.MAX_MESSAGE)
        if keys is not None:
            router.curve_server = True
            router.curve_publickey = keys.public.encode()
            router.curve_secretkey = keys.secret.encode()
            router.zap_domain = b"vgpu"
        if address.scheme == "ipc" and _answers(address.path):
            raise WorkerError(_in_use(address))
        try:
            router.bind(address.url)
        except zmq.ZMQError as error:
            raise WorkerError(_bind_problem(address, error)) from error
        yield router, guard
    finally:
        router.close()
        if guard is not None:
            guard.close()
        context.term()


def _answers(path: str) -> bool:
    """Whether somebody listens on a Unix socket: libzmq would take its name away without asking."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == 0


def _in_use(address: ControlAddress) -> str:
    return f"{address.url} is in use: another worker? Choose another --bind"


def _bind_problem(address: ControlAddress, error: zmq.ZMQError) -> str:
    if error.errno == zmq.EADDRINUSE:
        return f"{_in_use(address)}, or port 0 for any"
    why = str(error.strerror).partition(" (addr=")[0]
    return f"cannot bind {address.url}: {why}; --bind needs an address of this machine"


def bound_address(router: zmq.asyncio.Socket, address: ControlAddress) -> str:
    """The URL that clients use; it names the port that was found if any port was asked for."""
    if address.scheme == "ipc":
        return address.url
    endpoint = router.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()

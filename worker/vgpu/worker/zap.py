"""Who may open the control socket: exactly the client keys in the worker's key file.

libzmq accepts every client key on a CURVE socket unless a ZAP handler (ZeroMQ RFC 27) says
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog
import zmq
import zmq.asyncio
from zmq.utils import z85

_ENDPOINT = "inproc://zeromq.zap.01"
_FRAMES = 7  # version, request, domain, address, identity, mechanism, client key

_log = structlog.get_logger("vgpu.worker.zap")


class KeyGuard:
    """A ZAP handler for CURVE; must be made before the socket that it guards is bound."""

    def __init__(self, context: zmq.asyncio.Context, clients: Iterable[str]) -> None:
        self._clients = frozenset(z85.decode(key) for key in clients)
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind(_ENDPOINT)

    async def run(self) -> None:
        """Answers requests until cancelled."""
        while True:
            frames = await self._socket.recv_multipart()
            await self._socket.send_multipart(self._answer(frames))

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        version, request = [*frames, b"", b""][:2]
        allowed = len(frames) == _FRAMES and frames[5] == b"CURVE" and frames[6] in self._clients
        if allowed:
            return [version, request, b"200", b"OK", b"", b""]
        address = frames[3].decode(errors="replace") if len(frames) > 3 else "?"
        _log.warning("client refused: its key is not in the worker's key file", address=address)
        return [version, request, b"400", b"unknown client key", b"", b""]

    def close(self) -> None:
        """Closes the handler's socket."""
        self._socket.close()

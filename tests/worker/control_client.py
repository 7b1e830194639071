"""A bare client of the control socket: what a stub would say, and what it never would."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from vgpu.protocol import control
from vgpu.protocol.keyfile import ClientKeys

ANSWER_MS = 20_000


class ControlClient:
    """One DEALER; requests are numbered and answers checked to carry the number."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.socket = socket
        self._number = 0

    def ask(self, t: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        self.socket.send(control.encode({"t": t, "id": self._number, **fields}))
        answer = control.decode(self.socket.recv())
        assert answer.pop("id") == self._number
        return answer

    def ask_raw(self, *frames: bytes) -> dict[str, Any]:
        self.socket.send_multipart(frames)
        return control.decode(self.socket.recv())

    def attach(self, pid: int = 1) -> bytes:
        client = {"pid": pid, "host": "here", "program": "test"}
        answer = self.ask("hello", version=[1, 0], client=client)
        assert answer["t"] == "attached", answer
        session = answer["session"]
        assert isinstance(session, bytes)
        return session

    def bind(self, session: bytes, **environment: str) -> dict[str, Any]:
        return self.ask("bind", session=session, environment=environment, client_public="")


@contextmanager
def control_client(address: str, keys: ClientKeys | None = None) -> Iterator[ControlClient]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.rcvtimeo = ANSWER_MS
        if keys is not None:
            socket.curve_serverkey = keys.server_public.encode()
            socket.curve_publickey = keys.public.encode()
            socket.curve_secretkey = keys.secret.encode()
        socket.connect(address)
        yield ControlClient(socket)

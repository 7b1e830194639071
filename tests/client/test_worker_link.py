"""Asking a worker: every way in which nobody, or somebody else, answers."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from vgpu.client.errors import ConnectionFailedError, WorkerRefusedError
from vgpu.client.worker_link import ask, check_address
from vgpu.protocol import control
from vgpu.protocol.keyfile import ClientKeys

SECONDS = 1.5


def key_pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def client_keys(server_public: str) -> ClientKeys:
    public, secret = key_pair()
    return ClientKeys(server_public=server_public, public=public, secret=secret)


class Server:
    """A ROUTER that answers each request with what a function makes of it."""

    def __init__(self, answer: Callable[[bytes], bytes | None], secret: str = "") -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        if secret:
            self._socket.curve_server = True
            self._socket.curve_secretkey = secret.encode()
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.address = f"tcp://127.0.0.1:{port}"
        self._answer = answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(20):
                peer, frame = self._socket.recv_multipart()
                reply = self._answer(frame)
                if reply is not None:
                    self._socket.send_multipart([peer, reply])

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()
        self._context.term()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers: list[Server] = []

    def start(answer: Callable[[bytes], bytes | None], secret: str = "") -> str:
        servers.append(Server(answer, secret))
        return servers[-1].address

    yield start
    for server in servers:
        server.close()


def refused(address: str, keys: ClientKeys | None = None) -> str:
    begun = time.monotonic()
    with pytest.raises(ConnectionFailedError) as caught:
        ask(address, {"t": "status"}, keys, seconds=SECONDS)
    assert time.monotonic() - begun < SECONDS + 2
    assert address in str(caught.value)
    return str(caught.value)


def test_an_answer(serve: Callable[..., str]) -> None:
    address = serve(lambda frame: control.encode({"t": "status", **control.decode(frame)}))
    assert ask(address, {"t": "status", "x": 1}) == {"t": "status", "x": 1, "id": 1}


def test_an_error(serve: Callable[..., str]) -> None:
    address = serve(lambda _: control.encode({"t": "error", "code": "full", "message": "later"}))
    with pytest.raises(WorkerRefusedError, match="refused: later"):
        ask(address, {"t": "status"})


def test_another_major_version(serve: Callable[..., str]) -> None:
    address = serve(lambda _: control.encode({"t": "status", "version": [99, 0]}))
    with pytest.raises(WorkerRefusedError, match=r"the worker speaks protocol 99\.0, the client 1"):
        ask(address, {"t": "status"})
    for nonsense in (["x", 0], [1], "1.0", 5):
        address = serve(lambda _, v=nonsense: control.encode({"t": "status", "version": v}))
        with pytest.raises(ConnectionFailedError, match="answers with version"):
            ask(address, {"t": "status"})


def test_garbage(serve: Callable[..., str]) -> None:
    assert "is not a vgpu worker" in refused(serve(lambda _: b"\xc1garbage"))


def test_silence(serve: Callable[..., str]) -> None:
    assert "answers no vgpu request" in refused(serve(lambda _: None))


def test_nobody() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "nothing accepts a connection" in refused(f"tcp://127.0.0.1:{port}")
    assert "nothing accepts a connection" in refused("ipc:///tmp/no-such-vgpu-worker")


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_another_server(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        stop = threading.Event()
        connections: list[socket.socket] = []

        def accept() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                connection.sendall(greeting)
                connections.append(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            assert "not a vgpu worker" in refused(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            stop.set()
            thread.join()
            for connection in connections:
                connection.close()


def test_keys(serve: Callable[..., str]) -> None:
    public, secret = key_pair()
    address = serve(lambda _: control.encode({"t": "status"}), secret)
    assert ask(address, {"t": "status"}, client_keys(public)) == {"t": "status"}
    assert "requires keys" in refused(address)
    assert "key" in refused(address, client_keys(key_pair()[0]))


def test_keys_for_a_worker_without(serve: Callable[..., str]) -> None:
    address = serve(lambda _: control.encode({"t": "status"}))
    assert "runs without keys" in refused(address, client_keys(key_pair()[0]))


@pytest.mark.parametrize(
    "address", ["", "host:1", "http://h:1", "tcp://h", "tcp://*:1", "tcp://h:x", "ipc://relative"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ConnectionFailedError, match="is not the address of a worker"):
        check_address(address)

"""Control addresses and session ports."""

import socket

import pytest

from vgpu.worker.addresses import (
    SessionEndpoints,
    parse_address,
    parse_port_range,
    with_any_host,
)
from vgpu.worker.errors import ConfigError, WorkerError


@pytest.mark.parametrize(
    ("text", "url", "private"),
    [
        ("tcp://127.0.0.1:7400", "tcp://127.0.0.1:7400", True),
        ("tcp://127.9.9.9:1", "tcp://127.9.9.9:1", True),
        ("tcp://localhost:0", "tcp://localhost:*", True),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", True),
        ("tcp://0.0.0.0:7400", "tcp://0.0.0.0:7400", False),
        ("tcp://*:7400", "tcp://*:7400", False),
        ("tcp://10.1.2.3:7400", "tcp://10.1.2.3:7400", False),
        ("tcp://gpu-host.example:7400", "tcp://gpu-host.example:7400", False),
        ("ipc:///run/vgpu/worker", "ipc:///run/vgpu/worker", True),
    ],
)
def test_addresses(text: str, url: str, private: bool) -> None:
    address = parse_address(text)
    assert (address.url, address.is_private) == (url, private)


@pytest.mark.parametrize(
    "text",
    ["", "7400", "tcp://", "tcp://host", "tcp://:7400", "tcp://h:65536", "tcp://h:x", "udp://h:1",
     "ipc://relative", "ipc:///" + "x" * 200, "tcp://a b:1", "tcp://[::1]:7400"],
)  # fmt: skip
def test_bad_addresses_are_quoted(text: str) -> None:
    with pytest.raises(ConfigError, match="--bind"):
        parse_address(text)


def test_port_ranges() -> None:
    assert parse_port_range("0") is None
    assert parse_port_range("7401-7464") == range(7401, 7465)
    for text in ("7401", "7402-7401", "7401-7401", "0-10", "1-65536", "a-b", ""):
        with pytest.raises(ConfigError, match="--session-ports"):
            parse_port_range(text)


def free_range(count: int) -> range:
    """Ports that are free now, next to each other."""
    for first in range(20000, 60000, count):
        sockets = []
        try:
            for port in range(first, first + count):
                one = socket.socket()
                sockets.append(one)
                one.bind(("127.0.0.1", port))
            return range(first, first + count)
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no free ports")


def test_ports_are_handed_out_once_and_taken_back() -> None:
    ports = free_range(5)
    endpoints = SessionEndpoints(parse_address("tcp://127.0.0.1:7400"), ports)
    first, second = endpoints.take(), endpoints.take()
    assert len({*first, *second}) == 4
    with pytest.raises(WorkerError, match="--session-ports"):
        endpoints.take()
    endpoints.give_back(*first)
    third = endpoints.take()
    assert not set(third) & set(second)


def test_a_port_in_use_is_skipped() -> None:
    ports = free_range(4)
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports[0]))
        other.listen()
        endpoints = SessionEndpoints(parse_address("tcp://127.0.0.1:7400"), ports)
        assert endpoints.take() == tuple(f"tcp://127.0.0.1:{port}" for port in ports[1:3])


def test_any_port_and_ipc() -> None:
    endpoints = SessionEndpoints(parse_address("tcp://127.0.0.1:0"), None)
    assert endpoints.take() == ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*")
    endpoints = SessionEndpoints(parse_address("ipc:///run/w"), None)
    assert len({*endpoints.take(), *endpoints.take()}) == 4


def test_clients_put_their_own_host() -> None:
    assert with_any_host("tcp://127.0.0.1:7401") == "tcp://*:7401"
    assert with_any_host("ipc:///run/w.1c") == "ipc:///run/w.1c"

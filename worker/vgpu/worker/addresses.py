"""Addresses: the control URL, who may reach it, and the ports of sessions."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from vgpu.worker.errors import ConfigError, WorkerError

DEFAULT_PORT = 7400
DEFAULT_BIND = f"tcp://127.0.0.1:{DEFAULT_PORT}"
# Two ports per session (commands and bulk data): 32 sessions at once.
DEFAULT_SESSION_PORTS = 64

# sun_path is 108 bytes; session sockets add a suffix to the control path.
_IPC_PATH_LIMIT = 90


@dataclass(frozen=True)
class ControlAddress:
    """Where the worker listens: a host and port, or a path for ipc."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def url(self) -> str:
        """The URL to bind."""
        if self.scheme == "ipc":
            return f"ipc://{self.path}"
        return f"tcp://{self.host}:{self.port or '*'}"

    @property
    def is_private(self) -> bool:
        """Whether only this host can reach it."""
        if self.scheme == "ipc" or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> ControlAddress:
    """A control address from its URL; ConfigError says what is wrong with it."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "ipc":
        if not rest.startswith("/") or len(rest) > _IPC_PATH_LIMIT:
            raise ConfigError(
                f"--bind {text}: an ipc address needs an absolute path of at most "
                f"{_IPC_PATH_LIMIT} characters"
            )
        return ControlAddress("ipc", path=rest)
    host, colon, port = rest.rpartition(":")
    if not separator or scheme != "tcp" or not colon or not host:
        raise ConfigError(f"--bind {text}: expected tcp://HOST:PORT or ipc:///PATH")
    if port == "*":
        port = "0"
    if not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--bind {text}: {port!r} is not a port (0 takes a free one)")
    if not re.fullmatch(r"[A-Za-z0-9.*-]+", host):
        raise ConfigError(f"--bind {text}: {host!r} is not an IPv4 address, a host name or *")
    return ControlAddress("tcp", host=host, port=int(port))


def parse_port_range(text: str) -> range | None:
    """`A-B` as a range, `0` as None (any free port); ConfigError otherwise."""
    if text == "0":
        return None
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    if match:
        first, last = int(match[1]), int(match[2])
        if 1 <= first < last <= 65535:
            return range(first, last + 1)
    raise ConfigError(f"--session-ports {text}: expected FIRST-LAST with at least two ports, or 0")


class SessionEndpoints:
    """Hands out the pair of URLs that each session's executor binds, and takes them back."""

    def __init__(self, address: ControlAddress, ports: range | None) -> None:
        self._address = address
        self._free = list(ports) if ports is not None else None
        self._serial = 0

    def take(self) -> tuple[str, str]:
        """URLs for commands and bulk data; WorkerError when every port is in use."""
        if self._address.scheme == "ipc":
            self._serial += 1
            base = f"ipc://{self._address.path}.{self._serial}"
            return f"{base}c", f"{base}b"
        if self._free is None:
            any_port = f"tcp://{self._address.host}:*"
            return any_port, any_port
        found = list(self._first_two_free())
        if len(found) < 2:
            raise WorkerError(
                "all session ports are in use: end a session, or start the worker with a wider "
                "--session-ports range"
            )
        for port in found:
            self._free.remove(port)
        return f"tcp://{self._address.host}:{found[0]}", f"tcp://{self._address.host}:{found[1]}"

    def _first_two_free(self) -> Iterator[int]:
        count = 0
        for port in self._free or ():
            if count < 2 and _is_free(self._address.host, port):
                count += 1
                yield port

    def give_back(self, *urls: str) -> None:
        """Returns URLs of `take`, so that their ports can serve again."""
        if self._free is not None:
            for url in urls:
                port = url.rpartition(":")[2]
                if port.isdigit() and int(port) not in self._free:
                    self._free.append(int(port))


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("" if host == "*" else host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def with_any_host(url: str) -> str:
    """A tcp URL with `*` for its host: the client puts the host it reached the worker under."""
    if url.startswith("tcp://"):
        return "tcp://*:" + url.rpartition(":")[2]
    return url

"""Making key files: `vgpu keys DIRECTORY`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import zmq

from vgpu.protocol.keyfile import KeyFileFormatError, ServerKeys, read_server_keys
from vgpu.worker.errors import KeyFileError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def make_pair() -> tuple[str, str]:
    """A fresh CURVE pair: public and secret key as Z85 text."""
    public, secret = zmq.curve_keypair()
    return public.decode("ascii"), secret.decode("ascii")


def _write(path: Path, lines: list[str], *, append: bool = False) -> None:
    flags = os.O_WRONLY | (os.O_APPEND if append else os.O_CREAT | os.O_EXCL)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError as error:
        raise KeyFileError(f"{path} exists; keys are never overwritten, remove it first") from error
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "a", encoding="ascii") as file:
        file.write("".join(line + "\n" for line in lines))


def make_key_files(directory: Path) -> list[Path]:
    """Writes `server.key` and `client.key` (mode 0600) into a directory, made if missing."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    server, client = directory / "server.key", directory / "client.key"
    for path in (server, client):
        if path.exists():
            raise KeyFileError(f"{path} exists; keys are never overwritten, remove it first")
    server_public, server_secret = make_pair()
    client_public, client_secret = make_pair()
    _write(
        server,
        [
            "# vgpu worker: keep on the GPU host",
            f"public {server_public}",
            f"secret {server_secret}",
            f"client {client_public}",
        ],
    )
    _write_client(client, server_public, client_public, client_secret)
    return [server, client]


def add_client(directory: Path, name: str) -> Path:
    """Writes `NAME.key` for one more client and admits it in `server.key`.

    A running worker reads its keys at start: restart it to admit the new client.
    """
    if not _NAME.fullmatch(name) or name == "server":
        raise KeyFileError(f"{name!r} cannot name a key file: use letters, digits, '.', '_', '-'")
    keys = load_server_keys(directory)
    public, secret = make_pair()
    path = directory / f"{name}.key"
    _write_client(path, keys.public, public, secret)
    _write(directory / "server.key", [f"client {public}"], append=True)
    return path


def _write_client(path: Path, server_public: str, public: str, secret: str) -> None:
    _write(
        path,
        [
            "# vgpu client: VGPU_KEYS names this file",
            f"server-public {server_public}",
            f"public {public}",
            f"secret {secret}",
        ],
    )


def load_server_keys(path: Path) -> ServerKeys:
    """The worker's keys from a file or a directory that `vgpu keys` made."""
    try:
        keys = read_server_keys(path)
    except KeyFileFormatError as error:
        raise KeyFileError(str(error)) from error
    if not keys.clients:
        raise KeyFileError(f"{path} admits no client: it needs at least one line 'client KEY'")
    return keys

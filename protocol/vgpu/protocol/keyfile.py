"""CURVE key files, read by worker, client and stub: `name value` lines, `#` starts a comment line.

    server.key   public, secret, and one `client` line per allowed client
    client.key   server-public, public, secret

Keys are Z85 text of 40 characters. Z85 itself contains `#` and `=`, so a line is split at its first
blank and nothing is quoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KEY_LENGTH = 40
_Z85 = frozenset(
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
)


class KeyFileFormatError(ValueError):
    """A key file that cannot be read or is not of the form above; the message names it."""


@dataclass(frozen=True)
class ServerKeys:
    """What a worker holds: its own pair and the public keys of the clients it admits."""

    public: str
    secret: str
    clients: tuple[str, ...]


@dataclass(frozen=True)
class ClientKeys:
    """What a client holds: its own pair and the worker's public key."""

    server_public: str
    public: str
    secret: str


def is_key(text: str) -> bool:
    """Whether `text` is the Z85 form of a CURVE key."""
    return len(text) == KEY_LENGTH and _Z85.issuperset(text)


def _read(path: Path) -> list[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileFormatError(
            f"cannot read the key file {path}: {error}; `vgpu keys DIRECTORY` makes key files"
        ) from error
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, value = line.strip().partition(" ")
        if not is_key(value.strip()):
            raise KeyFileFormatError(
                f"{path}: line {number} holds no key of {KEY_LENGTH} characters"
            )
        entries.append((name, value.strip()))
    return entries


def _one(entries: Sequence[tuple[str, str]], name: str, path: Path) -> str:
    values = [value for key, value in entries if key == name]
    if len(values) != 1:
        raise KeyFileFormatError(f"{path} has {len(values)} lines {name!r}, needs exactly one")
    return values[0]


def _check_names(entries: Sequence[tuple[str, str]], known: set[str], path: Path) -> None:
    unknown = sorted({name for name, _ in entries} - known)
    if unknown:
        raise KeyFileFormatError(
            f"{path} has {', '.join(unknown)}, expected {', '.join(sorted(known))}"
            + ("; give the client's file here" if "client" in unknown else "")
        )


def read_server_keys(path: Path) -> ServerKeys:
    """The keys in a `server.key` file, or in the directory that holds one."""
    path = path / "server.key" if path.is_dir() else path
    entries = _read(path)
    _check_names(entries, {"public", "secret", "client"}, path)
    return ServerKeys(
        public=_one(entries, "public", path),
        secret=_one(entries, "secret", path),
        clients=tuple(value for name, value in entries if name == "client"),
    )


def read_client_keys(path: Path) -> ClientKeys:
    """The keys in a `client.key` file, or in the directory that holds one."""
    path = path / "client.key" if path.is_dir() else path
    entries = _read(path)
    _check_names(entries, {"server-public", "public", "secret"}, path)
    return ClientKeys(
        server_public=_one(entries, "server-public", path),
        public=_one(entries, "public", path),
        secret=_one(entries, "secret", path),
    )

"""Key files."""

import stat
from pathlib import Path

import pytest
import zmq

from vgpu.protocol.keyfile import KeyFileFormatError, read_client_keys, read_server_keys
from vgpu.worker.errors import KeyFileError
from vgpu.worker.keys import add_client, load_server_keys, make_key_files


def test_a_pair_of_files(tmp_path: Path) -> None:
    server_file, client_file = make_key_files(tmp_path / "keys")
    for path in (server_file, client_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server, client = read_server_keys(server_file), read_client_keys(client_file)
    assert client.server_public == server.public
    assert server.clients == (client.public,)
    for public, secret in ((server.public, server.secret), (client.public, client.secret)):
        assert zmq.curve_public(secret.encode()).decode() == public
    assert read_server_keys(tmp_path / "keys") == server
    assert read_client_keys(tmp_path / "keys") == client


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    make_key_files(tmp_path)
    before = (tmp_path / "server.key").read_text()
    with pytest.raises(KeyFileError, match="never overwritten"):
        make_key_files(tmp_path)
    assert (tmp_path / "server.key").read_text() == before


def test_more_clients(tmp_path: Path) -> None:
    make_key_files(tmp_path)
    second = read_client_keys(add_client(tmp_path, "second"))
    assert second.public in load_server_keys(tmp_path).clients
    assert len(load_server_keys(tmp_path).clients) == 2
    with pytest.raises(KeyFileError, match="never overwritten"):
        add_client(tmp_path, "second")
    assert len(load_server_keys(tmp_path).clients) == 2
    for name in ("server", "../x", "", "a b"):
        with pytest.raises(KeyFileError, match="cannot name a key file"):
            add_client(tmp_path, name)


KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 lines 'public'"),
        (f"public {KEY}\nsecret {KEY}\n", "admits no client"),
        (f"public {KEY}\npublic {KEY}\nsecret {KEY}\nclient {KEY}\n", "2 lines 'public'"),
        (f"public {KEY[:-1]}\n", "line 1 holds no key"),
        ("public " + KEY[:-1] + '"\n', "line 1 holds no key"),
        (f"public {KEY}\nserver-public {KEY}\nsecret {KEY}\n", "has server-public, expected"),
    ],
)
def test_bad_server_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "server.key"
    file.write_text(text)
    with pytest.raises(KeyFileError, match=message):
        load_server_keys(file)


def test_a_server_file_is_no_client_file(tmp_path: Path) -> None:
    server_file, _ = make_key_files(tmp_path)
    with pytest.raises(KeyFileFormatError, match="give the client's file"):
        read_client_keys(server_file)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="vgpu keys"):
        load_server_keys(tmp_path / "nothing.key")

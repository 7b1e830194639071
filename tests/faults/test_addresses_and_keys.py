"""Wrong addresses, keys and servers: a message that names the thing, within seconds."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import workers
from harness.clients import client, run

HELLO = "print(cuda.code('cuInit', 0))"
SECONDS = 12.0


def fails_with(address: str, *words: str, **environment: str) -> None:
    begun = time.monotonic()
    process = client(address, HELLO, **environment)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < SECONDS
    assert out.strip() != "0"
    for word in words:
        assert word in err, err


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_nobody_listens():
    port = free_port()
    fails_with(f"tcp://127.0.0.1:{port}", str(port))


def test_bad_address():
    fails_with("http://127.0.0.1:80", "http://127.0.0.1:80")


def test_no_address():
    process = client("", HELLO)
    out, err = process.communicate(timeout=30)
    assert out.strip() == "100"
    assert "VGPU_WORKER" in err


@pytest.fixture
def stranger():
    """A server that accepts and says something which is not ZeroMQ."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        listener.settimeout(0.1)
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    stop.set()
    thread.join()
    listener.close()


def test_not_a_vgpu_server(stranger):
    fails_with(f"tcp://127.0.0.1:{stranger}", str(stranger))


def test_run_reports_an_unreachable_worker(tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "vgpu.client",
        "run",
        "--worker",
        f"tcp://127.0.0.1:{free_port()}",
    ]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, "--", sys.executable, "-c", "print('never')"],
        env=workers.python_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert time.monotonic() - begun < SECONDS
    assert "tcp://127.0.0.1" in done.stderr


def test_missing_program():
    command = [
        sys.executable,
        "-m",
        "vgpu.client",
        "run",
        "--driver",
        "soft",
        "--",
        "/no/such/program",
    ]
    done = subprocess.run(
        command, env=workers.python_environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 127
    assert "/no/such/program" in done.stderr


def worker_refuses(*flags: str, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vgpu.worker", *flags],
        env=workers.python_environment(), capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr + done.stdout


def test_public_bind_without_keys_is_refused():
    worker_refuses("--driver", "soft", "--bind", "tcp://0.0.0.0:0", words=("--keys", "--insecure"))


def test_device_that_does_not_exist():
    worker_refuses("--driver", "soft", "--gpu-indices", "5", words=("5",))


def test_too_few_devices():
    worker_refuses("--driver", "soft", "--gpu-count", "3", words=("3", "1"))


def test_no_fall_back_to_software(tmp_path):
    worker_refuses("--driver", str(tmp_path / "libcuda.so.1"), words=("libcuda.so.1",))


def make_keys(directory: Path) -> tuple[Path, Path]:
    command = [sys.executable, "-m", "vgpu.client", "keys", str(directory)]
    done = subprocess.run(
        command, env=workers.python_environment(), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    server, key = directory / "server.key", directory / "client.key"
    assert server.stat().st_mode & 0o077 == 0
    assert key.stat().st_mode & 0o077 == 0
    return server, key


def test_curve(tmp_path):
    server, right = make_keys(tmp_path / "one")
    _, wrong = make_keys(tmp_path / "two")
    body = "cuda.start(); print(cuda.download(cuda.upload(b'secret'), 6).decode())"
    with workers.worker("--keys", str(server)) as running:
        assert run(running.address, body, VGPU_KEYS=str(right)) == "secret"
        fails_with(running.address, "key")
        text = wrong.read_text()
        mixed = tmp_path / "mixed.key"  # the right server, but a client that it does not know
        server_line = next(x for x in right.read_text().splitlines() if "server-public" in x)
        lines = [x for x in text.splitlines() if "server-public" not in x]
        mixed.write_text("\n".join([server_line, *lines]) + "\n")
        fails_with(running.address, "key", VGPU_KEYS=str(mixed))
        fails_with(running.address, "key", VGPU_KEYS=str(wrong))
        assert run(running.address, body, VGPU_KEYS=str(right)) == "secret"

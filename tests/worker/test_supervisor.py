"""A real worker with real executors: sessions from hello to end, and what goes wrong in between."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from control_client import control_client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import workers
from harness.workers import RunningWorker
from vgpu.protocol.keyfile import read_client_keys
from vgpu.protocol.version import CURRENT
from vgpu.worker.keys import make_key_files

SECONDS = 15.0


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def test_from_hello_to_end(worker: RunningWorker) -> None:
    with control_client(worker.address) as client:
        attached = client.ask("hello", version=[1, 7], client={"pid": 5, "program": "p"})
        assert attached["t"] == "attached"
        assert attached["version"] == [CURRENT.major, CURRENT.minor]
        assert (attached["driver"], attached["images"]) == ("soft", "ptx")
        assert [device["ordinal"] for device in attached["devices"]] == [0, 1]
        assert attached["devices"][0]["attributes"][75] == 13
        assert attached["opcodes"] == sorted(set(attached["opcodes"]))
        session = attached["session"]
        assert client.ask("end", session=session) == {"t": "ended", "reason": ""}
        bound = client.bind(session)
        assert bound["t"] == "bound", bound
        assert bound["command"].startswith("tcp://*:")
        assert len(bound["token"]) == 16
        assert bound["server_public"] == ""
        status = client.ask("status")
        mine = next(s for s in status["sessions"] if s["executor"] == bound["executor"])
        assert mine["client"] == {"pid": 5, "host": "", "program": "p"}
        assert mine["used"] == [0, 0]
        assert client.ask("end", session=session)["reason"] == ""
        os.kill(bound["executor"], signal.SIGKILL)
        reason = client.ask("end", session=session)["reason"]
        assert reason == "killed by signal 9 (SIGKILL)"
        assert all(s["executor"] != bound["executor"] for s in client.ask("status")["sessions"])


def test_refusals(worker: RunningWorker) -> None:
    with control_client(worker.address) as client:
        session = client.attach()
        assert client.bind(session)["t"] == "bound"
        for answer, code, words in [
            (client.bind(session), "refused", "has had its executor"),
            (client.bind(bytes(16)), "unknown-session", "start the program again"),
            (client.ask("end", session=bytes(16)), "unknown-session", "restarted"),
            (client.bind(client.attach(), LD_PRELOAD="/x.so"), "refused", "LD_PRELOAD"),
            (client.bind(client.attach(), CUDA_FORCE_JIT="\0"), "refused", "NUL"),
            (client.ask("hello", version=[2, 0]), "version", "2.0"),
            (client.ask("hello"), "bad-message", "version"),
            (client.ask("hello", version=[1]), "bad-message", "version"),
            (client.ask("bind", session="text"), "bad-message", "session"),
            (client.ask("dance"), "bad-message", "dance"),
            (client.ask_raw(b"\xc1"), "bad-message", "not a msgpack message"),
            (client.ask_raw(b"one", b"two"), "bad-message", "one frame"),
        ]:
            assert (answer["t"], answer["code"]) == ("error", code), answer
            assert words in answer["message"]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
KNOWN_KEYS = st.sampled_from(["t", "id", "version", "client", "session", "environment"])
KINDS = st.sampled_from(["hello", "bind", "end", "status", "error", ""])
ALMOST = st.builds(
    lambda kind, fields: {**fields, "t": kind}, KINDS, st.dictionaries(KNOWN_KEYS, JUNK)
)
FRAMES = st.one_of(st.binary(max_size=200), JUNK.map(msgpack.packb), ALMOST.map(msgpack.packb))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(frame=FRAMES)
def test_every_frame_gets_an_answer(worker: RunningWorker, frame: bytes) -> None:
    with control_client(worker.address) as client:
        assert client.ask_raw(frame)["t"] in ("error", "attached", "status", "ended")
    assert worker.process.poll() is None


def test_bytes_that_are_not_zeromq_disturb_nobody(worker: RunningWorker) -> None:
    host, _, port = worker.address.removeprefix("tcp://").rpartition(":")
    for payload in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f" + bytes(500), b""):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(payload)
    with control_client(worker.address) as client:
        assert client.ask("status")["t"] == "status"


def test_a_variable_that_acts_at_driver_start_gets_an_executor_of_its_own(
    worker: RunningWorker,
) -> None:
    with control_client(worker.address) as client:
        bound = client.bind(client.attach(), CUDA_DEVICE_MAX_CONNECTIONS="1")
        environment = Path(f"/proc/{bound['executor']}/environ").read_bytes().split(b"\0")
        assert b"CUDA_DEVICE_MAX_CONNECTIONS=1" in environment
        # What PyTorch sets in every program is how executors run anyway.
        bound = client.bind(client.attach(), CUDA_MODULE_LOADING="LAZY")
        arguments = Path(f"/proc/{bound['executor']}/cmdline").read_bytes().split(b"\0")
        assert b"--warm" in arguments


def test_a_warm_executor_that_dies_is_replaced(native_files: Path) -> None:
    with workers.worker("--warm-pool", "2") as running:
        before = children(running.process.pid)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(set(children(running.process.pid)) - {before[0]}) == 2)
        with control_client(running.address) as client:
            assert client.bind(client.attach())["t"] == "bound"
        assert "warm executor ended" in running.log_text()


def test_sessions_leave_nothing_behind(worker: RunningWorker) -> None:
    def settled() -> int:
        with control_client(worker.address) as client:
            eventually(lambda: not client.ask("status")["sessions"])
        eventually(lambda: len(children(worker.process.pid)) == 1)
        return len(list(Path(f"/proc/{worker.process.pid}/fd").iterdir()))

    with control_client(worker.address) as client:
        for session in client.ask("status")["sessions"]:
            os.kill(session["executor"], signal.SIGKILL)
    before = settled()
    for _ in range(5):
        with control_client(worker.address) as client:
            os.kill(client.bind(client.attach())["executor"], signal.SIGKILL)
    eventually(lambda: settled() <= before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_worker_and_executors(native_files: Path, number: int) -> None:
    with workers.worker() as running, control_client(running.address) as client:
        executors = [client.bind(client.attach())["executor"] for _ in range(2)]
        eventually(lambda: len(children(running.process.pid)) == 3)
        executors = children(running.process.pid)
        running.process.send_signal(number)
        assert running.process.wait(SECONDS) == 0
        assert all(gone(pid) for pid in executors)
        assert "stopped" in running.log_text()


def test_a_killed_worker_leaves_no_orphan(native_files: Path) -> None:
    with workers.worker() as running, control_client(running.address) as client:
        client.bind(client.attach())
        eventually(lambda: len(children(running.process.pid)) == 2)
        executors = children(running.process.pid)
        running.process.kill()
        running.process.wait()
        eventually(lambda: all(gone(pid) for pid in executors))


def test_all_slots_taken(native_files: Path) -> None:
    with (
        workers.worker("--max-sessions", "2", "--warm-pool", "0") as running,
        control_client(running.address) as client,
    ):
        assert client.bind(client.attach())["t"] == "bound"
        last = client.bind(client.attach())
        assert last["t"] == "bound"
        answer = client.bind(client.attach())
        assert (answer["t"], answer["code"]) == ("error", "full")
        assert "--max-sessions" in answer["message"]
        os.kill(last["executor"], signal.SIGKILL)
        eventually(lambda: client.bind(client.attach())["t"] == "bound")


def free_ports(count: int) -> int:
    """The first of some ports next to each other that are free now."""
    for first in range(21000, 60000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + offset))
            return first
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no free ports")


def test_session_ports_are_those_configured(native_files: Path) -> None:
    first = free_ports(5)
    flags = ("--bind", f"tcp://127.0.0.1:{first}", "--session-ports", f"{first + 1}-{first + 4}")
    with socket.socket() as other:
        other.bind(("127.0.0.1", first + 1))
        other.listen()
        with workers.worker(*flags) as running, control_client(running.address) as client:
            bound = client.bind(client.attach())
            ports = {int(bound[lane].rpartition(":")[2]) for lane in ("command", "bulk")}
            assert ports == {first + 2, first + 3}
            answer = client.bind(client.attach())
            assert answer["t"] == "error"
            assert "--session-ports" in answer["message"]
            os.kill(bound["executor"], signal.SIGKILL)
            eventually(lambda: client.bind(client.attach())["t"] == "bound")


def test_ipc(native_files: Path, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/worker"
    with workers.worker("--bind", address) as running, control_client(address) as client:
        assert running.address == address
        bound = client.bind(client.attach())
        assert bound["command"].startswith(f"ipc://{tmp_path}/")
        assert Path(bound["command"].removeprefix("ipc://")).is_socket()
        assert f"{address} is in use" in refused("--driver", "soft", "--bind", address)
        assert client.ask("status")["t"] == "status"


def test_encrypted(native_files: Path, tmp_path: Path) -> None:
    _, file = make_key_files(tmp_path)
    keys = read_client_keys(file)
    with (
        workers.worker("--keys", str(tmp_path)) as running,
        control_client(running.address, keys) as client,
    ):
        session = client.attach()
        assert client.bind(session)["code"] == "refused"
        bound = client.ask("bind", session=session, client_public=keys.public)
        assert bound["t"] == "bound", bound
        # Every session has a key of its own.
        assert len(bound["server_public"]) == 40
        assert bound["server_public"] != keys.server_public
    make_key_files(tmp_path / "other")
    wrong = read_client_keys(tmp_path / "other")
    stranger = type(keys)(keys.server_public, wrong.public, wrong.secret)
    with workers.worker("--keys", str(tmp_path)) as running:
        asked = run_client("status", "--worker", running.address, "--keys", tmp_path)
        assert asked.returncode == 0, asked.stderr
        mixed = tmp_path / "mixed.key"
        mixed.write_text(
            f"server-public {stranger.server_public}\npublic {stranger.public}\n"
            f"secret {stranger.secret}\n"
        )
        asked = run_client("status", "--worker", running.address, "--keys", mixed)
        assert asked.returncode == 125
        assert "does not accept our key" in asked.stderr
        assert "client refused" in running.log_text()


def run_client(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "vgpu.client", *map(str, arguments)],
        env=workers.python_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )


def refused(*flags: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vgpu.worker", *flags],
        env=workers.python_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_an_address_in_use(worker: RunningWorker) -> None:
    text = refused("--driver", "soft", "--bind", worker.address)
    assert f"{worker.address} is in use" in text
    assert "Traceback" not in text


def test_a_library_that_is_no_driver(native_files: Path, tmp_path: Path) -> None:
    file = tmp_path / "libcuda.so.1"
    file.write_text("no library")
    assert f"{file}" in refused("--driver", str(file), "--bind", "tcp://127.0.0.1:0")
    libc = next(
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libc.so.6" in line
    )
    assert "cuInit" in refused("--driver", libc, "--bind", "tcp://127.0.0.1:0")


def test_devices_that_do_not_exist(native_files: Path) -> None:
    flags = ("--driver", "soft", "--bind", "tcp://127.0.0.1:0")
    assert "gpu-indices names device 5" in refused(*flags, "--gpu-indices", "5")
    assert "--soft-devices 3" in refused(*flags, "--gpu-count", "3")


def test_no_fall_back(native_files: Path) -> None:
    if any(Path("/dev").glob("nvidia*")):
        pytest.skip("this machine has an NVIDIA device")
    text = refused("--bind", "tcp://127.0.0.1:0")
    assert "no CUDA driver on this machine" in text
    assert "--driver soft" in text


def test_json_log_and_ready_descriptor(native_files: Path) -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "vgpu.worker", "--driver", "soft", "--log-format", "json"]
    with subprocess.Popen(
        [*command, "--bind", "tcp://127.0.0.1:0", "--ready-fd", str(writer)],
        env=workers.python_environment(),
        pass_fds=(writer,),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(writer)
        with os.fdopen(reader) as ready:
            address = ready.readline().strip()
            # Executors hold no copy of it: whoever waits for its end is not kept waiting.
            assert ready.read() == ""
        assert address.startswith("tcp://127.0.0.1:")
        process.terminate()
        _, errors = process.communicate(timeout=SECONDS)
    events: list[dict[str, Any]] = [json.loads(line) for line in errors.splitlines()]
    serving = next(event for event in events if event["event"] == "serving")
    assert serving["address"] == address
    assert serving["kind"] == "soft"


def test_a_log_that_nobody_reads_does_not_hold_the_worker(
    native_files: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "vgpu.worker", "--driver", "soft", "--ready-file", str(ready)]
    with subprocess.Popen(
        [*command, "--bind", "tcp://127.0.0.1:0"],
        env=workers.python_environment(),
        stderr=subprocess.PIPE,
    ) as process:
        eventually(ready.exists)
        assert process.stderr is not None
        process.stderr.close()
        with control_client(ready.read_text().strip()) as client:
            bound = client.bind(client.attach())
            assert bound["t"] == "bound"
        process.terminate()
        assert process.wait(SECONDS) in (0, 120)  # 120: Python cannot flush at exit
        assert gone(bound["executor"])


def test_the_quota_is_the_memory_that_clients_see(native_files: Path) -> None:
    with (
        workers.worker("--vram-limit", "1Gi") as running,
        control_client(running.address) as client,
    ):
        attached = client.ask("hello", version=[1, 0])
        assert attached["limits"] == {"vram": 1 << 30}
        assert attached["devices"][0]["total_memory"] == 1 << 30


def test_physical_order(native_files: Path) -> None:
    def uuids(*flags: str) -> list[bytes]:
        with (
            workers.worker("--soft-devices", "3", *flags) as running,
            control_client(running.address) as client,
        ):
            devices = client.ask("hello", version=[1, 0])["devices"]
            return [device["uuid"] for device in devices]

    every = uuids("--gpu-count", "3")
    assert len(set(every)) == 3
    assert uuids("--gpu-indices", "2,1") == uuids("--gpu-indices", "1,2") == every[1:]

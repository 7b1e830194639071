"""Clients of one worker do not harm each other, and nothing outlives its owner."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import kernels, workers
from harness.clients import client, run

COUNT_TO = """
cuda.start()
increment = cuda.function(cuda.module({ptx!r}), "increment")
counter = ctypes.c_uint64(cuda.upload(bytes(4)))
print("ready", flush=True)
for line in sys.stdin:
    assert cuda.launch(increment, (1, 1, 1), (32, 1, 1), counter) == 0
    print(int.from_bytes(cuda.download(counter.value, 4), "little"), flush=True)
"""


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.fixture
def worker():
    with workers.worker() as running:
        yield running


def start_two(address: str) -> list[subprocess.Popen[str]]:
    body = COUNT_TO.format(ptx=kernels.ALL)
    clients = [client(address, body), client(address, body)]
    for one in clients:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n", one.communicate()
    return clients


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = entry.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended meanwhile
            continue
        if int(parent) == pid:
            found.append(int(entry.parent.name))
    return found


def executors(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        try:
            if "vgpu-executor" in str(Path(f"/proc/{child}/exe").readlink()):
                found.append(child)
        except OSError:
            continue
    return found


def wait_until(what, deadline: float = 15.0) -> None:
    end = time.monotonic() + deadline
    while not what():
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.05)


def test_killing_one_client_leaves_the_other_right(worker):
    first, second = start_two(worker.address)
    assert len(executors(worker.process.pid)) >= 2
    assert ask(first) == "32"
    assert ask(second) == "32"
    first.kill()
    first.communicate()
    assert ask(second) == "64"
    second.communicate()
    assert second.returncode == 0


def test_a_killed_executor_is_a_clear_error_for_its_client_only(worker):
    first, second = start_two(worker.address)
    assert ask(first) == "32"
    status = run_status(worker.address)
    victim = next(s["executor"] for s in status if s["pid"] == first.pid)
    os.kill(victim, signal.SIGKILL)
    begun = time.monotonic()
    assert first.stdin is not None
    first.stdin.write("go\n")
    _, err = first.communicate(timeout=30)
    assert time.monotonic() - begun < 15
    assert first.returncode != 0
    assert "executor" in err
    assert ask(second) == "32"
    second.communicate()


def run_status(address: str) -> list[dict]:
    import json

    command = [sys.executable, "-m", "vgpu.client", "status", "--worker", address, "--json"]
    done = subprocess.run(
        command, env=workers.python_environment(), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["sessions"]


def test_a_killed_worker_leaves_no_orphan_and_its_clients_end(worker):
    first, second = start_two(worker.address)
    owned = executors(worker.process.pid)
    assert len(owned) >= 2
    worker.process.kill()
    worker.process.wait()
    wait_until(lambda: not any(_alive(pid) for pid in owned))
    for one in (first, second):
        assert one.stdin is not None
        one.stdin.write("go\n")
        _, err = one.communicate(timeout=30)
        assert one.returncode != 0
        assert "vgpu" in err


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_sigterm_stops_worker_and_executors(worker):
    first, _ = clients = start_two(worker.address)
    owned = executors(worker.process.pid)
    assert worker.stop() == 0
    wait_until(lambda: not any(_alive(pid) for pid in owned))
    for one in clients:
        one.kill()
        one.communicate()
    assert first.returncode != 0


def test_executor_killed_in_the_middle_of_a_copy(worker):
    body = """
cuda.start()
data = bytes(64 << 20)
address = cuda.alloc(64 << 20)
print("ready", flush=True)
while True:
    cuda.cuMemcpyHtoD_v2(address, data, len(data))
    cuda.download(address, len(data))
"""
    victim = client(worker.address, body)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "ready\n"
    time.sleep(0.3)  # the copies are under way; nothing is asserted about where
    pid = next(s["executor"] for s in run_status(worker.address) if s["pid"] == victim.pid)
    os.kill(pid, signal.SIGKILL)
    _, err = victim.communicate(timeout=30)
    assert victim.returncode != 0
    assert "executor" in err
    assert (
        run(worker.address, "cuda.start(); print(cuda.download(cuda.upload(b'ok'), 2).decode())")
        == "ok"
    )


def test_a_launch_runs_although_the_program_only_sleeps(worker):
    # Its fault is logged when it happens, not when somebody asks.
    body = """
import time
from harness import kernels
cuda.start()
wild = cuda.function(cuda.module(kernels.ALL), "wild")
cuda.cuCtxSynchronize()
assert cuda.launch(wild, (1, 1, 1), (1, 1, 1)) == 0
print("launched", flush=True)
time.sleep(60)
"""
    sleeper = client(worker.address, body)
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "launched\n", sleeper.communicate()
    wait_until(lambda: "kernel wild: invalid write" in worker.log_text(), 5.0)
    sleeper.kill()
    sleeper.communicate()

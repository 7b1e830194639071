"""`vgpu run` and its sisters as a user runs them, with a private worker or a shared one."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import workers
from harness.workers import RunningWorker

VGPU = [sys.executable, "-m", "vgpu.client"]
SECONDS = 20.0


def vgpu(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*VGPU, *map(str, arguments)],
        env=workers.python_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
    )


def printed(variable: str) -> list[str]:
    return ["--", "sh", "-c", f'printf %s "${variable}"']


@pytest.fixture(scope="module")
def worker(native_files: Path) -> Iterator[RunningWorker]:
    with workers.worker() as running:
        yield running


def test_status_of_the_program(native_files: Path) -> None:
    run = ("run", "--driver", "soft", "--")
    assert vgpu(*run, "true").returncode == 0
    assert vgpu(*run, "sh", "-c", "exit 9").returncode == 9
    killed = vgpu(*run, "sh", "-c", "kill -KILL $$")
    assert killed.returncode == 137
    assert "sh was ended by signal 9 (SIGKILL)" in killed.stderr
    missing = vgpu(*run, "/no/such/program")
    assert missing.returncode == 127
    assert "/no/such/program" in missing.stderr


def test_variables_of_the_program(native_files: Path) -> None:
    run = ("run", "--driver", "soft")
    assert vgpu(*run, *printed("VGPU_WORKER")).stdout.startswith("ipc:///")
    tcp = vgpu(*run, "--transport", "tcp", *printed("VGPU_WORKER")).stdout
    assert tcp.startswith("tcp://127.0.0.1:")
    assert vgpu(*run, *printed("CUPY_COMPILE_WITH_PTX")).stdout == "1"
    path = vgpu(*run, *printed("LD_LIBRARY_PATH"), LD_LIBRARY_PATH="/x").stdout
    assert path == f"{native_files}/stub:/x"


def test_a_machine_without_gpu_says_that_it_uses_the_software_gpu(native_files: Path) -> None:
    if any(Path("/dev").glob("nvidia*")):
        pytest.skip("this machine has an NVIDIA device")
    done = vgpu("run", "--", "true")
    assert done.returncode == 0
    assert "SOFTWARE GPU" in done.stderr
    assert vgpu("run", "--driver", "soft", "--", "true").stderr == ""


def test_a_broken_driver_is_an_error(native_files: Path, tmp_path: Path) -> None:
    library = tmp_path / "libcuda.so.1"
    library.write_text("no library")
    done = vgpu("run", "--driver", library, "--", "echo", "ran")
    assert done.returncode == 125
    assert done.stdout == ""
    assert str(library) in done.stderr
    assert "vgpu doctor" in done.stderr


def test_options_of_the_private_worker_reach_it(native_files: Path) -> None:
    options = ["--soft-devices", 2, "--gpu-count", 2, "--vram-limit", "1Gi", "--soft-cc", "11.0"]
    asked = [*VGPU, "devices", "--json"]
    done = vgpu("run", "--driver", "soft", *options, "--", *asked)
    devices = json.loads(done.stdout)
    assert [device["ordinal"] for device in devices] == [0, 1]
    assert {device["total_memory"] for device in devices} == {1 << 30}
    assert {device["capability"] for device in devices} == {"11.0"}
    refused = vgpu("run", "--driver", "soft", "--gpu-count", 5, "--", "true")
    assert refused.returncode == 125
    assert "gpu-count 5 needs 5 devices" in refused.stderr


def test_variables_of_the_software_gpu_reach_the_private_worker(native_files: Path) -> None:
    asked = ("run", "--driver", "soft", "--", *VGPU, "status", "--json")
    status = json.loads(vgpu(*asked, VGPU_SOFT_SKIP_SASS="1", VGPU_SOFT_CC="11.0").stdout)
    assert status["images"] == "any-elf"
    assert status["devices"][0]["capability"] == "11.0"


def test_a_shared_worker(worker: RunningWorker) -> None:
    run = ("run", "--worker", worker.address)
    assert vgpu(*run, *printed("VGPU_WORKER")).stdout == worker.address
    assert vgpu("run", *printed("VGPU_WORKER"), VGPU_WORKER=worker.address).stdout == worker.address
    assert vgpu(*run, "--", "sh", "-c", "exit 9").returncode == 9
    assert vgpu(*run, "--", "/no/such/program").returncode == 127
    assert vgpu(*run, *printed("TRITON_PTXAS_PATH")).stdout.endswith("ptx-passthrough")
    misplaced = vgpu(*run, "--gpu-count", 2, "--", "true")
    assert misplaced.returncode == 2
    assert "--gpu-count=2: these configure a private worker" in misplaced.stderr


def test_devices_and_status(worker: RunningWorker) -> None:
    table = vgpu("devices", "--worker", worker.address)
    assert table.returncode == 0
    assert "cuda:0" in table.stdout
    assert "software GPU" in table.stdout
    status = json.loads(vgpu("status", "--worker", worker.address, "--json").stdout)
    assert (status["driver"], status["images"], status["sessions"]) == ("soft", "ptx", [])
    assert "no session" in vgpu("status", "--worker", worker.address).stdout


def test_libdir_is_enough(native_files: Path) -> None:
    directory = Path(vgpu("libdir").stdout.strip())
    assert (directory / "libcuda.so.1").is_file()


def test_doctor(worker: RunningWorker) -> None:
    healthy = vgpu("doctor", "--worker", worker.address)
    assert healthy.returncode == 0, healthy.stdout
    assert "13.0" in healthy.stdout
    assert "would run CMD" in healthy.stdout
    alone = vgpu("doctor", VGPU_SOFT_SKIP_SASS="1", VGPU_SOFT_CC="11.0")
    assert "client library" in alone.stdout
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        assert "(capability 11.0)" in alone.stdout
        assert "VGPU_SOFT_CC=11.0, VGPU_SOFT_SKIP_SASS=1" in alone.stdout
        assert "NO kernel is executed" in alone.stdout
    nowhere = vgpu("doctor", "--worker", "tcp://127.0.0.1:1")
    assert nowhere.returncode == 1
    assert "MISSING no worker at tcp://127.0.0.1:1" in nowhere.stdout


def test_statistics_of_a_program_that_uses_no_gpu(worker: RunningWorker) -> None:
    done = vgpu("run", "--stats", "--worker", worker.address, "--", "sh", "-c", "exit 3")
    assert done.returncode == 3
    assert "did not use the GPU" in done.stderr


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.02)


def family(pid: int) -> set[int]:
    """The processes below one, at any depth."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return set()
    children = {int(child) for child in text.split()}
    return children.union(*(family(child) for child in children))


def directory_of(address: str) -> Path:
    return Path(address.removeprefix("ipc://")).parent


PROGRAM = 'echo "$VGPU_WORKER"; exec sleep 60'


def start() -> "tuple[subprocess.Popen[str], Path, set[int]]":
    """A `vgpu run` whose program sleeps; its private directory, and all its processes."""
    process = subprocess.Popen(
        [*VGPU, "run", "--driver", "soft", "--", "sh", "-c", PROGRAM],
        env=workers.python_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    directory = directory_of(process.stdout.readline().strip())
    assert directory.stat().st_mode & 0o077 == 0
    return process, directory, family(process.pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything(native_files: Path, number: signal.Signals) -> None:
    process, directory, members = start()
    assert len(members) >= 3  # program, worker, executor
    with process:
        process.send_signal(number)
        assert process.wait(SECONDS) == 128 + number
    assert all(gone(pid) for pid in members)
    assert not directory.exists()


def test_killing_it_leaves_no_worker(native_files: Path) -> None:
    process, directory, members = start()
    program = {pid for pid in members if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()}
    with process:
        process.kill()
    try:
        eventually(lambda: all(gone(pid) for pid in members - program))
    finally:
        for pid in program:
            os.kill(pid, signal.SIGKILL)
        for path in directory.glob("*"):
            path.unlink()
        directory.rmdir()


def test_a_program_may_handle_the_terminals_interrupt(native_files: Path) -> None:
    """Ctrl-C reaches the whole foreground group once; the worker must survive it."""
    program = (
        "import signal, subprocess, sys, time\n"
        "caught = []\n"
        "signal.signal(signal.SIGINT, lambda *_: caught.append(1))\n"
        "print('ready', flush=True)\n"
        "while not caught:\n"
        "    time.sleep(0.02)\n"
        "time.sleep(0.3)\n"
        "done = subprocess.run([sys.executable, '-m', 'vgpu.client', 'status', '--json'],\n"
        "                      stdout=subprocess.DEVNULL)\n"
        "sys.exit(10 * len(caught) + done.returncode)\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        command = [*VGPU, "run", "--driver", "soft", "--", sys.executable, "-c", program]
        os.execve(command[0], command, workers.python_environment())
    try:
        seen = b""
        while b"ready" not in seen:
            seen += os.read(terminal, 4096)
        os.write(terminal, b"\x03")
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 10

"""Ratios of every route to a driver against the driver itself and against a bare ZeroMQ ping-pong.

All figures of one table come from one run: absolute times of different minutes do not compare.

Usage: python bench/run.py [--driver PATH]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import zmq
from rich.console import Console
from rich.table import Table

COLUMNS = (
    "route",
    "launch, ns",
    "blocking call, ns",
    "of a bare ping-pong",
    "local call, ns",
    "upload, of direct",
    "download, of direct",
)
BENCH = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH.parent / "tests"))

from harness import native, workers  # noqa: E402 (the tests' way to start a worker serves here too)


def bare_ping_pong(url: str, rounds: int = 2000) -> float:
    """Nanoseconds of one 64-byte round trip between two DEALER sockets: median of ten slices."""
    context = zmq.Context()
    server, client = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    server.bind(url)
    client.connect(server.getsockopt_string(zmq.LAST_ENDPOINT))

    def echo() -> None:
        for _ in range(rounds):
            server.send(server.recv())

    thread = threading.Thread(target=echo)
    thread.start()
    slices = []
    for _ in range(10):
        begin = time.perf_counter_ns()
        for _ in range(rounds // 10):
            client.send(b"x" * 64)
            client.recv()
        slices.append((time.perf_counter_ns() - begin) / (rounds // 10))
    thread.join()
    client.close()
    server.close()
    context.term()
    return statistics.median(slices)


def measure(library: Path, **environment: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, str(BENCH / "calls.py"), str(library)],
        env=workers.python_environment(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--driver", type=Path, default=native.softgpu())
    driver = parser.parse_args().driver
    routes = {"direct": measure(driver)}
    routes["in-process"] = measure(native.stub(), VGPU_WORKER=f"inproc://{driver}")
    with workers.worker(driver=driver) as running:
        routes["tcp"] = measure(native.stub(), VGPU_WORKER=running.address)
    with tempfile.TemporaryDirectory() as directory:
        with workers.worker(driver=driver, bind=f"ipc://{directory}/worker") as running:
            routes["ipc"] = measure(native.stub(), VGPU_WORKER=running.address)
        floor = {
            "tcp": bare_ping_pong("tcp://127.0.0.1:*"),
            "ipc": bare_ping_pong(f"ipc://{directory}/bare"),
        }

    table = Table(title=f"{driver}, {os.cpu_count()} cores")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "route" else "right")
    direct = routes["direct"]
    for name, figures in routes.items():
        ratio = f"{figures['blocking_ns'] / floor[name]:.2f}" if name in floor else "-"
        table.add_row(
            name,
            f"{figures['launch_ns']:.0f}",
            f"{figures['blocking_ns']:.0f}",
            ratio,
            f"{figures['local_ns']:.0f}",
            f"{figures['upload_bytes_per_s'] / direct['upload_bytes_per_s']:.2f}",
            f"{figures['download_bytes_per_s'] / direct['download_bytes_per_s']:.2f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

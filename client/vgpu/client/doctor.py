"""`vgpu doctor`: what would run here, what is missing, and why."""

from __future__ import annotations

import json
import os
import platform
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vgpu.client.devices import driver_text, read_devices
from vgpu.client.errors import ClientError
from vgpu.client.machine import device_nodes
from vgpu.client.paths import ASSEMBLER, NativeFiles, find_native_files
from vgpu.client.worker_link import ask, load_keys

# What a plain build here needs; released wheels are built for older ones.
BUILT_FOR_GLIBC = (2, 36)

_PROBE_SECONDS = 60

CAPABILITY = """\
A software GPU executes PTX only, so the capability that it reports decides what libraries hand it.
The default, 13.0, is newer than any library knows: cuBLAS then takes kernels that it carries as
PTX, in every dtype, and CuPy compiles to PTX. Triton and torch.compile refuse capabilities that
their LLVM does not know: give them --soft-cc 11.0, where single and double precision run from PTX
but half precision matrix products exist as machine code only. More in docs/softgpu.md."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: Literal["ok", "note", "missing"]
    text: str


def _ok(text: str) -> Finding:
    return Finding("ok", text)


def _missing(text: str) -> Finding:
    return Finding("missing", text)


def _note(text: str) -> Finding:
    return Finding("note", text)


def examine(address: str | None, keys: Path | None) -> Iterator[Finding]:
    """Everything that decides whether `vgpu run` works, one finding at a time."""
    yield from _system()
    try:
        native = find_native_files()
    except ClientError as error:
        yield _missing(str(error))
        return
    yield from _installation(native)
    yield from _keys(keys)
    if address is not None:
        yield from _worker(address, keys)
    else:
        yield from _private_worker(native)
    yield from _environment(native, os.environ)


def _system() -> Iterator[Finding]:
    library, version = platform.libc_ver()
    parts = tuple(int(part) for part in version.split(".") if part.isdigit())
    text = f"{platform.machine()}, {library or 'unknown libc'} {version}, Python " + (
        platform.python_version()
    )
    if library != "glibc":
        yield _missing(f"{text}: the libraries need glibc")
    elif parts < BUILT_FOR_GLIBC:
        needed = ".".join(str(part) for part in BUILT_FOR_GLIBC)
        yield _note(f"{text}: libraries built here on glibc {needed} may not load here")
    else:
        yield _ok(text)


def _installation(native: NativeFiles) -> Iterator[Finding]:
    yield _ok(f"client library {native.stub}")
    parts = {
        "vgpu-executor": (native.executor, "no worker can run here; a remote one can be used"),
        "software GPU": (native.software_driver, "only real GPUs can be used"),
        "preload library": (native.preload, "`vgpu run --preload` does not work"),
    }
    for name, (path, consequence) in parts.items():
        if path.is_file():
            yield _ok(f"{name} {path}")
        else:
            yield _note(f"{name} is not installed ({path}): {consequence}")
    if not os.access(ASSEMBLER, os.X_OK):
        yield _note(f"{ASSEMBLER} cannot be executed: Triton does not work on a software GPU")


def _keys(keys: Path | None) -> Iterator[Finding]:
    if keys is None:
        return
    try:
        load_keys(keys)
    except ClientError as error:
        yield _missing(str(error))
        return
    path = keys / "client.key" if keys.is_dir() else keys
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield _note(f"key file {path} can be read by others: chmod 600 {path}")
    else:
        yield _ok(f"key file {path}")


def _worker(address: str, keys: Path | None) -> Iterator[Finding]:
    try:
        answer = ask(address, {"t": "status"}, load_keys(keys))
        devices = read_devices(answer)
    except ClientError as error:
        yield _missing(str(error))
        return
    names = ", ".join(f"cuda:{device.ordinal} {device.name}" for device in devices)
    yield _ok(f"worker at {address}: {driver_text(answer)}; {names}")
    if answer.get("driver") == "soft":
        yield _note(CAPABILITY)
    yield _ok(f"`vgpu run --worker {address} -- CMD` would run CMD on these devices")


def _private_worker(native: NativeFiles) -> Iterator[Finding]:
    nodes = device_nodes()
    if nodes:
        yield _ok("NVIDIA device nodes: " + ", ".join(str(node) for node in nodes))
        yield from _machine_driver(native)
        return
    yield _note(
        "no NVIDIA device node in /dev: without --worker, `vgpu run` uses the software GPU "
        "(`vgpu worker` does so with --driver soft only)"
    )
    if not (native.executor.is_file() and native.software_driver.is_file()):
        yield _missing("and the software GPU is not installed: give --worker ADDRESS")
        return
    yield from _probe(native, native.software_driver, "software GPU")
    yield from _software_settings(os.environ)
    yield _note(CAPABILITY)


def _machine_driver(native: NativeFiles) -> Iterator[Finding]:
    found = next(_driver_libraries(native), None)
    if found is None:
        yield _missing(
            "a GPU but no libcuda.so.1 in ldconfig's list: install the NVIDIA driver's user space "
            "(`vgpu run --driver soft` asks for the software GPU)"
        )
        return
    yield from _probe(native, found, f"driver {found}")


def _driver_libraries(native: NativeFiles) -> Iterator[Path]:
    for program in ("/sbin/ldconfig", "ldconfig"):
        try:
            listing = subprocess.run([program, "-p"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        for line in listing.stdout.splitlines():
            name, arrow, path = line.partition(" => ")
            if arrow and name.split()[:1] == ["libcuda.so.1"] and Path(path) != native.stub:
                yield Path(path)
        return


def _probe(native: NativeFiles, driver: Path, name: str) -> Iterator[Finding]:
    command = [str(native.executor), "--driver", str(driver.resolve()), "--probe"]
    dropped = ("LD_LIBRARY_PATH", "LD_PRELOAD", "VGPU_WORKER", "CUDA_VISIBLE_DEVICES")
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            env={key: value for key, value in os.environ.items() if key not in dropped},
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            yield _missing(f"{name} does not work: {lines[-1]}")
            return
        devices = json.loads(done.stdout.strip().splitlines()[-1])["devices"]
        names = ", ".join(f"{device['name']} ({_capability(device)})" for device in devices)
        yield _ok(f"{name} works: {len(devices)} device(s), {names}")
        yield _ok("`vgpu run -- CMD` would run CMD on it, through a private worker")
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, IndexError) as error:
        yield _missing(f"{name} cannot be asked: {error}")


def _capability(device: Mapping[str, Any]) -> str:
    attributes = {str(key): value for key, value in device["attributes"].items()}
    major, minor = (attributes.get(str(key), "?") for key in (75, 76))  # CUdevice_attribute
    return f"capability {major}.{minor}"


def _software_settings(environment: Mapping[str, str]) -> Iterator[Finding]:
    given = sorted(name for name in environment if name.startswith("VGPU_SOFT_"))
    if given:
        settings = ", ".join(f"{name}={environment[name]}" for name in given)
        yield _note(f"a software GPU started from here is set up by {settings}")
    if environment.get("VGPU_SOFT_SKIP_SASS") == "1":
        yield _note("VGPU_SOFT_SKIP_SASS=1: NO kernel is executed, so no result will be right")


def _environment(native: NativeFiles, environment: Mapping[str, str]) -> Iterator[Finding]:
    checks: dict[str, Callable[[str], Finding | None]] = {
        "CUDA_VISIBLE_DEVICES": lambda value: _note(
            f"CUDA_VISIBLE_DEVICES={value!r} also selects among the worker's devices"
        ),
        "LD_PRELOAD": lambda value: _note(f"LD_PRELOAD={value!r} is set"),
        "LD_LIBRARY_PATH": lambda value: (
            _ok("LD_LIBRARY_PATH names the client library: programs use it even without `vgpu run`")
            if str(native.stub_directory) in value.split(":")
            else None
        ),
    }
    for name, check in checks.items():
        if name in environment and (finding := check(environment[name])) is not None:
            yield finding

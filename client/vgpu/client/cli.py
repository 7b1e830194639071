"""The `vgpu` command.

`vgpu worker` and `vgpu keys` belong to the worker's package. The two packages never import each
other, so those commands are looked up by name when they are used: first in the entry points of the
group `vgpu.commands`, then in the table below. An installation without the worker lacks just them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

import click
from rich.console import Console

from vgpu.client.devices import plain_status, show_devices, show_sessions
from vgpu.client.doctor import examine
from vgpu.client.environment import program_environment
from vgpu.client.errors import ClientError
from vgpu.client.machine import device_nodes
from vgpu.client.paths import find_native_files
from vgpu.client.private_worker import private_worker
from vgpu.client.program import ProgramError, replace_by_program, run_program
from vgpu.client.statistics import read_statistics, show_statistics
from vgpu.client.worker_link import ask, load_keys

COMMAND_GROUP = "vgpu.commands"
_ELSEWHERE = {"worker": "vgpu.worker.cli:worker", "keys": "vgpu.worker.cli:keys"}

# Ends that a user asks for, or a closed pipe: a shell says nothing about them either.
_QUIET_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)

# 128 + SIGINT would be 130; this is "the tool itself failed", as in env(1) and docker run.
TOOL_FAILED = 125


class _Group(click.Group):
    """Commands of this module, and those of other packages by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_ELSEWHERE, *_entry_points()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        target = _entry_points().get(cmd_name) or _ELSEWHERE.get(cmd_name)
        return _load(cmd_name, target) if target is not None else None


def _entry_points() -> dict[str, str]:
    return {entry.name: entry.value for entry in entry_points(group=COMMAND_GROUP)}


def _load(name: str, target: str) -> click.Command:
    module, _, attribute = target.partition(":")
    try:
        command = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise click.ClickException(f"`vgpu {name}` is not installed here: {error}") from error
    assert isinstance(command, click.Command)
    return command


def _version() -> str:
    try:
        return version("vgpu")
    except PackageNotFoundError:
        return "unknown (not installed)"


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="vgpu")
def main() -> None:
    """Run CUDA programs on a GPU of another process or machine."""


_worker_option = click.option(
    "--worker", "address", envvar="VGPU_WORKER", metavar="URL", help="Address of the worker."
)
_keys_option = click.option(
    "--keys",
    envvar="VGPU_KEYS",
    type=click.Path(path_type=Path),
    help="client.key, or the directory that holds it.",
)

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")

# Options of `vgpu run` that configure its private worker: parameter -> flag.
_PRIVATE_FLAGS = {
    "soft_cc": "--soft-cc",
    "soft_devices": "--soft-devices",
    "soft_memory": "--soft-memory",
    "gpu_count": "--gpu-count",
    "gpu_indices": "--gpu-indices",
    "vram_limit": "--vram-limit",
    "disable_features": "--disable-features",
}


@main.command(
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@_worker_option
@_keys_option
@click.option(
    "--driver",
    envvar="VGPU_DRIVER",
    metavar="cuda|soft|PATH",
    help="Driver of the private worker. "
    "[default: cuda; soft on a machine without any NVIDIA device node]",
)
@click.option(
    "--transport",
    type=click.Choice(["ipc", "tcp"]),
    default="ipc",
    show_default=True,
    help="How to reach the private worker.",
)
@click.option(
    "--soft-cc",
    metavar="X.Y",
    help="Compute capability of the software GPU: 13.0 for CuPy and cuBLAS in every dtype, 11.0 "
    "for Triton and torch.compile; see `vgpu doctor`.  [default: 13.0]",
)
@click.option("--soft-devices", metavar="N", help="Number of software GPUs.  [default: 1]")
@click.option("--soft-memory", metavar="SIZE", help="Memory of each software GPU.  [default: 4Gi]")
@click.option("--gpu-count", metavar="N", help="Devices of the private worker.")
@click.option("--gpu-indices", metavar="LIST", help="Physical devices of the private worker.")
@click.option("--vram-limit", metavar="SIZE", help="Memory quota per device, as 4Gi.")
@click.option("--disable-features", metavar="LIST", help="gpu-opt, mem-manager, gpu-limiter.")
@click.option(
    "--preload", is_flag=True, help="Also serve programs that open the driver by absolute path."
)
@click.option("--stats", is_flag=True, help="Print what went over the wire when CMD has ended.")
@click.argument("command", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    command: tuple[str, ...],
    address: str | None,
    keys: Path | None,
    driver: str | None,
    transport: str,
    preload: bool,
    stats: bool,
    **private: str | None,
) -> None:
    """Run CMD on a remote GPU, or on a private worker of this machine if no worker is named.

    A software GPU (--driver soft) takes further settings from VGPU_SOFT_* variables or the file
    that VGPU_SOFT_CONFIG names: checks of memory accesses, a summary of all kernels, and more
    (docs/softgpu.md).

    The exit status is CMD's (128 + N when signal N killed it), 127 when CMD does not exist, and 125
    when vgpu itself failed.
    """
    flags = [
        f"{_PRIVATE_FLAGS[name]}={value}" for name, value in private.items() if value is not None
    ]
    with _reporting_errors():
        if address is not None:
            _refuse_private_options(flags, driver)
            status = _run_on(address, keys, command, preload, stats, may_replace=True)
        else:
            choice = driver or _default_driver()
            with private_worker(choice, transport, flags, os.environ) as own_address:
                status = _run_on(own_address, None, command, preload, stats, may_replace=False)
    sys.exit(status)


def _refuse_private_options(flags: list[str], driver: str | None) -> None:
    source = click.get_current_context().get_parameter_source("driver")
    if driver is not None and source is click.core.ParameterSource.COMMANDLINE:
        flags = [f"--driver={driver}", *flags]
    if flags:
        raise click.UsageError(
            f"{' '.join(flags)}: these configure a private worker, but --worker (or VGPU_WORKER) "
            "names one that runs already"
        )


def _default_driver() -> str:
    if device_nodes():
        return "cuda"
    click.echo(
        "vgpu: no NVIDIA device on this machine: running on the SOFTWARE GPU, which executes "
        "kernels on the CPU (--driver soft asks for it without this notice; see `vgpu doctor`)",
        err=True,
    )
    return "soft"


def _run_on(
    address: str,
    keys: Path | None,
    command: tuple[str, ...],
    preload: bool,
    stats: bool,
    *,
    may_replace: bool,
) -> int:
    native = find_native_files()
    answer = ask(address, {"t": "status"}, load_keys(keys))
    with _statistics_file(stats) as statistics:
        environment = program_environment(
            os.environ,
            native,
            address,
            keys=keys,
            preload=preload,
            ptx_only=answer.get("images") not in ("device", None),
            statistics=statistics,
        )
        if keys is None:
            environment.pop("VGPU_KEYS", None)
        if may_replace and statistics is None:
            replace_by_program(command, environment)
        status = run_program(command, environment)
        if status < 0:
            if -status not in _QUIET_SIGNALS:
                name = signal.Signals(-status).name
                click.echo(f"vgpu: {command[0]} was ended by signal {-status} ({name})", err=True)
            status = 128 - status
        if statistics is not None:
            show_statistics(read_statistics(statistics), Console(stderr=True))
        return status


@contextlib.contextmanager
def _statistics_file(wanted: bool) -> Iterator[Path | None]:
    if not wanted:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="vgpu-stats-") as directory:
        yield Path(directory) / "statistics.jsonl"


@contextlib.contextmanager
def _reporting_errors() -> Iterator[None]:
    try:
        yield
    except ProgramError as error:
        click.echo(f"vgpu: {error}", err=True)
        sys.exit(error.status)
    except ClientError as error:
        click.echo(f"vgpu: error: {error}", err=True)
        sys.exit(TOOL_FAILED)


def _needed(address: str | None) -> str:
    if address is None:
        raise click.UsageError("give --worker URL, or set VGPU_WORKER")
    return address


@main.command()
@_worker_option
@_keys_option
@click.option("--driver", envvar="VGPU_DRIVER", metavar="cuda|soft|PATH", help="As for `vgpu run`.")
@_json_option
def devices(address: str | None, keys: Path | None, driver: str | None, as_json: bool) -> None:
    """List the devices of a worker, or those that `vgpu run` would use here."""
    with _reporting_errors():
        if address is not None:
            answer = ask(address, {"t": "status"}, load_keys(keys))
        else:
            with private_worker(driver or _default_driver(), "ipc", [], os.environ) as own_address:
                answer = ask(own_address, {"t": "status"})
        if as_json:
            click.echo(json.dumps(plain_status(answer)["devices"]))
        else:
            show_devices(answer, address or "this machine (private)", Console())


@main.command()
@_worker_option
@_keys_option
@_json_option
def status(address: str | None, keys: Path | None, as_json: bool) -> None:
    """Show a worker's devices and sessions."""
    console = Console()
    with _reporting_errors():
        answer = ask(_needed(address), {"t": "status"}, load_keys(keys))
        if as_json:
            click.echo(json.dumps(plain_status(answer)))
            return
        show_devices(answer, _needed(address), console)
        show_sessions(answer, console)


@main.command()
@_worker_option
@_keys_option
def doctor(address: str | None, keys: Path | None) -> None:
    """Say what would run here, what is missing, and why. Exits 1 if something needed is missing."""
    marks = {"ok": "ok      ", "note": "note    ", "missing": "MISSING "}
    healthy = True
    for finding in examine(address, keys):
        healthy = healthy and finding.state != "missing"
        first, *more = finding.text.splitlines()
        click.echo(marks[finding.state] + first)
        for line in more:
            click.echo(" " * 8 + line)
    sys.exit(0 if healthy else 1)


@main.command()
def libdir() -> None:
    """Print the directory for LD_LIBRARY_PATH that makes programs use VGPU_WORKER."""
    with _reporting_errors():
        click.echo(find_native_files().stub_directory)


if __name__ == "__main__":
    main()

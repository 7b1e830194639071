"""The commands `vgpu worker` and `vgpu keys`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import uvloop
from click.core import ParameterSource

from vgpu.worker.addresses import (
    DEFAULT_BIND,
    DEFAULT_SESSION_PORTS,
    ControlAddress,
    parse_address,
    parse_port_range,
)
from vgpu.worker.annotations import DEFAULT_PREFIX
from vgpu.worker.config import load_workload
from vgpu.worker.drivers import executor_environment, resolve_driver
from vgpu.worker.errors import ConfigError, WorkerError
from vgpu.worker.keys import add_client, load_server_keys, make_key_files
from vgpu.worker.logs import LEVELS, configure_logs
from vgpu.worker.paths import find_native_files
from vgpu.worker.quantity import parse_bytes
from vgpu.worker.settings import BY_NAME, SETTINGS
from vgpu.worker.supervisor import Supervisor, WorkerOptions

_Command = TypeVar("_Command", bound=Callable[..., Any])

_PR_SET_PDEATHSIG = 1

# Flag of `vgpu worker` -> the software GPU's own variable in the executor.
_SOFT_VARIABLES = {
    "soft_cc": "VGPU_SOFT_CC",
    "soft_devices": "VGPU_SOFT_DEVICES",
    "soft_memory": "VGPU_SOFT_MEMORY",
}


def _workload_options(command: _Command) -> _Command:
    """One option per workload setting, of the same name, with its VGPU_* variable."""
    for setting in reversed(SETTINGS):
        if setting.annotation:
            option = click.option(
                f"--{setting.name}",
                setting.field,
                envvar=setting.variable,
                metavar="VALUE",
                help=setting.help,
            )
            command = option(command)
    return command


@click.command()
@click.option(
    "--bind",
    default=DEFAULT_BIND,
    envvar="VGPU_BIND",
    show_default=True,
    metavar="URL",
    help="Control address, tcp://HOST:PORT (port 0: any) or ipc:///PATH.",
)
@click.option(
    "--session-ports",
    envvar="VGPU_SESSION_PORTS",
    metavar="A-B",
    help="Ports of sessions, two each; 0: any. "
    f"[default: the {DEFAULT_SESSION_PORTS} ports after the control port]",
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    envvar="VGPU_WORKER_KEYS",
    help="server.key or its directory (see `vgpu keys`): encrypt, and admit its clients only.",
)
@click.option(
    "--insecure", is_flag=True, help="Allow a non-loopback address without keys: anyone may use it."
)
@click.option(
    "--driver",
    default="cuda",
    envvar="VGPU_DRIVER",
    show_default=True,
    metavar="cuda|soft|PATH",
    help="The machine's CUDA driver, the software GPU, or a driver library.",
)
@click.option("--soft-cc", envvar="VGPU_SOFT_CC", metavar="X.Y", help="Compute capability.")
@click.option(
    "--soft-devices", envvar="VGPU_SOFT_DEVICES", type=click.IntRange(1, 128), help="Devices."
)
@click.option("--soft-memory", envvar="VGPU_SOFT_MEMORY", metavar="SIZE", help="Memory, as 4Gi.")
@click.option(
    "--annotations",
    multiple=True,
    type=click.Path(path_type=Path),
    envvar="VGPU_ANNOTATIONS",
    help="Downward-API file of the pod's annotations (or labels); may be repeated.",
)
@click.option(
    "--annotation-prefix",
    default=DEFAULT_PREFIX,
    envvar="VGPU_ANNOTATION_PREFIX",
    show_default=True,
    help="Prefix of our annotations, and group of the WorkloadProfile.",
)
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    envvar="VGPU_PROFILE",
    help="WorkloadProfile document (YAML); annotations override it.",
)
@click.option(
    "--warm-pool",
    default=1,
    envvar="VGPU_WARM_POOL",
    type=click.IntRange(0, 64),
    show_default=True,
    help="Executors kept ready for the next clients.",
)
@click.option(
    "--max-sessions",
    default=64,
    envvar="VGPU_MAX_SESSIONS",
    type=click.IntRange(1, 4096),
    show_default=True,
    help="Clients served at once.",
)
@click.option(
    "--grace",
    default=60.0,
    envvar="VGPU_GRACE",
    type=click.FloatRange(1, 86400),
    show_default=True,
    help="Seconds that a silent client keeps its session.",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path),
    help="File to write the bound address into, one line, once clients may come.",
)
@click.option("--ready-fd", type=int, help="The same, to an open file descriptor.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="VGPU_LOG_FORMAT",
    show_default=True,
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    envvar="VGPU_LOG",
    show_default=True,
)
@click.option("--die-with-parent", is_flag=True, hidden=True)
@_workload_options
@click.pass_context
def worker(context: click.Context, /, **options: Any) -> None:
    """Serve this machine's GPUs to remote CUDA programs.

    Every option with a default or a VGPU_* variable can be set by that variable. Workload settings
    can also come from --annotations and --profile; flags and variables override both. A setting
    that is not enforced yet is refused by name.
    """
    if options["die_with_parent"]:
        _die_with_parent()
    _keep_descriptors_from_executors()
    configure_logs(options["log_format"], options["log_level"])
    try:
        _run(context, options)
    except ConfigError as error:
        _fail(error, 2)
    except WorkerError as error:
        _fail(error, 1)


def _run(context: click.Context, options: Mapping[str, Any]) -> None:
    flags = {
        name: options[setting.field]
        for name, setting in BY_NAME.items()
        if setting.annotation and options[setting.field] is not None
    }
    config = load_workload(
        flags,
        annotations=options["annotations"],
        profile=options["profile"],
        prefix=options["annotation_prefix"],
    )
    address = parse_address(options["bind"])
    keys = load_server_keys(options["keys"]) if options["keys"] is not None else None
    if keys is None and not address.is_private and not options["insecure"]:
        raise ConfigError(
            f"{options['bind']} can be reached by other machines, and without keys anyone there "
            "could use this GPU and read its memory. Make keys with `vgpu keys DIRECTORY` and pass "
            "--keys DIRECTORY, or say --insecure"
        )
    native = find_native_files()
    driver = resolve_driver(options["driver"], native, os.environ)
    soft = _soft_environment(context, options, driver.kind)
    supervisor = Supervisor(
        WorkerOptions(
            address=address,
            session_ports=_session_ports(options["session_ports"], address),
            driver=driver,
            native=native,
            environment=executor_environment(os.environ, native, soft),
            keys=keys,
            warm_pool=options["warm_pool"],
            max_sessions=options["max_sessions"],
            grace_seconds=options["grace"],
        ),
        config,
    )

    def announce(bound: str) -> None:
        if options["ready_file"] is not None:
            _write_whole(options["ready_file"], bound + "\n")
        if options["ready_fd"] is not None:
            with os.fdopen(options["ready_fd"], "w") as file:
                file.write(bound + "\n")

    if options["ready_file"] is not None:
        options["ready_file"].unlink(missing_ok=True)
    try:
        uvloop.run(supervisor.serve(announce))
    except BaseExceptionGroup as group:
        problem = _first_worker_error(group)
        if problem is None:
            raise
        raise problem from None


def _first_worker_error(group: BaseExceptionGroup[BaseException]) -> WorkerError | None:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found = _first_worker_error(error)
            if found is not None:
                return found
        elif isinstance(error, WorkerError):
            return error
    return None


def _session_ports(text: str | None, address: ControlAddress) -> range | None:
    if text is not None:
        return parse_port_range(text)
    if address.port == 0 or address.port + DEFAULT_SESSION_PORTS > 65535:
        return None
    return range(address.port + 1, address.port + 1 + DEFAULT_SESSION_PORTS)


def _soft_environment(
    context: click.Context, options: Mapping[str, Any], kind: str
) -> dict[str, str]:
    """The software GPU's variables; a flag for it beside a real driver is an error."""
    given = {name: options[name] for name in _SOFT_VARIABLES if options[name] is not None}
    if kind != "soft":
        flags = [
            "--" + name.replace("_", "-")
            for name in given
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        ]
        if flags:
            raise ConfigError(f"{', '.join(flags)}: only with --driver soft")
        return {}
    if "soft_cc" in given and not re.fullmatch(r"[1-9]\d?\.\d", given["soft_cc"]):
        raise ConfigError(f"--soft-cc {given['soft_cc']}: expected a capability such as 13.0")
    if "soft_memory" in given:
        try:
            given["soft_memory"] = parse_bytes(given["soft_memory"])
        except ValueError as error:
            raise ConfigError(f"--soft-memory: {error}") from error
    return {_SOFT_VARIABLES[name]: str(value) for name, value in given.items()}


def _write_whole(path: Path, text: str) -> None:
    """Makes a file appear with all its content: whoever waits for it may read at once."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise WorkerError(f"cannot write --ready-file {path}: {error.strerror}") from error


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent or parent == 1:
        sys.exit(1)  # it died before we asked to be told


def _keep_descriptors_from_executors() -> None:
    """What we inherited (--ready-fd, a shell's pipes) is not theirs, and uvloop closes nothing."""
    for entry in Path("/proc/self/fd").iterdir():
        if int(entry.name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(entry.name), False)


def _fail(error: Exception, status: int) -> None:
    click.echo(f"vgpu worker: error: {error}", err=True)
    sys.exit(status)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--add", metavar="NAME", help="Add NAME.key, for one more client, to existing keys.")
def keys(directory: Path, add: str | None) -> None:
    """Make CURVE keys: DIRECTORY/server.key for a worker, DIRECTORY/client.key for its clients."""
    try:
        written = [add_client(directory, add)] if add else make_key_files(directory)
    except WorkerError as error:
        click.echo(f"vgpu keys: error: {error}", err=True)
        sys.exit(1)
    for path in written:
        click.echo(path)

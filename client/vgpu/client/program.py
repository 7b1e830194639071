"""Running the user's program: in our place, or as a child whose end we wait for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import NoReturn

from vgpu.client.errors import ClientError

# What a shell answers for a program that is missing, or cannot be executed.
NOT_FOUND = 127
NOT_EXECUTABLE = 126

# siginfo_t's si_code for a signal of the kernel: Ctrl-C reached the whole foreground group already.
_SI_KERNEL = 0x80

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
              signal.SIGUSR2)  # fmt: skip


class ProgramError(ClientError):
    """The program cannot be started; `status` is what a shell would answer."""

    def __init__(self, command: str, error: OSError) -> None:
        super().__init__(f"cannot run {command!r}: {error.strerror}")
        self.status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


def replace_by_program(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Becomes the program; ProgramError if it cannot be executed."""
    try:
        os.execvpe(command[0], list(command), dict(environment))
    except OSError as error:
        raise ProgramError(command[0], error) from error


def run_program(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs the program, passes signals on; its exit status, or minus the signal that ended it."""
    watched = {*_FORWARDED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        try:
            process = subprocess.Popen(
                list(command),
                env=dict(environment),
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
            )
        except OSError as error:
            raise ProgramError(command[0], error) from error
        while process.poll() is None:
            received = signal.sigwaitinfo(watched)
            if received.si_signo != signal.SIGCHLD and received.si_code != _SI_KERNEL:
                process.send_signal(received.si_signo)
        return process.returncode
    finally:
        # Signals that are still pending were for the program.
        while signal.sigtimedwait(watched, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

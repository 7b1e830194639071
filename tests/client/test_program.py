"""Running the program: its status, its signals, and programs that are not there."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vgpu.client.program import ProgramError, run_program


def test_status_is_passed_on() -> None:
    assert run_program(["sh", "-c", "exit 7"], os.environ) == 7
    assert run_program(["true"], os.environ) == 0


def test_a_signal_is_its_negative_number() -> None:
    assert run_program(["sh", "-c", "kill -TERM $$"], os.environ) == -signal.SIGTERM


def test_programs_that_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="cannot run '/no/such/program'") as missing:
        run_program(["/no/such/program"], os.environ)
    assert missing.value.status == 127
    file = tmp_path / "data"
    file.write_text("no program")
    with pytest.raises(ProgramError) as denied:
        run_program([str(file)], os.environ)
    assert denied.value.status == 126


def test_the_program_starts_with_no_signal_blocked() -> None:
    code = "import signal, sys; sys.exit(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    before = len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    assert run_program([sys.executable, "-c", code], os.environ) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_to_us_reach_the_program(number: signal.Signals) -> None:
    program = textwrap.dedent(f"""
        import signal, sys
        signal.signal({int(number)}, lambda *_: sys.exit(42))
        print("ready", flush=True)
        while True:
            signal.pause()
    """)
    outer = textwrap.dedent(f"""
        import os, sys
        from vgpu.client.program import run_program
        sys.exit(run_program([sys.executable, "-c", {program!r}], os.environ))
    """)
    process = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 42

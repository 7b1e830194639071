"""Runs every native test program of the build tree, each as one test."""

import os
import re
import subprocess
from pathlib import Path

import pytest

DIRECTORY = Path(os.environ.get("VGPU_NATIVE_TESTS", "build/native/tests"))
PROGRAMS = sorted(p for p in DIRECTORY.glob("*") if p.is_file() and os.access(p, os.X_OK))


#: how a sanitizer's report begins, in whichever process of a test
REPORTS = re.compile("WARNING: ThreadSanitizer|ERROR: (Address|Leak)Sanitizer|: runtime error: ")


def run(program: Path, **environment: str) -> None:
    done = subprocess.run(
        [program], env=os.environ | environment, capture_output=True, text=True, timeout=240
    )
    report = REPORTS.search(done.stderr)
    shown = done.stderr[report.start() :][:4000] if report else done.stderr[-4000:]
    assert not report, shown
    assert done.returncode == 0, done.stdout[-4000:] + shown


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_program(program: Path) -> None:
    run(program)


@pytest.mark.parametrize("variant", ["avx2", "portable"])
@pytest.mark.parametrize("name", ["ptx_test", "ptx_access_test"])
def test_interpreter_for_lesser_processors(name: str, variant: str) -> None:
    if not (DIRECTORY / name).exists():
        pytest.skip("no native test programs: `make test` builds them")
    run(DIRECTORY / name, VGPU_SOFT_ISA=variant)


def test_programs_were_built() -> None:
    if not PROGRAMS:
        pytest.skip("no native test programs: `make test` builds them")

"""Chooses the tests: the same ones for everybody, spread evenly over the collected suite."""

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

AREAS = ("core", "math", "linalg", "sorting", "random", "indexing", "manipulation")
SEED = "vgpu"

PATHS = tuple(f"tests/cupy_tests/{area}_tests" for area in AREAS)


def pytest_command(suite: Path, python: str) -> list[str]:
    """How every pytest of the suite starts: with CuPy's own settings, whatever the directory."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return [*command, "-c", str(suite / "pyproject.toml"), "--rootdir", str(suite)]


def collect(
    suite: Path, launcher: Sequence[str], python: str, paths: Sequence[str] = PATHS
) -> list[str]:
    """Every test below the paths, as pytest names them. Importing CuPy's tests needs a device."""
    command = [*launcher, *pytest_command(suite, python), "--collect-only", *paths]
    done = subprocess.run(command, cwd=suite, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"pytest cannot collect the suite:\n{done.stdout[-3000:]}{done.stderr}")
    return [line for line in done.stdout.splitlines() if line.startswith("tests/")]


def choose(tests: Sequence[str], count: int) -> list[str]:
    """The first tests in an order by digest: a test's place depends on nothing but its name."""

    def place(test: str) -> str:
        return hashlib.sha256(f"{SEED}:{test}".encode()).hexdigest()

    return sorted(sorted(set(tests), key=place)[:count])


def digest(tests: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(tests).encode()).hexdigest()

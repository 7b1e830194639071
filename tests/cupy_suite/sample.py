"""Chooses the tests: the same ones for everybody, spread evenly over the collected suite."""

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cupy_suite import plugin

AREAS = ("core", "math", "linalg", "sorting", "random", "indexing", "manipulation")
SEED = "vgpu"

PATHS = tuple(f"tests/cupy_tests/{area}_tests" for area in AREAS)


def pytest_command(suite: Path, python: str) -> list[str]:
    """How every pytest of the suite starts: with CuPy's own settings, and our plugin."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", plugin.__name__]
    return [*command, "-c", str(suite / "pyproject.toml"), "--rootdir", str(suite)]


def pytest_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def collect(
    suite: Path, launcher: Sequence[str], python: str, listing: Path, paths: Sequence[str] = PATHS
) -> list[str]:
    """Every test below the paths, as pytest names them; asks a listing before it asks pytest.

    Importing CuPy's tests needs a device.
    """
    if not listing.exists():
        command = [*launcher, *pytest_command(suite, python), "--collect-only", *paths]
        environment = pytest_environment() | {plugin.COLLECTED: str(listing)}
        done = subprocess.run(
            command, cwd=suite, env=environment, capture_output=True, text=True, timeout=600
        )
        if done.returncode != 0:
            listing.unlink(missing_ok=True)
            raise SystemExit(f"pytest cannot collect:\n{done.stdout[-3000:]}{done.stderr}")
    names: list[str] = json.loads(listing.read_text())
    return names


def choose(tests: Sequence[str], count: int) -> list[str]:
    """The first tests in an order by digest: a test's place depends on nothing but its name."""

    def place(test: str) -> str:
        return hashlib.sha256(f"{SEED}:{test}".encode()).hexdigest()

    return sorted(sorted(set(tests), key=place)[:count])


def digest(tests: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(tests).encode()).hexdigest()

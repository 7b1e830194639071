"""Workers for these tests: real ones, on the software GPU."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import workers
from vgpu.worker.errors import WorkerError
from vgpu.worker.paths import find_native_files


def missing_native_files() -> str | None:
    """Why no worker can be started here, if so."""
    try:
        native = find_native_files()
    except WorkerError as error:
        return str(error)
    return None if native.software_driver.is_file() else f"no {native.software_driver}"


@pytest.fixture(scope="session")
def native_files() -> Path:
    """The native files under test; without them a test is skipped, saying how to get them."""
    if (reason := missing_native_files()) is not None:
        pytest.skip(reason)
    root = find_native_files().root
    os.environ["VGPU_NATIVE_DIR"] = str(root)
    return root


@pytest.fixture(scope="module")
def worker(native_files: Path) -> Iterator[workers.RunningWorker]:
    """A worker on two software GPUs, for the tests of a module."""
    with workers.worker("--soft-devices", "2", "--gpu-count", "2") as running:
        yield running

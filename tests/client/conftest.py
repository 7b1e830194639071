"""Native files for the tests that run programs."""

import os
import signal
from pathlib import Path

import pytest

from vgpu.client.errors import ClientError
from vgpu.client.paths import find_native_files

# A shell that runs the tests in the background has them ignore the terminal's interrupt, and the
# programs that they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def native_files() -> Path:
    """The native files under test; without them a test is skipped, saying how to get them."""
    try:
        native = find_native_files()
    except ClientError as error:
        pytest.skip(str(error))
    for path in (native.executor, native.software_driver):
        if not path.is_file():
            pytest.skip(f"no {path}: build it, or set VGPU_NATIVE_DIR")
    os.environ["VGPU_NATIVE_DIR"] = str(native.root)
    return native.root

"""cuSOLVER, cuFFT, cuSPARSE and cuRAND through CuPy, on the software GPU alone and by the stub."""

import pytest

from harness.programs import ROUTES, run_cupy

pytestmark = [pytest.mark.programs, pytest.mark.timeout(600)]

DEADLINE = 560  # seconds
NEEDS = {
    "fft": "cufft",
    "sparse": "cusparse",
    "sparse_solvers": "cusparse",
    "random": "curand",
    "distributions": "curand",
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("group", ["solve", "qr", "svd", "eigh", *NEEDS])
def test_library(group: str, route: str) -> None:
    library = NEEDS.get(group, "cusolver")
    pytest.importorskip(f"nvidia.{library}", reason="needs the programs extra: make test-programs")
    assert run_cupy(route, "cupy_libraries.py", [group], timeout=DEADLINE) == f"{group} agrees\n"

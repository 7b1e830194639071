"""cuBLAS through CuPy, on the software GPU alone and through the stub."""

import importlib.util

import pytest

from harness.programs import ROUTES, run_cupy

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None, reason="needs CuPy: make test installs it"
)

DEADLINE = 560  # seconds


def check(route: str, *groups: str) -> None:
    output = run_cupy(route, "cublas.py", groups, timeout=DEADLINE)
    assert output.splitlines() == [f"{group} agrees" for group in groups]


@pytest.mark.parametrize(
    ("route", "groups"), [("direct", ("half", "int8")), ("tcp", ("single", "bfloat16"))]
)
def test_products(route: str, groups: tuple[str, ...]) -> None:
    check(route, *groups)


@pytest.mark.programs
@pytest.mark.timeout(600)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "groups",
    [
        ("half", "single", "bfloat16", "mixed", "int8"),
        ("double", "complex"),
        ("batches", "solves"),
        ("vectors", "others"),
    ],
)
def test_everything(groups: tuple[str, ...], route: str) -> None:
    check(route, *groups)

"""The runner on a small suite of our own: what a test costs when it fails, dies or never ends."""

import sys
from pathlib import Path

import pytest

from cupy_suite import report, sample
from cupy_suite.run import Journal, Result, Runner

# A stand-in for CuPy: its device is lost once a test says so.
DEVICE = """
class cuda:
    class runtime:
        lost = False
        def deviceSynchronize():
            if cuda.runtime.lost:
                raise RuntimeError("lost")
"""
TESTS = """
import os, time
import cupy
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2, "numbers differ"
def test_unwanted(): raise AssertionError("nobody asked for this test")
def test_dies(): os.abort()
def test_leaves(): os._exit(3)
def test_never_ends():
    while True: time.sleep(0.05)
@pytest.mark.skip(reason="not here")
def test_skipped(): pass
@pytest.mark.xfail(strict=True)
def test_expected_failure(): assert False
@pytest.fixture
def broken():
    yield
    raise ValueError("in the teardown")
def test_teardown(broken): pass
def test_loses_the_device():
    cupy.cuda.runtime.lost = True
    raise ValueError("sticky")
def test_needs_the_device(): assert not cupy.cuda.runtime.lost
@pytest.mark.parametrize("n", range(3))
def test_many(n): assert n != 1
@pytest.mark.parametrize("n", [0], ids=["two\\nlines"])
def test_broken_name(n): pass
"""
PREFIX = "tests/cupy_tests/core_tests/test_small.py::"
EXPECTED = {
    "test_passes": "passed",
    "test_fails": "failed",
    "test_dies": "crashed",
    "test_leaves": "crashed",
    "test_never_ends": "timeout",
    "test_skipped": "skipped",
    "test_expected_failure": "xfailed",
    "test_teardown": "failed",
    "test_loses_the_device": "failed",
    "test_needs_the_device": "passed",
    "test_many[0]": "passed",
    "test_many[1]": "failed",
    "test_broken_name[two\\nlines]": "passed",
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    for area in sample.AREAS:
        (tmp_path / f"tests/cupy_tests/{area}_tests").mkdir(parents=True)
    directory = tmp_path / "tests/cupy_tests/core_tests"
    (directory / "cupy.py").write_text(DEVICE)
    (directory / "test_small.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return tmp_path


@pytest.fixture
def results(suite: Path) -> list[Result]:
    found: list[Result] = []
    Runner(suite, timeout=2).run([PREFIX + name for name in EXPECTED], found.append)
    return found


def test_every_test_is_reported_once_however_it_ends(results):
    assert {r.test.removeprefix(PREFIX): r.outcome for r in results} == EXPECTED
    assert len(results) == len(EXPECTED)
    reasons = {r.test.removeprefix(PREFIX): r.reason for r in results}
    assert "numbers differ" in reasons["test_fails"]
    assert "not here" in reasons["test_skipped"]
    assert reasons["test_dies"] == "ended by SIGABRT"
    assert reasons["test_leaves"] == "exit status 3"


def test_the_collection_lists_every_test(suite, tmp_path):
    found = sample.collect(suite, (), sys.executable, tmp_path / "collected.json")
    assert PREFIX + "test_many[2]" in found
    assert len(found) == TESTS.count("def test_") + 2


def test_a_test_that_does_not_exist_ends_the_run(suite):
    with pytest.raises(SystemExit, match="after 0 tests"):
        Runner(suite).run([PREFIX + "test_absent"], lambda result: None)


def test_the_sample_depends_on_names_only():
    tests = [f"test_{i}" for i in range(100)]
    chosen = sample.choose(tests, 10)
    assert len(set(chosen)) == 10
    assert sample.choose(tests[::-1] + tests, 10) == chosen
    # One test more displaces at most one.
    assert len(set(sample.choose([*tests, "test_new"], 10)) & set(chosen)) >= 9


def test_the_journal_keeps_the_last_result(tmp_path):
    journal = Journal(tmp_path / "results.jsonl")
    journal.add(Result("a", "failed", reason="first"))
    journal.add(Result("b", "passed"))
    journal.add(Result("a", "passed"))
    again = Journal(tmp_path / "results.jsonl")
    assert {name: result.outcome for name, result in again.results.items()} == {
        "a": "passed",
        "b": "passed",
    }


def test_the_summary_accepts_explained_failures_only():
    passed = [Result(f"passed_{i}", "passed") for i in range(97)]
    others = [Result("s", "skipped"), Result("x::a[1]", "failed"), Result("x::b", "crashed")]
    known = [report.Known("no such device", (r"x::a\[",))]
    summary = report.summarise(passed + others, known)
    assert summary.rate == 97 / 99
    assert [r.test for r in summary.unexplained] == ["x::b"]
    assert not summary.accepted
    assert report.summarise(passed + others[:2], known).accepted
    assert not report.summarise([*passed, *others[:2], *[others[1]] * 10], known).accepted
    assert "no such device" in "\n".join(report.lines(summary))

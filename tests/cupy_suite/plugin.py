"""Loaded into each pytest of the suite: runs the wanted tests only, and tells how each went.

Every event is a line of JSON on the descriptor that the environment names, so that what was
running when the process died is known.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

WANTED = "CUPY_SUITE_WANTED"  # a file with the names of tests, in JSON: some hold line breaks
EVENTS = "CUPY_SUITE_EVENTS"  # a descriptor
COLLECTED = "CUPY_SUITE_COLLECTED"  # a file for the names of all tests
TEXT_LIMIT = 4000  # characters of a traceback that are kept

_SEVERITY = ("passed", "xfailed", "skipped", "failed")


class Reporter:
    """Collects the phases of a test into one outcome."""

    def __init__(self, wanted: frozenset[str], descriptor: int) -> None:
        self.wanted = wanted
        self.descriptor = descriptor
        self.outcome = "passed"
        self.text = ""
        self.reason = ""
        self.seconds = 0.0

    def send(self, **event: Any) -> None:
        os.write(self.descriptor, (json.dumps(event) + "\n").encode())

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]):
        others = [item for item in items if item.nodeid not in self.wanted]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.nodeid in self.wanted]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.outcome, self.text, self.reason, self.seconds = "passed", "", "", 0.0
        self.send(event="start", test=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds += report.duration
        outcome = report.outcome
        if hasattr(report, "wasxfail") and outcome == "skipped":
            outcome = "xfailed"
        if _SEVERITY.index(outcome) > _SEVERITY.index(self.outcome):
            self.outcome, self.reason = outcome, _reason(report)
            self.text = report.longreprtext[-TEXT_LIMIT:] if outcome == "failed" else ""

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.send(
            event="finish", test=nodeid, outcome=self.outcome, seconds=round(self.seconds, 3),
            reason=self.reason, text=self.text,
        )  # fmt: skip

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """A sticky error would fail every later test: the next process starts afresh."""
        if self.outcome == "failed" and not _device_is_usable():
            item.session.shouldstop = "the device is lost to this process"


def _reason(report: pytest.TestReport) -> str:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message[:600] if crash is not None else report.longreprtext[-600:]


def _device_is_usable() -> bool:
    try:
        import cupy

        cupy.cuda.runtime.deviceSynchronize()
    except Exception:  # whatever it is, another process has a better chance
        return False
    return True


def pytest_configure(config: pytest.Config) -> None:
    if EVENTS in os.environ:
        wanted = frozenset(json.loads(Path(os.environ[WANTED]).read_text()))
        config.pluginmanager.register(Reporter(wanted, int(os.environ[EVENTS])), "cupy-suite")


def pytest_collection_finish(session: pytest.Session) -> None:
    if COLLECTED in os.environ:
        names = [item.nodeid for item in session.items]
        Path(os.environ[COLLECTED]).write_text(json.dumps(names, indent=0))

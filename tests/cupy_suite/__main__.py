"""`python -m cupy_suite`: fetch, sample, run on a private worker's software GPU, report."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cupy_suite import report, sample
from cupy_suite.fetch import suite
from cupy_suite.run import Journal, Result, Runner
from harness import native, workers

COUNT = 3000
# Of the sample that CuPy 14.2.0 gives with NumPy 2.4: other versions parametrise differently.
DIGEST = "dcc5b045eedc269bb5128bb324bfa9adc58f1d5de115d24677fd04d1f56204d3"
CHUNK = 100  # tests per process: imports and collection are paid once for them
CACHE = native.REPOSITORY / ".cache" / "cupy-suite"


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the worker ends with us
    os.environ |= {
        "CUPY_CACHE_DIR": str(CACHE / "kernels"),
        # Several BLAS threads per process only fight for the cores that execute kernels.
        "OPENBLAS_NUM_THREADS": "1",
    }
    where = suite(CACHE)
    # CuPy tests up to six devices, and its tests of several fail where there are fewer.
    devices = {"VGPU_SOFT_DEVICES": "6"}
    with workers.worker("--gpu-count", "6", driver=options.driver, environment=devices) as worker:
        launcher = [sys.executable, "-m", "vgpu.client", "run", "--worker", worker.address, "--"]
        tests = _sample(where, launcher, options.paths, options.count)
        journal = Journal(_file("results", options.paths, "jsonl"))
        if options.fresh:
            journal.clear()
        pending = [t for t in tests if t not in journal.results or not journal.results[t].good]
        if options.only:
            pending = [test for test in pending if options.only in test]
        _run(Runner(where, launcher, timeout=options.timeout), pending, journal)
    results = [journal.results[test] for test in tests if test in journal.results]
    summary = report.summarise(results, report.known_failures())
    print("\n".join(report.lines(summary)))
    if len(results) < len(tests):
        print(f"{len(tests) - len(results)} tests have not run yet")
    return 0 if summary.accepted else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cupy_suite", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="tests in the sample")
    parser.add_argument("--paths", nargs="+", default=sample.PATHS, help="of CuPy's tests")
    parser.add_argument("--only", default="", help="run only tests whose name holds this")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--timeout", type=float, default=900, help="seconds per test")
    parser.add_argument("--driver", type=Path, help="another libcuda.so.1 [the software GPU]")
    return parser.parse_args()


def _file(name: str, paths: Sequence[str], suffix: str) -> Path:
    """A file of the cache: other paths than the sample's have files of their own."""
    own = "" if tuple(paths) == sample.PATHS else "-" + sample.digest(paths)[:8]
    return CACHE / f"{name}{own}.{suffix}"


def _sample(where: Path, launcher: Sequence[str], paths: Sequence[str], count: int) -> list[str]:
    listing = _file("collected", paths, "json")
    tests = sample.choose(sample.collect(where, launcher, sys.executable, listing, paths), count)
    found = sample.digest(tests)
    if tuple(paths) == sample.PATHS and count == COUNT and found != DIGEST:
        print(f"note: the sample's digest is {found}, not {DIGEST}: other versions of packages?")
    return tests


def _run(runner: Runner, pending: Sequence[str], journal: Journal) -> None:
    began = time.monotonic()

    def show(result: Result) -> None:
        nonlocal finished
        finished += 1
        journal.add(result)
        if not result.good:
            first = (result.reason.splitlines() or [""])[0][:120]
            print(f"{result.outcome}: {result.test}: {first}", flush=True)

    finished = 0
    for chunk in _chunks(pending):
        runner.run(chunk, show)
        spent = time.monotonic() - began
        print(f"{finished} of {len(pending)} tests, {spent:.0f} s", flush=True)


def _chunks(tests: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(tests), CHUNK):
        yield tests[start : start + CHUNK]


if __name__ == "__main__":
    sys.exit(main())

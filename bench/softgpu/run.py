"""How fast the software GPU is, next to NumPy on one core: a table, and the figures as JSON.

One run gives all figures: absolute times of different minutes do not compare. Times of one core are
processor time, so that a busy machine disturbs them less; the others are wall time.

Usage: python bench/softgpu/run.py [--repeats N] [--json FILE] [--markdown] [--only NAME]...
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from workloads import LAUNCHES  # noqa: E402

from harness import native, workers  # noqa: E402 (the tests' way to start a worker serves here too)

TITLES = {
    "add": "float add, 16 M elements",
    "sgemm": "matmul 512x512x512, f32, cuBLAS",
    "tiled_matmul": "matmul 512x512x512, f32, tiles in shared memory",
    "reduce": "sum of 4 M floats, CUB",
    "sort": "sort of 4 M floats, CUB",
    "histogram": "histogram of 4 M bytes, atomics",
    "fma_chain": "chain of fma, f32",
    "integer_chain": "chain of mixed integer operations",
    "launches": "one launch of an empty kernel",
}
COLUMNS = (
    "workload",
    "lane operations, M",
    "G per second and core",
    "one core, ms",
    "all cores, ms",
    "through the stub, ms",
    "NumPy, ms",
    "of NumPy",
)
Figures = dict[str, dict[str, Any]]


def run(library: str, arguments: list[str], **environment: str) -> Figures:
    """The workloads in a child, with one thread for what NumPy and its BLAS do."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VGPU_", "OPENBLAS_"))}
    kept |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "CUPY_COMPILE_WITH_PTX": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE / "workloads.py"), library, *arguments],
        env=kept | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: Figures = json.loads(done.stdout)
    return figures


def measure(arguments: list[str]) -> dict[str, Figures]:
    direct = {"LD_LIBRARY_PATH": str(native.softgpu().parent)}
    one = {"VGPU_SOFT_THREADS": "1"}
    results = {
        "numpy": run("numpy", arguments),
        "core": run("cupy", arguments, **direct, **one),
        "cores": run("cupy", arguments, **direct),
    }
    with workers.worker() as worker:
        stub = {"LD_LIBRARY_PATH": str(native.stub().parent), "VGPU_WORKER": worker.address}
        results["stub"] = run("cupy", arguments, **stub)
    return results


def row(name: str, results: dict[str, Figures]) -> tuple[str, ...]:
    core = results["core"][name]
    times = 1 / LAUNCHES if name == "launches" else 1
    cpu = statistics.median(core["cpu"])
    wall = [statistics.median(results[r][name]["wall"]) * times for r in ("cores", "stub")]
    lanes = core["counts"][2]
    host = results["numpy"].get(name)
    numpy = statistics.median(host["cpu"]) if host else None
    small = 4 if name == "launches" else 1
    return (
        TITLES[name],
        f"{lanes * times / 1e6:.0f}" if host else "",
        f"{lanes / cpu / 1e9:.2f}" if host else "",
        f"{cpu * times * 1e3:.{small}f}",
        *(f"{one * 1e3:.{small}f}" for one in wall),
        f"{numpy * 1e3:.1f}" if numpy else "",
        f"{cpu / numpy:.1f}" if numpy else "",
    )


def print_markdown(rows: list[tuple[str, ...]]) -> None:
    for cells in (COLUMNS, ("---",) * len(COLUMNS), *rows):
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--only", action="append", choices=TITLES, default=[])
    chosen = parser.parse_args()
    arguments = ["--repeats", str(chosen.repeats)]
    arguments += [word for name in chosen.only for word in ("--only", name)]
    results = measure(arguments)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    rows = [row(name, results) for name in results["core"]]
    if chosen.markdown:
        print_markdown(rows)
        return
    table = Table(title=f"Software GPU next to NumPy on one core ({os.cpu_count()} cores)")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == COLUMNS[0] else "right")
    for cells in rows:
        table.add_row(*cells)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()

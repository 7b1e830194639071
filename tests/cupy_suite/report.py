"""Sums a run up: how many passed, what failed, and whether docs/softgpu.md says why."""

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cupy_suite.run import Result

KNOWN = Path(__file__).with_name("known_failures.toml")
NEEDED = 0.95  # of the tests that apply here


@dataclass(frozen=True)
class Known:
    """A group of failures with its reason."""

    reason: str
    patterns: tuple[str, ...]  # regular expressions, matched from the start of a test's name

    def matches(self, test: str) -> bool:
        return any(re.match(pattern, test) for pattern in self.patterns)


def known_failures(path: Path = KNOWN) -> list[Known]:
    groups = tomllib.loads(path.read_text()).get("group", [])
    return [Known(group["reason"], tuple(group["tests"])) for group in groups]


def group_name(test: str) -> str:
    """A test without its parameters."""
    name = re.sub(r"_param_\d+_\{.*?\}", "", test)
    return re.sub(r"\[.*\]$", "", name).removeprefix("tests/cupy_tests/")


@dataclass
class Summary:
    """Counts, and the failures by reason."""

    counts: Counter[str]
    explained: dict[str, list[Result]]
    unexplained: list[Result]

    @property
    def rate(self) -> float:
        applied = self.counts.total() - self.counts["skipped"]
        return (self.counts["passed"] + self.counts["xfailed"]) / max(applied, 1)

    @property
    def accepted(self) -> bool:
        return self.rate >= NEEDED and not self.unexplained


def summarise(results: Sequence[Result], known: Sequence[Known]) -> Summary:
    explained: dict[str, list[Result]] = defaultdict(list)
    unexplained = []
    for result in results:
        if result.good:
            continue
        reason = next((group.reason for group in known if group.matches(result.test)), None)
        if reason is None:
            unexplained.append(result)
        else:
            explained[reason].append(result)
    counts = Counter(result.outcome for result in results)
    return Summary(counts, dict(explained), unexplained)


def lines(summary: Summary) -> list[str]:
    """The report as text."""
    text = [", ".join(f"{count} {name}" for name, count in summary.counts.most_common())]
    text.append(f"{summary.rate:.2%} of the tests that were not skipped pass")
    for reason, results in summary.explained.items():
        text.append(f"\nknown: {reason}")
        text += _grouped(results)
    if summary.unexplained:
        text.append("\nnot explained:")
        text += _grouped(summary.unexplained)
    return text


def _grouped(results: Sequence[Result]) -> list[str]:
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[group_name(result.test)].append(result)
    return [
        f"  {len(group):4} {name}: {(group[0].reason.splitlines() or [group[0].outcome])[0][:160]}"
        for name, group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]

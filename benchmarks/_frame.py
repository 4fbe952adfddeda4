"""Runs the cases of some rows and prints the table."""

from __future__ import annotations

import json
import platform
import random
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import attrs

from ._case import Figures

ROOT = Path(__file__).resolve().parent.parent
CASE_TIMEOUT = 300
"""Seconds; the longest case takes about ten."""


@attrs.frozen
class Case:
    """A case, its size, and which of its figures is meant."""

    name: str
    n: int
    figure: str

    @property
    def key(self) -> str:
        return f"{self.name} {self.n}"


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table.

    Args:
        number: what to call the row on the command line; several lines may share one.
        what: what is measured.
        ours: our figure.
        base: what it is compared with.
        unit: "s", "B", "" for a count, or "/s" for seconds that are shown as how many a second.
        must: the ratio that must hold; None if the line is there to look at.
        goal: the ratio to reach; None likewise.
    """

    number: str
    what: str
    ours: Case
    base: Case
    unit: str = "s"
    must: float | None = None
    goal: float | None = None


@attrs.frozen
class Failure:
    """A case that gave no figures, and why."""

    why: str


Outcome = Figures | Failure


def run_case(case: Case) -> Outcome:
    """Run a case in a process of its own."""
    command = [sys.executable, "-m", "benchmarks._case", case.name, str(case.n)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=CASE_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return Failure(f"not done after {CASE_TIMEOUT} s")
    if done.returncode != 0:
        return Failure((done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def shuffled_cases(rows: Sequence[Row]) -> list[Case]:
    """Each case once; a row's two sides next to each other, the rest left to chance."""
    cases: dict[str, Case] = {}
    for row in random.sample(rows, len(rows)):
        for case in random.sample([row.ours, row.base], 2):
            cases.setdefault(case.key, case)
    return list(cases.values())


def measure(rows: Sequence[Row], runs: int) -> Mapping[str, list[Outcome]]:
    """Run every case `runs` times."""
    outcomes: defaultdict[str, list[Outcome]] = defaultdict(list)
    for turn in range(runs):
        for case in shuffled_cases(rows):
            say(f"\rrun {turn + 1} of {runs}: {case.key:<40}")
            outcomes[case.key].append(run_case(case))
    say(f"\r{'':<60}\r")
    return outcomes


def say(text: str) -> None:
    if sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)


def median_of(case: Case, outcomes: Iterable[Outcome]) -> float | Failure:
    """The median of a case's figure, or the first failure."""
    values = []
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            return outcome
        values.append(outcome[case.figure])
    return statistics.median(values)


# --- the table ----------------------------------------------------------------------------------


def quantity(value: float | Failure, unit: str) -> str:
    """A figure in the unit that fits its size."""
    if isinstance(value, Failure):
        return "failed"
    if unit == "B":
        return f"{value:,.0f} B"
    if unit == "":
        return f"{value:g}"
    if unit == "/s":
        return f"{1 / value:,.0f} /s"
    for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if value * factor >= 1 or name == "us":
            return f"{value * factor:.3g} {name}" if value * factor < 1000 else f"{value:.0f} s"
    raise AssertionError(value)


def times(ratio: float | None) -> str:
    """A ratio; small ones as a fraction."""
    if ratio is None:
        return ""
    if ratio == 0:
        return "0"
    return f"1/{1 / ratio:.0f}" if 0 < ratio < 0.05 else f"{ratio:.2f}x"


def verdict(row: Row, ratio: float | None) -> str:
    if ratio is None or row.goal is None:
        return ""
    if ratio <= row.goal:
        return "goal"
    if row.must is None:
        return ""
    return "must" if ratio <= row.must else "OVER"


def line(row: Row, ours: float | Failure, base: float | Failure) -> list[str]:
    known = not isinstance(ours, Failure) and not isinstance(base, Failure)
    ratio = ours / base if known and base else None  # type: ignore[operator]
    limits = [times(row.must), times(row.goal)]
    figures = [quantity(ours, row.unit), quantity(base, row.unit)]
    return [row.number, row.what, *figures, times(ratio), *limits, verdict(row, ratio)]


def print_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for cells in lines:
        left = [cell.ljust(width) for cell, width in zip(cells[:2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
        print("  ".join(left + right).rstrip())


def describe_machine() -> str:
    versions = [f"{name} {metadata.version(name)}" for name in ("trio", "trio-websocket")]
    return f"Python {platform.python_version()}, {', '.join(versions)}, {platform.machine()}"


def run(rows: Sequence[Row], runs: int) -> int:
    """Measure the rows and print them; 1 if a case failed."""
    print(f"{describe_machine()}; medians of {runs}; smaller is better")
    outcomes = measure(rows, runs)
    lines = [["row", "", "ours", "base", "ratio", "must", "goal", ""]]
    failures: dict[str, str] = {}
    for row in rows:
        sides = []
        for case in (row.ours, row.base):
            value = median_of(case, outcomes[case.key])
            if isinstance(value, Failure):
                failures[case.key] = value.why
            sides.append(value)
        lines.append(line(row, *sides))
    print_table(lines)
    for key, why in failures.items():
        print(f"failed: {key}: {why}")
    return 1 if failures else 0

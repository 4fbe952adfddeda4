"""Settings shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from supervisor.cli.signals import ASKING

# No deadlines: how long an example takes says more about the machine than about us.
# What Hypothesis finds it prints so that it can be run again; in CI every run tries the same.
settings.register_profile("ours", deadline=None, print_blob=True)
settings.register_profile(
    "ci",
    deadline=None,
    print_blob=True,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if "CI" in os.environ else "ours")

# A shell starts what it runs in the background with SIGINT ignored, and `nohup` ignores SIGHUP;
# children inherit that, and the tests about them would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A command that runs in this process ends by ignoring signals; the next test needs them."""
    before = {number: signal.getsignal(number) for number in ASKING}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


# --- figures --------------------------------------------------------------------------------------
# What a test measures and asserts no absolute bound of is printed in tables at the end of the run.

TABLES = pytest.StashKey[dict[str, list[dict[str, str]]]]()


@pytest.fixture
def figures(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[..., None]:
    """`figures(title, **columns)`: a row of the table of this title, as wide as it has columns."""

    def add(title: str, **columns: str) -> None:
        tables = request.config.stash.setdefault(TABLES, {})
        tables.setdefault(title, []).append(columns)
        for name, value in columns.items():
            record_property(f"{title}: {name}", value)

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The tables, after everything else."""
    for title, rows in terminalreporter.config.stash.get(TABLES, {}).items():
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = [names, *([row.get(name, "") for name in names] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        terminalreporter.section(title)
        for first, *others in cells:
            line = [first.ljust(widths[0])]
            line += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            terminalreporter.write_line("  ".join(line).rstrip())

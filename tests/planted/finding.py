"""How a planted bug is found: by searching every schedule, and by drawing schedules."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import attrs
from hypothesis import HealthCheck, given, settings

from supervisor.testing import RaceFound, Schedule, explore, schedules
from supervisor.testing.errors import Deadlock

Scenario = Callable[[], Awaitable[None]]

EXAMPLES = 2000
"""Schedules that Hypothesis may draw; it needs far fewer."""


@attrs.frozen
class Found:
    """A schedule that fails, what the scenario raised under it, and what it cost to find.

    Attributes:
        schedule: the one with the fewest preemptions.
        error: what the scenario raised.
        runs: how often the scenario was run, shrinking included where Hypothesis did it.
        seconds: how long that took.
    """

    schedule: Schedule
    error: BaseException
    runs: int
    seconds: float


def by_exploring(scenario: Scenario) -> Found | None:
    """Search every schedule of at most two preemptions; None if all pass."""
    begun = time.perf_counter()
    try:
        explore(scenario)
    except RaceFound as race:
        assert race.__cause__ is not None
        return Found(race.schedule, race.__cause__, race.runs, time.perf_counter() - begun)
    return None


def by_drawing(scenario: Scenario) -> Found | None:
    """Let Hypothesis draw schedules, and shrink the one that fails; None if all pass."""
    tried: list[Schedule] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(schedules())
    def check(schedule: Schedule) -> None:
        tried.append(schedule)
        schedule.run(scenario)

    begun = time.perf_counter()
    try:
        check()
    except (AssertionError, Deadlock) as error:
        # The last one that Hypothesis runs is the smallest that it has found.
        return Found(tried[-1], error, len(tried), time.perf_counter() - begun)
    return None

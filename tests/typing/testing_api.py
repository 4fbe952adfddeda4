"""Typed uses of the race kit; mypy reads this file, nothing runs it."""

from __future__ import annotations

from functools import partial
from typing import assert_type

import trio
from hypothesis import given

from supervisor.testing import (
    BadOrder,
    Explored,
    RaceFound,
    Schedule,
    explore,
    explore_points,
    point,
    replay,
    schedules,
)


async def scenario() -> int:
    await point("here")
    return 1


async def with_arguments(key: str, times: int) -> str:
    return key * times


def exploring() -> None:
    try:
        covered = explore(scenario, preemptions=3, max_runs=10, workers=2)
        assert_type(covered, Explored)
        assert_type(covered.runs, int)
        assert_type(covered.exhausted, bool)
    except RaceFound as race:
        assert_type(race.schedule, Schedule)
        assert_type(race.schedule.preemptions, int)
        assert_type(race.story, str)
    explore(partial(with_arguments, "a", 2), search="priorities", seed=3, depth=4)
    explore(1)  # type: ignore[arg-type]


def replaying(schedule: Schedule) -> None:
    assert_type(schedule.run(scenario), int)
    assert_type(schedule.run(with_arguments, "a", 2), str)
    assert_type(replay(str(schedule), scenario), int)
    assert_type(Schedule(((1, 2),)).deviations, tuple[tuple[int, int], ...])


@given(schedules(max_preemptions=2))
def drawing(schedule: Schedule) -> None:
    schedule.run(trio.sleep, 1)


def points() -> None:
    try:
        explore_points(scenario)
    except BadOrder as bad:
        assert_type(bad.order, tuple[str, ...])

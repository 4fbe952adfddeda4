"""`schedules()`: Hypothesis draws them, shrinks them, keeps them and reproduces them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import Phase, given, reproduce_failure, settings
from hypothesis.database import InMemoryExampleDatabase

from supervisor.testing import Schedule, schedules
from supervisor.testing.errors import BadOption

QUICK = settings(derandomize=True, database=None, max_examples=200)


async def lost_update() -> None:
    value = 0

    async def increment() -> None:
        nonlocal value
        read = value
        await trio.lowlevel.checkpoint()
        value = read + 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(increment)
        nursery.start_soon(increment)
    assert value == 2, f"{value} of 2"


def failing(how: Callable[[Any], Any]) -> tuple[list[Schedule], BaseException]:
    """Run a property that fails: the schedules that it tried, and what it raised."""
    tried: list[Schedule] = []

    @how
    @given(schedules())
    def test(schedule: Schedule) -> None:
        tried.append(schedule)
        schedule.run(lost_update)

    with pytest.raises(AssertionError) as raised:
        test()
    return tried, raised.value


def test_a_race_is_found_and_shrunk() -> None:
    tried, error = failing(QUICK)
    assert tried[-1].preemptions == 1
    (note, *_) = error.__notes__
    assert 'replay("race1 test_schedules.lost_update 1+1", lost_update)' in note


def test_the_database_brings_a_failure_back() -> None:
    database = InMemoryExampleDatabase()
    kept = settings(database=database, max_examples=200)
    first, _ = failing(kept)
    again, _ = failing(settings(database=database, phases=[Phase.reuse]))
    assert len(again) < len(first)
    assert again[-1] == first[-1]


def test_reproduce_failure_works() -> None:
    _, error = failing(settings(QUICK, print_blob=True))
    (told,) = (note for note in error.__notes__ if "@reproduce_failure" in note)
    match = re.search(r"@reproduce_failure\('([^']+)', b'([^']+)'\)", told)
    assert match
    tried, _ = failing(reproduce_failure(match[1], match[2].encode()))
    assert tried[0].preemptions == 1


def test_the_bounds_are_kept() -> None:
    @QUICK
    @given(schedules(max_preemptions=2, max_gap=3))
    def test(schedule: Schedule) -> None:
        assert schedule.preemptions <= 2
        assert all(gap <= 3 for gap, _ in schedule.deviations)

    test()


@pytest.mark.parametrize("option", ["max_preemptions", "max_gap"])
@pytest.mark.parametrize("value", [-1, 1.5, None, True])
def test_a_wrong_bound_is_named(option: str, value: object) -> None:
    with pytest.raises(BadOption, match=option):
        schedules(**{option: value})  # type: ignore[arg-type]

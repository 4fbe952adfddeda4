"""Random histories of a supervisor, on random schedules: the invariants hold after every step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor._model import JobState
from supervisor.testing import Schedule, explore, schedules
from supervisor.testing._histories.check import Over, check_history
from supervisor.testing._histories.draw import histories
from supervisor.testing._histories.player import Player
from supervisor.testing.commands import (
    Aside,
    Cancel,
    Command,
    End,
    History,
    Manner,
    Pass,
    Settle,
    Start,
    Ticks,
)

IDS = ("a", "b", "c")

FEW: list[tuple[Over, int]] = [("process", 1000), ("name", 150), ("wire", 300), ("faulty", 120)]
MANY: list[tuple[Over, int]] = [("process", 1500), ("name", 200), ("wire", 400), ("faulty", 200)]


def hold(over: Over, examples: int, commands: tuple[int, int] = (8, 16)) -> None:
    """Every invariant, in so many histories."""
    faulty = over == "faulty"

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(histories(*commands, faults=faulty), schedules(5, 300 if faulty else 60))
    def holds(history: History, schedule: Schedule) -> None:
        check_history(history, schedule, over=over)

    holds()


@pytest.mark.parametrize(("over", "examples"), FEW)
def test_the_invariants_hold_in_every_history(over: Over, examples: int) -> None:
    hold(over, examples)


@pytest.mark.soak
@pytest.mark.parametrize(("over", "examples"), MANY)
def test_the_invariants_hold_in_many_more_histories(over: Over, examples: int) -> None:
    hold(over, examples)


@pytest.mark.soak
@pytest.mark.parametrize(("over", "examples"), [("process", 500), ("wire", 400), ("faulty", 150)])
def test_the_invariants_hold_in_long_histories(over: Over, examples: int) -> None:
    hold(over, examples, (16, 40))


RACES: list[list[Command]] = [
    [Start("a"), Cancel("a")],
    [Start("a"), Ticks(1), Cancel("a"), End("a")],
    [Start("a"), Ticks(2), End("a"), Cancel("a", wait=True)],
    [Start("a", timeout=1.0), Settle(), Pass(1.0), End("a")],
    [Start("a", timeout=1.0), Settle(), Pass(1.0), Cancel("a", force=True)],
    [Cancel("a", if_unknown="remember"), Start("a")],
    [Start("a", Manner(killable=True, spawn=2.0)), Ticks(2), Pass(2.0), Cancel("a")],
    [Start("a"), Start("a", conflict="replace"), Cancel("a"), Start("a", reuse="allow")],
    [Start("a"), Start("b"), Cancel("a"), Cancel("b"), Start("c")],
    [Aside(Start("a")), Aside(Cancel("a", if_unknown="remember")), Start("a")],
    [Start("a"), Aside(Cancel("a")), End("a"), Aside(Start("a", conflict="replace"))],
]


def explore_history(history: History, preemptions: int) -> Any:
    async def play() -> None:
        await Player(history, unfair=preemptions).play()

    return explore(play, preemptions=preemptions, max_runs=100_000)


@pytest.mark.parametrize(
    "commands", RACES, ids=lambda value: " ".join(type(c).__name__ for c in value)
)
@pytest.mark.parametrize("slots", [None, 1])
def test_small_races_under_every_single_preemption(
    commands: list[Command], slots: int | None
) -> None:
    assert explore_history(History(commands, slots=slots), 1).exhausted


@pytest.mark.soak
@pytest.mark.parametrize(
    "commands", RACES, ids=lambda value: " ".join(type(c).__name__ for c in value)
)
def test_small_races_under_every_two_preemptions(commands: list[Command]) -> None:
    assert explore_history(History(commands), 2).exhausted


@given(st.permutations(IDS), schedules(2))
@settings(max_examples=30)
def test_a_cancel_that_comes_first_wins_whoever_comes_second(
    ids: list[str], schedule: Schedule
) -> None:
    history = History(
        [Cancel(ids[0], if_unknown="remember"), Start(ids[1]), Start(ids[0]), Settle()]
    )
    played = check_history(history, schedule)
    assert played.finals[(ids[0], 1)].state is JobState.CANCELLED
    assert (ids[0], 1) not in played.entered or not played.entered[(ids[0], 1)]

"""Random histories of a supervisor, on random schedules: the invariants hold after every step."""

from __future__ import annotations

import pytest
from faulty import Fault, faults
from faulty_histories import FaultyPlayer
from histories import (
    IDS,
    Cancel,
    End,
    History,
    Link,
    Manner,
    NamedLink,
    Pass,
    Player,
    Settle,
    Start,
    Ticks,
    WireLink,
    histories,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schedules import deviations, run_scheduled

from supervisor._model import JobState


async def play(history: History, make_link: type[Link] = Link) -> Player:
    player = Player(history, make_link)
    await player.play()
    return player


@settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), deviations())
def test_the_invariants_hold_in_every_history(
    history: History, schedule: list[tuple[int, int]]
) -> None:
    run_scheduled(schedule, play, history)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), deviations())
def test_the_invariants_hold_for_jobs_started_by_name(
    history: History, schedule: list[tuple[int, int]]
) -> None:
    run_scheduled(schedule, play, history, NamedLink)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), deviations())
def test_the_invariants_hold_over_the_wire(
    history: History, schedule: list[tuple[int, int]]
) -> None:
    run_scheduled(schedule, play, history, WireLink)


async def play_over(faults: list[Fault], history: History) -> None:
    await FaultyPlayer(history, faults).play()


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), faults(), deviations(longest_gap=300))
def test_a_client_on_a_faulty_link_has_the_supervisors_history(
    history: History, faults: list[Fault], schedule: list[tuple[int, int]]
) -> None:
    run_scheduled(schedule, play_over, faults, history)


RACES = [
    [Start("a"), Cancel("a")],
    [Start("a"), Ticks(1), Cancel("a"), End("a")],
    [Start("a"), Ticks(2), End("a"), Cancel("a", wait=True)],
    [Start("a", timeout=1.0), Settle(), Pass(1.0), End("a")],
    [Start("a", timeout=1.0), Settle(), Pass(1.0), Cancel("a", force=True)],
    [Cancel("a", if_unknown="remember"), Start("a")],
    [Start("a", Manner(killable=True, spawn=2.0)), Ticks(2), Pass(2.0), Cancel("a")],
    [Start("a"), Start("a", conflict="replace"), Cancel("a"), Start("a", reuse="allow")],
    [Start("a"), Start("b"), Cancel("a"), Cancel("b"), Start("c")],
]


@pytest.mark.parametrize(
    "commands", RACES, ids=lambda value: " ".join(type(c).__name__ for c in value)
)
@pytest.mark.parametrize("slots", [None, 1])
def test_small_races_under_every_single_preemption(commands: list, slots: int | None) -> None:  # type: ignore[type-arg]
    history = History(slots, commands)
    run_scheduled([], play, history)
    for gap in range(30):
        for option in (1, 2, 3):
            run_scheduled([(gap, option)], play, history)


@given(st.permutations(IDS), deviations(2))
@settings(max_examples=30)
def test_a_cancel_that_comes_first_wins_whoever_comes_second(
    ids: list[str], schedule: list[tuple[int, int]]
) -> None:
    history = History(
        None, [Cancel(ids[0], if_unknown="remember"), Start(ids[1]), Start(ids[0]), Settle()]
    )
    player = run_scheduled(schedule, play, history)
    assert player.finals[(ids[0], 1)].state is JobState.CANCELLED
    assert not player.ground.entered[(ids[0], 1)]

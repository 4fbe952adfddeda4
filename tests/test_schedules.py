"""The scheduler of the property tests does what it says on this Trio."""

from __future__ import annotations

import pytest
from schedules import probe, run_scheduled

STRAIGHT = ["a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "c2"]


def test_without_deviations_a_task_runs_until_it_waits() -> None:
    assert probe([]) == STRAIGHT


def test_a_deviation_is_a_preemption_at_its_tick() -> None:
    assert probe([(0, 1)])[0] == "b0"
    assert probe([(1, 1)])[:3] == ["a0", "b0", "b1"]
    assert probe([(1, 2), (0, 1)])[:3] == ["a0", "c0", "a1"]


def test_every_order_of_three_beginnings_can_be_had() -> None:
    orders = {
        "".join(step[0] for step in probe([(0, first), (0, second)]) if step.endswith("0"))
        for first in range(3)
        for second in range(3)
    }
    assert orders == {"abc", "acb", "bac", "bca", "cab", "cba"}


@pytest.mark.parametrize("schedule", [[], [(1, 2), (3, 1)], [(0, 4), (2, 2), (2, 2)]])
def test_the_same_schedule_is_the_same_run(schedule: list[tuple[int, int]]) -> None:
    assert len({tuple(probe(schedule)) for _ in range(5)}) == 1
    assert sorted(probe(schedule)) == STRAIGHT


def test_time_still_jumps() -> None:
    import trio

    async def main() -> float:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for seconds in (3, 5):
                nursery.start_soon(trio.sleep, seconds)
        return trio.current_time() - began

    assert run_scheduled([(2, 1)], main) == 5

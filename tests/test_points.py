"""`explore_points` tries every order of named points, with Trio's public names only."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import pytest
import trio

from supervisor.testing import BadOrder, explore_points, point
from supervisor.testing.errors import BadOption, BadScenario, Deadlock, InsideTrio


async def lost_update() -> None:
    value = 0

    async def increment(name: str) -> None:
        nonlocal value
        await point(f"{name} reads")
        read = value
        await point(f"{name} writes")
        value = read + 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(increment, "a")
        nursery.start_soon(increment, "b")
    assert value == 2, f"{value} of 2"


def test_every_order_is_tried() -> None:
    orders: list[str] = []

    async def three() -> None:
        seen: list[str] = []

        async def pass_by(name: str) -> None:
            await point(name)
            seen.append(name)

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(pass_by, name)
        orders.append("".join(seen))

    covered = explore_points(three)
    assert (covered.runs, covered.exhausted) == (6, True)
    assert sorted(orders) == ["".join(order) for order in permutations("abc")]


def test_a_bad_order_is_found_and_told() -> None:
    with pytest.raises(BadOrder, match="1 of 2") as raised:
        explore_points(lost_update)
    assert raised.value.order == ("a reads", "b reads", "a writes", "b writes")
    assert isinstance(raised.value.__cause__, AssertionError)


def test_a_point_elsewhere_is_a_checkpoint() -> None:
    trio.run(lost_update_alone)


async def lost_update_alone() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await point("nowhere")
    assert scope.cancelled_caught


def test_time_jumps_and_a_deadlock_is_told() -> None:
    async def waits() -> None:
        await point("once")
        await trio.sleep(60)
        await trio.sleep_forever()

    with pytest.raises(BadOrder, match="waits for ever") as raised:
        explore_points(waits)
    assert isinstance(raised.value.__cause__, Deadlock)


def test_max_runs_ends_a_search() -> None:
    async def three() -> None:
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(point, name)

    covered = explore_points(three, max_runs=4)
    assert (covered.runs, covered.exhausted) == (4, False)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(BadScenario, match="came to no point"):
        explore_points(trio.lowlevel.checkpoint)
    with pytest.raises(BadOption, match="max_runs"):
        explore_points(lost_update, max_runs=0)
    with pytest.raises(BadOrder, match="a point's name is a str"):
        explore_points(partial(point, 1))  # type: ignore[arg-type]
    with pytest.raises(BadScenario, match="without calling it"):
        explore_points(lost_update())  # type: ignore[arg-type]

    async def inside() -> None:
        explore_points(lost_update)

    with pytest.raises(InsideTrio):
        trio.run(inside)

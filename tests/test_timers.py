"""Deadlines of many jobs in one task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
import trio
from fakes import run as plainly
from fakes import settle
from turns import in_turn

from supervisor._timers import Timers

Calls: TypeAlias = Timers[Callable[[], None]]


def new_timers() -> Calls:
    return Timers(lambda action: action())


def served(
    test: Callable[[Calls], Awaitable[None]], run: Callable[..., object] = plainly
) -> None:
    async def main() -> None:
        timers = new_timers()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timers.serve)
            await test(timers)
            nursery.cancel_scope.cancel()

    run(main)


def test_actions_are_called_at_their_time_in_their_order() -> None:
    async def test(timers: Calls) -> None:
        called: list[tuple[str, float]] = []
        began = trio.current_time()
        for name, seconds in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
            timers.call_at(
                began + seconds,
                lambda name=name: called.append((name, trio.current_time() - began)),  # type: ignore[misc]
            )
        await trio.sleep(10)
        assert called == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
        assert len(timers) == 0

    served(test)


def test_an_earlier_deadline_wakes_a_sleeping_server() -> None:
    async def test(timers: Calls) -> None:
        called: list[float] = []
        began = trio.current_time()
        timers.call_at(began + 100, lambda: called.append(100))
        await settle()
        timers.call_at(began + 1, lambda: called.append(trio.current_time() - began))
        await trio.sleep(2)
        assert called == [1]

    served(test)


def test_a_time_that_is_past_is_soon() -> None:
    async def test(timers: Calls) -> None:
        called: list[int] = []
        began = trio.current_time()
        timers.call_at(began - 5, lambda: called.append(1))
        await settle()
        assert called == [1]
        assert trio.current_time() == began

    served(test)


def test_a_timer_set_before_the_server_runs_is_served() -> None:
    async def main() -> None:
        timers = new_timers()
        called: list[int] = []
        timers.call_at(trio.current_time() + 1, lambda: called.append(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timers.serve)
            await trio.sleep(2)
            nursery.cancel_scope.cancel()
        assert called == [1]

    plainly(main)


def test_a_cancelled_timer_is_never_called() -> None:
    async def test(timers: Calls) -> None:
        timer = timers.call_at(trio.current_time() + 1, lambda: pytest.fail("called"))
        timer.cancel()
        timer.cancel()
        assert len(timers) == 0
        await trio.sleep(2)
        assert len(timers) == 0

    served(test)


def test_cancelling_after_the_call_does_nothing() -> None:
    async def test(timers: Calls) -> None:
        timer = timers.call_at(trio.current_time() + 1, lambda: None)
        timers.call_at(trio.current_time() + 9, lambda: None)
        await trio.sleep(2)
        timer.cancel()
        assert len(timers) == 1

    served(test)


def test_a_timer_may_set_and_cancel_others() -> None:
    async def test(timers: Calls) -> None:
        called: list[str] = []
        began = trio.current_time()
        others = [timers.call_at(began + 1, lambda: called.append("other")) for _ in range(200)]

        def first() -> None:
            for other in others:
                other.cancel()
            timers.call_at(began + 1, lambda: called.append("now"))
            timers.call_at(began + 2, lambda: called.append("later"))

        timers.call_at(began + 0.5, first)
        await trio.sleep(5)
        assert called == ["now", "later"]
        assert len(timers) == 0

    served(test)


def test_cancelled_timers_do_not_pile_up() -> None:
    async def test(timers: Calls) -> None:
        kept = timers.call_at(trio.current_time() + 5, lambda: None)
        for _ in range(10_000):
            timers.call_at(trio.current_time() + 1e6, lambda: None).cancel()
        assert len(timers) == 1
        assert len(timers._heap) < 200
        kept.cancel()

    served(test)


def test_many_that_are_due_together_leave_room_for_others() -> None:
    async def test(timers: Calls) -> None:
        called, ticks = 0, 0

        def count() -> None:
            nonlocal called
            called += 1

        due = trio.current_time() + 1
        for _ in range(1000):
            timers.call_at(due, count)
        await trio.sleep_until(due)
        while called < 1000:
            ticks += 1
            await trio.lowlevel.checkpoint()
        assert ticks >= 5

    served(test, in_turn)

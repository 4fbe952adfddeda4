"""The base of row 15: `trio.run` of a small scenario, time and again, as plain tests run it.

The scenario has three jobs of trio-record, and somebody who cancels the second and waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from ._case import Figures
from ._probe import clock
from .base_jobs import Jobs, Record

RUNS = 1_500
"""About as many as our side makes."""


def three_jobs(steps: int) -> Callable[[], Awaitable[None]]:
    """The scenario: how many steps a job has decides how many schedules there are."""

    async def body() -> None:
        for _ in range(steps):
            await trio.lowlevel.checkpoint()

    async def cancel(record: Record) -> None:
        await trio.lowlevel.checkpoint()
        record.scope.cancel()
        await record.done.wait()

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            jobs = Jobs(nursery)
            first, second, third = (jobs.start(body) for _ in range(3))
            nursery.start_soon(cancel, second)
            for record in (first, second, third):
                await record.done.wait()
        assert first.state == third.state == "succeeded"
        assert second.state in ("succeeded", "cancelled")

    return scenario


def plain(n: int) -> Figures:
    """Seconds a run of three jobs of `n` steps, on a clock that jumps."""
    scenario = three_jobs(n)

    def run() -> None:
        trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))

    run()
    begun = clock()
    for _ in range(RUNS):
        run()
    return {"per_run": (clock() - begun) / RUNS}

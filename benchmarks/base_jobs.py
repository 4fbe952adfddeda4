"""The base of rows 1 to 6, trio-record: what a careful application would write by itself.

A job is a task with a cancel scope of its own, a record in a dict, three transitions and an
Event. No checks, no history, no answers.
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from ._case import Figures
from ._probe import Countdown, Stalls, clock, longest_stall, resident

Body = Callable[[], Awaitable[None]]


@attrs.define
class Record:
    id: int
    state: str = "pending"
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: trio.Event = attrs.field(factory=trio.Event)


async def run_job(record: Record, body: Body) -> None:
    record.state = "running"
    with record.scope:
        await body()
    record.state = "cancelled" if record.scope.cancelled_caught else "succeeded"
    record.done.set()


class Jobs:
    """The registry."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.records: dict[int, Record] = {}

    def start(self, body: Body) -> Record:
        record = Record(len(self.records))
        self.records[record.id] = record
        record.state = "starting"
        self._nursery.start_soon(run_job, record, body)
        return record


async def _noop(n: int) -> float:
    jobs = Countdown(n)
    async with trio.open_nursery() as nursery:
        registry = Jobs(nursery)
        begun = clock()
        for _ in range(n - 1):
            registry.start(jobs.noop)
        last = registry.start(jobs.noop)
        await jobs.all_out.wait()
        await last.done.wait()
    return clock() - begun


def noop(n: int) -> Figures:
    """Seconds a job that does nothing, all `n` offered at once."""

    async def main() -> Figures:
        await _noop(200)
        batches = [await _noop(n) for _ in range(max(1, 10_000 // n))]
        return {"per_job": statistics.median(batches) / n}

    return trio.run(main)


def idle(n: int) -> Figures:
    """Bytes an idle job; seconds from cancel to `finally`, one at a time, median of 200."""

    async def main() -> Figures:
        await _noop(200)
        async with trio.open_nursery() as nursery:
            registry = Jobs(nursery)
            jobs = Countdown(n)
            before = resident()
            for _ in range(n):
                registry.start(jobs.idle)
            await jobs.all_in.wait()
            figures = {"memory": (resident() - before) / n}
            latencies = []
            for record in list(registry.records.values())[:: max(1, n // 200)]:
                begun = clock()
                record.scope.cancel()
                await record.done.wait()
                latencies.append(jobs.left_at - begun)
            nursery.cancel_scope.cancel()
        return figures | {"cancel_to_finally": statistics.median(latencies)}

    return trio.run(main)


async def _cancel_all(n: int, stalls: Stalls | None = None) -> float:
    async with trio.open_nursery() as nursery:
        registry = Jobs(nursery)
        jobs = Countdown(n)
        for _ in range(n):
            registry.start(jobs.idle)
        await jobs.all_in.wait()
        if stalls is not None:
            await stalls.reset()
        begun = clock()
        for record in registry.records.values():
            record.scope.cancel()
        await jobs.all_out.wait()
        total = clock() - begun
        assert all(record.done.is_set() for record in registry.records.values())
    return total


def cancel_all(n: int) -> Figures:
    """Seconds to cancel `n` idle jobs."""
    return {"total": trio.run(_cancel_all, n)}


def cancel_all_stall(n: int) -> Figures:
    """The longest stall of the loop in that."""
    return longest_stall(partial(_cancel_all, n))

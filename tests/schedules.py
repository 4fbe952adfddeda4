"""One deterministic schedule of a Trio run: which task goes on, tick by tick.

Trio runs every runnable task once per tick, in lock-step, which hides most races. Here one task
runs per tick and the others are put off, so that any of them can be ahead of any other. Choice 0 is
"go on with the task that ran last", so every other choice is a preemption, and a schedule is a
short list of deviations: (how many ticks after the last one, which task instead).

It takes the place of two private names of Trio's (`trio._core._run._r` and
`_ALLOW_DETERMINISTIC_SCHEDULING`, there since 2019); `test_schedules` checks with `probe` that they
still do what we think.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import trio
import trio._core._run as trio_run
from fakes import run
from hypothesis import strategies as st

STEPS = 200_000
"""A run that takes more ticks than this goes round in circles."""

Deviations = Sequence[tuple[int, int]]


class Scheduler:
    """Stands in for Trio's random numbers, and with them decides who runs."""

    def __init__(self, deviations: Deviations) -> None:
        self._deviations = list(reversed(deviations))
        self._gap = self._deviations[-1][0] if deviations else -1
        self._last: trio.lowlevel.Task | None = None
        self.steps = 0

    def shuffle(self, batch: list[trio.lowlevel.Task]) -> None:
        """Leave one task of ours in the batch, beside Trio's own, and put off the others."""
        self.steps += 1
        if self.steps > STEPS:
            raise RuntimeError(f"more than {STEPS} ticks")
        ours = [task for task in batch if not _is_trios_own(task)]
        if len(ours) > 1:
            chosen = self._choose(ours)
            put_off = [task for task in ours if task is not chosen]
            batch[:] = [task for task in batch if task not in put_off]
            trio_run.GLOBAL_RUN_CONTEXT.runner.runq.extend(put_off)
            self._last = chosen
        elif ours:
            self._last = ours[0]

    def _choose(self, ours: list[trio.lowlevel.Task]) -> trio.lowlevel.Task:
        if self._last in ours:
            ours.remove(self._last)
            ours.insert(0, self._last)
        if self._gap != 0:
            self._gap -= 1
            return ours[0]
        _, option = self._deviations.pop()
        self._gap = self._deviations[-1][0] if self._deviations else -1
        return ours[option % len(ours)]

    def random(self) -> float:
        return 0.75

    def uniform(self, low: float, high: float) -> float:
        return low


def _is_trios_own(task: trio.lowlevel.Task) -> bool:
    nursery = task.parent_nursery
    if nursery is None:
        return True
    return nursery.parent_task.parent_nursery is None and task.name.startswith(("<", "trio."))


@contextmanager
def scheduled(deviations: Deviations) -> Iterator[Scheduler]:
    """Every `trio.run` in this block follows the schedule."""
    scheduler = Scheduler(deviations)
    saved = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    trio_run._r = scheduler  # type: ignore[assignment]
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield scheduler
    finally:
        trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING = saved


def run_scheduled(
    deviations: Deviations, async_fn: Callable[..., Awaitable[Any]], *args: Any
) -> Any:
    """`fakes.run` with every choice of the scheduler made beforehand."""
    with scheduled(deviations):
        return run(async_fn, *args)


def deviations(most: int = 5, longest_gap: int = 60) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Schedules; an empty one never preempts."""
    one = st.tuples(st.integers(0, longest_gap), st.integers(1, 5))
    return st.lists(one, max_size=most)


def probe(deviations: Deviations) -> list[str]:
    """What three tasks of three steps do under a schedule."""
    seen: list[str] = []

    async def task(name: str) -> None:
        for step in range(3):
            seen.append(f"{name}{step}")
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(task, name)

    run_scheduled(deviations, main)
    return seen

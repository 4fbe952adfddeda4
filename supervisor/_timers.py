"""Deadlines of many jobs, kept by one task.

A task per deadline would cost more than a job does. Cancelling a timer only marks it; marked ones
are swept out when they are the majority, so that a job that ended long before its timeout does
not stay in memory until then.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Generic, TypeVar

import trio

__all__ = ["Timer", "Timers"]

T = TypeVar("T")

CHUNK = 50
"""How many timers are served between two checkpoints: a hundred thousand jobs that reach their
deadline together must not hold up the loop."""


class Timer(Generic[T]):
    """One deadline of one thing; `cancel` takes it back."""

    __slots__ = ("_owner", "_subject", "when")

    def __init__(self, owner: Timers[T], when: float, subject: T) -> None:
        self._owner = owner
        self.when = when
        self._subject: T | None = subject

    def __lt__(self, other: Timer[T]) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """Never call for it. Does nothing if that was done already."""
        if self._subject is not None:
            self._subject = None
            self._owner._forget_one()


class Timers(Generic[T]):
    """Calls one function for many things, each at its moment of Trio's clock.

    One function, because a closure for every deadline would be most of its cost.
    """

    def __init__(self, on_time: Callable[[T], None]) -> None:
        self._on_time = on_time
        self._heap: list[Timer[T]] = []
        self._cancelled = 0
        self._sleep = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def call_at(self, when: float, subject: T) -> Timer[T]:
        """Call `on_time(subject)` at `when` on Trio's clock, soon after if that is past."""
        timer = Timer(self, when, subject)
        heapq.heappush(self._heap, timer)
        if when < self._sleep.deadline:
            self._sleep.deadline = when
        return timer

    def _forget_one(self) -> None:
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer._subject is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    @trio.lowlevel.enable_ki_protection
    async def serve(self) -> None:
        """Keep the deadlines; runs until it is cancelled."""
        while True:
            earliest = self._heap[0].when if self._heap else math.inf
            with trio.CancelScope(deadline=earliest) as self._sleep:
                await trio.sleep_forever()
            # What became runnable at the same moment goes first: a job that leaves at once, after
            # a grace of 0, has left in time.
            await trio.lowlevel.checkpoint()
            self._fire_chunk()

    def _fire_chunk(self) -> None:
        now = trio.current_time()
        for _ in range(CHUNK):
            if not self._heap or self._heap[0].when > now:
                return
            timer = heapq.heappop(self._heap)
            subject, timer._subject = timer._subject, None
            if subject is None:
                self._cancelled -= 1
            else:
                self._on_time(subject)

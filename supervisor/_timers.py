"""Deadlines of many jobs, kept by one task.

A task per deadline would cost more than a job does. Cancelling a timer only marks it; marked ones
are swept out when they are the majority, so that a job that ended long before its timeout does
not stay in memory until then.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import trio

__all__ = ["Timer", "Timers"]

CHUNK = 50
"""How many timers are served between two checkpoints: a hundred thousand jobs that reach their
deadline together must not hold up the loop."""


class Timer:
    """One deadline; `cancel` takes it back."""

    __slots__ = ("_action", "_owner", "when")

    def __init__(self, owner: Timers, when: float, action: Callable[[], None]) -> None:
        self._owner = owner
        self.when = when
        self._action: Callable[[], None] | None = action

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """Never call the action. Does nothing if it was called already."""
        if self._action is not None:
            self._action = None
            self._owner._forget_one()

    def _fire(self) -> bool:
        action, self._action = self._action, None
        if action is None:
            return False
        action()
        return True


class Timers:
    """Calls functions at moments of Trio's clock."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._cancelled = 0
        self._sleep = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def call_at(self, when: float, action: Callable[[], None]) -> Timer:
        """Call `action()` at `when` on Trio's clock, soon after if that is past."""
        timer = Timer(self, when, action)
        heapq.heappush(self._heap, timer)
        if when < self._sleep.deadline:
            self._sleep.deadline = when
        return timer

    def _forget_one(self) -> None:
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer._action is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    async def serve(self) -> None:
        """Keep the deadlines; runs until it is cancelled."""
        while True:
            earliest = self._heap[0].when if self._heap else math.inf
            with trio.CancelScope(deadline=earliest) as self._sleep:
                await trio.sleep_forever()
            self._fire_chunk()

    def _fire_chunk(self) -> None:
        now = trio.current_time()
        for _ in range(CHUNK):
            if not self._heap or self._heap[0].when > now:
                return
            if not heapq.heappop(self._heap)._fire():
                self._cancelled -= 1

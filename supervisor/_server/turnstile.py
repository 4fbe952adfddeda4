"""Bulk work of all connections, one small piece at a time.

What takes long (starting a thousand jobs, a page of a list, a large answer) passes through here:
whoever has work waits in line, does about a millisecond of it, and goes to the end of the line. So
the loop never does more than one such piece between two looks at everything else, however many
clients ask, and what is not bulk, cancels above all, is served at once.

Each connection has a lane of its own, and only the first of a lane stands in the line: a client
that asks for a thousand pages does not make the others wait for a thousand turns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TypeVar

import trio

__all__ = ["SLICE", "Lane", "Turnstile"]

T = TypeVar("T")

SLICE = 0.001
"""Seconds of work at a time."""


class Turnstile:
    """One for a whole server. Whoever came first goes first."""

    def __init__(self) -> None:
        # Trio hands the lock on from one task to the next, which runs in the next turn of the loop.
        self.lock = trio.StrictFIFOLock()

    def __repr__(self) -> str:
        return f"<Turnstile, {self.lock.statistics().tasks_waiting} waiting>"


class Lane:
    """One connection's way through the turnstile."""

    def __init__(self, turnstile: Turnstile) -> None:
        self._turnstile = turnstile
        self._first = trio.StrictFIFOLock()

    def __repr__(self) -> str:
        return f"<Lane, {self._first.statistics().tasks_waiting} waiting behind the first>"

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn; the block should take about a millisecond, and wait for nobody."""
        async with self._first, self._turnstile.lock:
            yield

    async def do(self, work: Generator[None, None, T]) -> T:
        """Do work that yields wherever it can pause, as often as it likes; its result.

        When the caller is cancelled, the work is closed where it pauses.
        """
        try:
            while True:
                async with self._first, self._turnstile.lock:
                    ends = perf_counter() + SLICE
                    next(work)
                    while perf_counter() < ends:
                        next(work)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            work.close()

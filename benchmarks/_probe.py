"""What is measured: memory, the longest stall of the loop, when the last of many is done."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Awaitable, Callable

import trio

PAGE = os.sysconf("SC_PAGE_SIZE")

clock = time.process_time
"""Seconds of CPU: what runs in one thread and waits for nobody takes as long as that on a quiet
machine, and on a busy one the others are not counted."""


def resident() -> int:
    """Bytes of memory this process really occupies, garbage collected first."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * PAGE


class Stalls:
    """The longest time the loop let a task that was ready wait.

    `collected` is how long the garbage collector has run, `worst_net` the longest stall without
    its share: a full collection looks at every object there is, and holds up the loop so long.
    """

    def __init__(self) -> None:
        self.worst = self.worst_net = self.collected = 0.0
        self._collecting_since = 0.0

    async def reset(self) -> None:
        """Forget what was, after a tick in which the watcher has run: it counts from now."""
        for _ in range(2):
            await trio.lowlevel.checkpoint()
        self.worst = self.worst_net = 0.0

    def on_collection(self, phase: str, info: object) -> None:
        now = clock()
        if phase == "start":
            self._collecting_since = now
        else:
            self.collected += now - self._collecting_since

    async def watch(self) -> None:
        last, collected = clock(), self.collected
        while True:
            await trio.lowlevel.checkpoint()
            now = clock()
            self.worst = max(self.worst, now - last)
            self.worst_net = max(self.worst_net, now - last - (self.collected - collected))
            last, collected = now, self.collected


def longest_stall(run: Callable[[Stalls], Awaitable[float]]) -> dict[str, float]:
    """Run it with a watcher beside it. Apart from the timing, which the watcher would disturb."""
    stalls = Stalls()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stalls.watch)
            await run(stalls)
            nursery.cancel_scope.cancel()

    gc.callbacks.append(stalls.on_collection)
    trio.run(main)
    gc.callbacks.remove(stalls.on_collection)
    return {"stall": stalls.worst, "stall_net": stalls.worst_net}


class Countdown:
    """Bodies for `n` jobs; tells when all of them were entered, and when all were left."""

    def __init__(self, n: int) -> None:
        self.to_enter = self.to_leave = n
        self.all_in = trio.Event()
        self.all_out = trio.Event()
        self.left_at = 0.0

    def _enter(self) -> None:
        self.to_enter -= 1
        if not self.to_enter:
            self.all_in.set()

    def _leave(self) -> None:
        self.left_at = clock()
        self.to_leave -= 1
        if not self.to_leave:
            self.all_out.set()

    async def noop(self) -> None:
        """A job that does nothing."""
        self._leave()

    async def idle(self) -> None:
        """A job that waits to be cancelled."""
        self._enter()
        try:
            await trio.sleep_forever()
        finally:
            self._leave()

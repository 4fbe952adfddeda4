"""Hand-over lost: who waits for a connection is cancelled, and still stands in the queue.

A connection that comes back before it has run once more is handed to one who is on the way out.
"""

from __future__ import annotations

from collections import deque

import trio
from trio.lowlevel import checkpoint


class Pool:
    def __init__(self) -> None:
        self.free = 0
        self.waiters: deque[trio.Event] = deque()

    async def take(self) -> None:
        waiter = trio.Event()
        self.waiters.append(waiter)
        try:
            await waiter.wait()
        except trio.Cancelled:
            self.leave(waiter)
            raise

    def leave(self, waiter: trio.Event) -> None:
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    async def give_back(self) -> None:
        await trio.sleep(1)  # the last answer is read
        self.give()

    def give(self) -> None:
        if self.waiters:
            self.waiters.popleft().set()
        else:
            self.free += 1


class RightPool(Pool):
    def leave(self, waiter: trio.Event) -> None:
        super().leave(waiter)
        if waiter.is_set():
            self.give()


async def visit(pool: Pool, scope: trio.CancelScope) -> None:
    with scope:
        await pool.take()
        pool.give()


async def hang_up(scope: trio.CancelScope) -> None:
    await checkpoint()  # the browser goes away
    scope.cancel()


async def scenario(pool: Pool) -> None:
    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(visit, pool, scope)
        nursery.start_soon(hang_up, scope)
        nursery.start_soon(pool.give_back)
    assert pool.free == 1, "the connection is gone"


async def broken() -> None:
    await scenario(Pool())


async def right() -> None:
    await scenario(RightPool())

"""Lost update: read, await, write what was read plus one.

Whatever was written in between is gone.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Counter:
    def __init__(self) -> None:
        self.value = 0

    async def add_one(self) -> None:
        value = self.value
        await checkpoint()  # it is sent to the replica
        self.value = value + 1


class RightCounter(Counter):
    async def add_one(self) -> None:
        await checkpoint()
        self.value = self.value + 1


async def later(counter: Counter) -> None:
    await checkpoint()
    await checkpoint()  # the page is loaded
    await counter.add_one()


async def scenario(counter: Counter) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(counter.add_one)
        nursery.start_soon(later, counter)
    assert counter.value == 2, f"counted {counter.value} of 2"


async def broken() -> None:
    await scenario(Counter())


async def right() -> None:
    await scenario(RightCounter())

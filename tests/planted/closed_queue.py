"""Closed between check and put: the queue was open when it was asked.

What is put after the last look at the queue was accepted and is never handled.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Queue:
    def __init__(self) -> None:
        self.is_open = True
        self.items: list[str] = []
        self.accepted: list[str] = []
        self.handled: list[str] = []

    async def put(self, item: str) -> None:
        if self.is_open:
            await checkpoint()  # it is packed
            self.items.append(item)
            self.accepted.append(item)

    async def close(self) -> None:
        await checkpoint()
        await checkpoint()  # the farewells
        self.is_open = False
        self.handled += self.items


class RightQueue(Queue):
    async def put(self, item: str) -> None:
        await checkpoint()
        if self.is_open:
            self.items.append(item)
            self.accepted.append(item)


async def scenario(queue: Queue) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.put, "parcel")
        nursery.start_soon(queue.close)
    assert queue.handled == queue.accepted, f"accepted {queue.accepted}, handled {queue.handled}"


async def broken() -> None:
    await scenario(Queue())


async def right() -> None:
    await scenario(RightQueue())

"""Lost wake: the event is set before the one that is waited for is made.

A letter that comes while the reader says that it is idle sets yesterday's event.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Mailbox:
    def __init__(self) -> None:
        self.letters: list[str] = []
        self.came = trio.Event()

    async def put(self, letter: str) -> None:
        await checkpoint()
        await checkpoint()  # the letter is written
        self.letters.append(letter)
        self.came.set()

    async def get(self) -> None:
        while not self.letters:
            await checkpoint()  # "idle"
            self.came = trio.Event()
            await self.came.wait()
        self.letters.pop()


class RightMailbox(Mailbox):
    async def get(self) -> None:
        while not self.letters:
            self.came = trio.Event()
            await checkpoint()
            await self.came.wait()
        self.letters.pop()


async def scenario(mailbox: Mailbox) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.get)
        nursery.start_soon(mailbox.put, "dear reader")


async def broken() -> None:
    await scenario(Mailbox())


async def right() -> None:
    await scenario(RightMailbox())

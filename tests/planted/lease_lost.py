"""Lease lost: who was slow does not notice that another has taken over.

The lease ran out while the first was at work; the standby did the work; the first does it too.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Work:
    def __init__(self) -> None:
        self.holder = "first"
        self.results: list[str] = []

    async def first(self) -> None:
        await checkpoint()  # the work
        self.hand_in("first")

    async def standby(self) -> None:
        await trio.sleep(5)  # as long as a lease lasts
        if not self.results:
            self.holder = "standby"
            self.hand_in("standby")

    def hand_in(self, who: str) -> None:
        self.results.append(who)


class RightWork(Work):
    def hand_in(self, who: str) -> None:
        if self.holder == who:
            self.results.append(who)


async def scenario(work: Work) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work.first)
        nursery.start_soon(work.standby)
    assert len(work.results) == 1, f"done by {work.results}"


async def broken() -> None:
    await scenario(Work())


async def right() -> None:
    await scenario(RightWork())

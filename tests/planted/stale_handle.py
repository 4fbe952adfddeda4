"""Stale handle: a place in a table says nothing about who sits there.

While the user is asked whether to stop the old job, the new one sits down in its place.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Table:
    def __init__(self) -> None:
        self.job = "old"
        self.seating = 0
        self.stopped = ""

    async def work(self) -> None:
        await checkpoint()
        await checkpoint()  # the old job
        self.job = "new"
        self.seating += 1

    async def stop_old(self) -> None:
        if self.job == "old":
            await checkpoint()  # "are you sure?"
            self.stopped = self.job


class RightTable(Table):
    async def stop_old(self) -> None:
        if self.job == "old":
            seating = self.seating
            await checkpoint()
            if seating == self.seating:
                self.stopped = self.job


async def scenario(table: Table) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(table.stop_old)
        nursery.start_soon(table.work)
    assert table.stopped != "new", "the wrong job was stopped"


async def broken() -> None:
    await scenario(Table())


async def right() -> None:
    await scenario(RightTable())

"""Idle too soon: one piece of work is counted out before the one that follows it is counted in.

Who looks in between finds that nothing is left to do, and switches off the light.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Chain:
    def __init__(self) -> None:
        self.busy = 1
        self.done = 0
        self.light_out_at: int | None = None

    async def work(self) -> None:
        self.done += 1
        self.busy -= 1
        await checkpoint()  # it is handed on
        self.busy += 1
        self.done += 1
        self.busy -= 1

    async def look(self) -> None:
        await checkpoint()
        await checkpoint()  # the round of the house
        if not self.busy:
            self.light_out_at = self.done


class RightChain(Chain):
    async def work(self) -> None:
        self.done += 1
        self.busy += 1
        self.busy -= 1
        await checkpoint()
        self.done += 1
        self.busy -= 1


async def scenario(chain: Chain) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chain.work)
        nursery.start_soon(chain.look)
    assert chain.light_out_at in (None, 2), "the light went out during work"


async def broken() -> None:
    await scenario(Chain())


async def right() -> None:
    await scenario(RightChain())

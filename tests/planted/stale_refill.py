"""Stale refill: a value read before a write is put into the cache after the write emptied it.

The cache serves the old value from then on.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Cache:
    def __init__(self) -> None:
        self.stored = "old"
        self.cached: str | None = None
        self.writes = 0

    async def refill(self) -> None:
        value = self.stored
        await checkpoint()  # it comes over the network
        self.cached = value

    async def write(self, value: str) -> None:
        await checkpoint()
        await checkpoint()  # the request is parsed
        self.stored = value
        self.cached = None
        self.writes += 1


class RightCache(Cache):
    async def refill(self) -> None:
        value, writes = self.stored, self.writes
        await checkpoint()
        if writes == self.writes:
            self.cached = value


async def scenario(cache: Cache) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.refill)
        nursery.start_soon(cache.write, "new")
    assert cache.cached in (None, cache.stored), f"serves {cache.cached}, stored is {cache.stored}"


async def broken() -> None:
    await scenario(Cache())


async def right() -> None:
    await scenario(RightCache())

"""Cache stampede: a value that is being loaded is not yet in the cache.

Everybody who asks meanwhile loads it again.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Cache:
    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.lock = trio.Lock()
        self.loads = 0

    async def load(self, key: str) -> str:
        self.loads += 1
        await checkpoint()  # the database
        return key.upper()

    async def get(self, key: str) -> str:
        if key not in self.values:
            self.values[key] = await self.load(key)
        return self.values[key]


class RightCache(Cache):
    async def get(self, key: str) -> str:
        async with self.lock:
            return await super().get(key)


async def later(cache: Cache) -> None:
    await checkpoint()
    await checkpoint()  # the request is parsed
    await cache.get("page")


async def scenario(cache: Cache) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.get, "page")
        nursery.start_soon(later, cache)
    assert cache.loads == 1, f"loaded {cache.loads} times"


async def broken() -> None:
    await scenario(Cache())


async def right() -> None:
    await scenario(RightCache())

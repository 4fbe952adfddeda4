"""Stolen wake: who is woken looks once, before it waits, whether there is something to take.

Between the wake and the lock somebody else takes it, and the one who was woken finds nothing.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Store:
    def __init__(self) -> None:
        self.items: list[str] = []
        self.changed = trio.Condition()
        self.found: list[bool] = []

    async def wait_for_item(self) -> None:
        if not self.items:
            await self.changed.wait()

    async def take(self) -> None:
        async with self.changed:
            await self.wait_for_item()
            self.found.append(bool(self.items))
            del self.items[:1]

    async def put(self) -> None:
        async with self.changed:
            self.items.append("item")
            self.changed.notify()


class RightStore(Store):
    async def wait_for_item(self) -> None:
        while not self.items:
            await self.changed.wait()


async def put_two(store: Store) -> None:
    await store.put()
    await store.put()


async def take_later(store: Store) -> None:
    for _ in range(4):
        await checkpoint()  # it finishes something else
    await store.take()


async def scenario(store: Store) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.take)
        nursery.start_soon(put_two, store)
        nursery.start_soon(take_later, store)
    assert all(store.found), "woken for nothing"


async def broken() -> None:
    await scenario(Store())


async def right() -> None:
    await scenario(RightStore())

"""Skipped watcher: a list is walked with a checkpoint in each step, and shrinks meanwhile.

When one who was served leaves, all behind move up by one, and the next is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio
from trio.lowlevel import checkpoint


class Hub:
    def __init__(self) -> None:
        self.watchers = ["ann", "bob"]
        self.served: list[str] = []

    def everybody(self) -> Iterable[str]:
        return self.watchers

    async def publish(self) -> None:
        for watcher in self.everybody():
            self.served.append(watcher)
            await checkpoint()  # it is sent

    async def leave(self, watcher: str) -> None:
        for _ in range(3):
            await checkpoint()  # the goodbye comes in
        self.watchers.remove(watcher)


class RightHub(Hub):
    def everybody(self) -> Iterable[str]:
        return tuple(self.watchers)


async def scenario(hub: Hub) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.publish)
        nursery.start_soon(hub.leave, "ann")
    assert "bob" in hub.served, "bob was passed over"


async def broken() -> None:
    await scenario(Hub())


async def right() -> None:
    await scenario(RightHub())

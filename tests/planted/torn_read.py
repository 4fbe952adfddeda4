"""Torn read: two values that belong together are written with a checkpoint between them.

Who reads in between sees the new one of this and the old one of that.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Settings:
    def __init__(self) -> None:
        self.pair = {"host": "old", "port": "old"}
        self.seen: dict[str, str] = {}

    async def write(self) -> None:
        self.pair["host"] = "new"
        await checkpoint()  # the port is looked up
        self.pair["port"] = "new"

    async def read(self) -> None:
        await checkpoint()
        await checkpoint()  # a connection is wanted
        self.seen = dict(self.pair)


class RightSettings(Settings):
    async def write(self) -> None:
        await checkpoint()
        self.pair = {"host": "new", "port": "new"}


async def scenario(settings: Settings) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(settings.write)
        nursery.start_soon(settings.read)
    assert len(set(settings.seen.values())) == 1, f"half old, half new: {settings.seen}"


async def broken() -> None:
    await scenario(Settings())


async def right() -> None:
    await scenario(RightSettings())

"""ABA: that the head of a list is what it was does not mean that the list is.

Between looking and swapping two are taken and the first comes back. The second, which is in use,
becomes the head again.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class FreeList:
    def __init__(self) -> None:
        self.head: str | None = "a"
        self.behind: dict[str, str | None] = {"a": "b", "b": None}
        self.swaps = 0

    def version(self) -> object:
        return self.head

    async def take(self) -> str:
        while (taken := self.head) is not None:
            behind, version = self.behind[taken], self.version()
            await checkpoint()  # it is locked at the other end
            if version == self.version():
                self.swap(behind)
                return taken
        return "nothing"

    def give_back(self, item: str) -> None:
        self.behind[item] = self.head
        self.swap(item)

    def swap(self, head: str | None) -> None:
        self.head = head
        self.swaps += 1


class RightFreeList(FreeList):
    def version(self) -> object:
        return self.swaps


async def take_two(free: FreeList, in_use: list[str]) -> None:
    await checkpoint()
    await checkpoint()  # the request comes in
    first = await free.take()
    in_use.append(await free.take())
    free.give_back(first)


async def scenario(free: FreeList) -> None:
    in_use: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(free.take)
        nursery.start_soon(take_two, free, in_use)
    assert free.head not in in_use, f"{free.head} is in use, and free"


async def broken() -> None:
    await scenario(FreeList())


async def right() -> None:
    await scenario(RightFreeList())

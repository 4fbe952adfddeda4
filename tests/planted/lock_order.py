"""Lock order: two transfers take the same two locks, each in its own order.

Each gets one and waits for the other's.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Bank:
    def __init__(self) -> None:
        self.locks = {"ann": trio.Lock(), "bob": trio.Lock()}

    def in_order(self, giver: str, taker: str) -> tuple[str, str]:
        return giver, taker

    async def transfer(self, giver: str, taker: str) -> None:
        first, second = self.in_order(giver, taker)
        async with self.locks[first], self.locks[second]:
            pass  # the money moves


class RightBank(Bank):
    def in_order(self, giver: str, taker: str) -> tuple[str, str]:
        return min(giver, taker), max(giver, taker)


async def later(bank: Bank) -> None:
    for _ in range(3):
        await checkpoint()  # the form is filled in
    await bank.transfer("bob", "ann")


async def scenario(bank: Bank) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bank.transfer, "ann", "bob")
        nursery.start_soon(later, bank)


async def broken() -> None:
    await scenario(Bank())


async def right() -> None:
    await scenario(RightBank())

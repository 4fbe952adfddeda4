"""Check, then await, then act: what was checked need not be so any more.

Two withdrawals both see enough money, and the account is overdrawn.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Account:
    def __init__(self) -> None:
        self.balance = 100

    async def withdraw(self, amount: int) -> None:
        if self.balance >= amount:
            await checkpoint()  # the auditor is told
            self.balance -= amount


class RightAccount(Account):
    async def withdraw(self, amount: int) -> None:
        if self.balance >= amount:
            self.balance -= amount
            await checkpoint()


async def later(account: Account) -> None:
    await checkpoint()
    await checkpoint()  # the card is read
    await account.withdraw(60)


async def scenario(account: Account) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(account.withdraw, 60)
        nursery.start_soon(later, account)
    assert account.balance >= 0, f"overdrawn: {account.balance}"


async def broken() -> None:
    await scenario(Account())


async def right() -> None:
    await scenario(RightAccount())

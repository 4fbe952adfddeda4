"""Timeout against completion: what is done can still time out, at a checkpoint after the deed.

The payment went through and counts as failed, so it is made again.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Till:
    def __init__(self) -> None:
        self.paid = 0

    async def pay(self) -> bool:
        with trio.move_on_after(5) as limit:
            await checkpoint()  # the bank is asked
            self.paid += 1
            await checkpoint()  # the receipt is printed
        return not limit.cancelled_caught


class RightTill(Till):
    async def pay(self) -> bool:
        with trio.move_on_after(5) as limit:
            await checkpoint()
            self.paid += 1
        await checkpoint()
        return not limit.cancelled_caught


async def scenario(till: Till) -> None:
    while not await till.pay():
        pass  # "once more"
    assert till.paid == 1, f"paid {till.paid} times"


async def broken() -> None:
    await scenario(Till())


async def right() -> None:
    await scenario(RightTill())

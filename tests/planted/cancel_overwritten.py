"""Cancel overwritten by completion: the state is looked at before a checkpoint, not after it.

Somebody was told "cancelled", and the record says "succeeded".
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Job:
    def __init__(self) -> None:
        self.state = "running"
        self.told = ""

    async def complete(self) -> None:
        if self.state == "running":
            await checkpoint()  # the result is stored
            self.state = "succeeded"

    async def cancel(self) -> None:
        await checkpoint()
        await checkpoint()  # the request comes in
        if self.state == "running":
            self.state = "cancelled"
        self.told = self.state


class RightJob(Job):
    async def complete(self) -> None:
        await checkpoint()
        if self.state == "running":
            self.state = "succeeded"


async def scenario(job: Job) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.complete)
        nursery.start_soon(job.cancel)
    assert job.state == job.told, f"is {job.state}, but {job.told} was told"


async def broken() -> None:
    await scenario(Job())


async def right() -> None:
    await scenario(RightJob())

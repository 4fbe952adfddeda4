"""Waiter missed: between looking whether a job is done and asking to be woken is a checkpoint.

A job that ends just then wakes everybody but the one who is on the way to the list.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Job:
    def __init__(self) -> None:
        self.done = False
        self.waiters: list[trio.Event] = []

    async def finish(self) -> None:
        await checkpoint()
        await checkpoint()  # the work
        self.done = True
        for waiter in self.waiters:
            waiter.set()

    async def wait(self) -> None:
        if not self.done:
            await checkpoint()  # may it watch this job?
            self.waiters.append(trio.Event())
            await self.waiters[-1].wait()


class RightJob(Job):
    async def wait(self) -> None:
        await checkpoint()
        if not self.done:
            self.waiters.append(trio.Event())
            await self.waiters[-1].wait()


async def scenario(job: Job) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.wait)
        nursery.start_soon(job.finish)


async def broken() -> None:
    await scenario(Job())


async def right() -> None:
    await scenario(RightJob())

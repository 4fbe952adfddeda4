"""Double completion: the end of a job is decided before a checkpoint and made after it.

The worker and the watchdog both see that it runs, and both end it.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Job:
    def __init__(self) -> None:
        self.running = True
        self.ends: list[str] = []

    async def finish(self, end: str) -> None:
        if self.running:
            await checkpoint()  # it is written down
            self.running = False
            self.ends.append(end)


class RightJob(Job):
    async def finish(self, end: str) -> None:
        if self.running:
            self.running = False
            await checkpoint()
            self.ends.append(end)


async def watchdog(job: Job) -> None:
    await checkpoint()
    await checkpoint()  # it looks at the process
    await job.finish("killed")


async def scenario(job: Job) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.finish, "succeeded")
        nursery.start_soon(watchdog, job)
    assert len(job.ends) == 1, f"ended {len(job.ends)} times: {job.ends}"


async def broken() -> None:
    await scenario(Job())


async def right() -> None:
    await scenario(RightJob())

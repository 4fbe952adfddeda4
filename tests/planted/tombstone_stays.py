"""Tombstone that never expires: the mark of a cancelled job outlives the run it was meant for.

A retry with the same id, which nobody cancelled, is stopped by it.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Jobs:
    def __init__(self) -> None:
        self.live: set[str] = set()
        self.cancelled: set[str] = set()
        self.stopped: list[int] = []

    async def run(self, job: str, attempt: int) -> None:
        self.live.add(job)
        await checkpoint()  # its files are fetched
        if job in self.cancelled:
            self.stopped.append(attempt)
        self.live.remove(job)

    async def cancel(self, job: str) -> None:
        for _ in range(3):
            await checkpoint()  # the request comes in
        if job in self.live:
            self.cancelled.add(job)


class RightJobs(Jobs):
    async def run(self, job: str, attempt: int) -> None:
        await super().run(job, attempt)
        self.cancelled.discard(job)


async def twice(jobs: Jobs) -> None:
    await jobs.run("mail", 1)
    await jobs.run("mail", 2)


async def scenario(jobs: Jobs) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(twice, jobs)
        nursery.start_soon(jobs.cancel, "mail")
    assert len(jobs.stopped) <= 1, "one cancel stopped both attempts"


async def broken() -> None:
    await scenario(Jobs())


async def right() -> None:
    await scenario(RightJobs())

"""Lost cancel, between registry and scope: a job is known before it has a scope.

Who cancels while it is being admitted finds the job and nothing to cancel. The job runs for ever.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Jobs:
    def __init__(self) -> None:
        self.known: set[str] = set()
        self.scopes: dict[str, trio.CancelScope] = {}

    def add(self, job: str) -> None:
        self.known.add(job)

    async def run(self, job: str) -> None:
        await checkpoint()  # the quota is asked
        scope = self.scopes.setdefault(job, trio.CancelScope())
        with scope:
            await trio.sleep_forever()

    async def cancel(self, job: str) -> None:
        await checkpoint()
        await checkpoint()  # the request comes in
        if job in self.known and job in self.scopes:
            self.scopes[job].cancel()


class RightJobs(Jobs):
    def add(self, job: str) -> None:
        self.known.add(job)
        self.scopes[job] = trio.CancelScope()


async def scenario(jobs: Jobs) -> None:
    jobs.add("report")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.run, "report")
        nursery.start_soon(jobs.cancel, "report")


async def broken() -> None:
    await scenario(Jobs())


async def right() -> None:
    await scenario(RightJobs())

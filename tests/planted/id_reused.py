"""Id reused while live: a number is free again before the last thing that bears it is gone.

The next job gets the number and a directory of that name, and the cleanup of the one before
removes it.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Jobs:
    def __init__(self) -> None:
        self.live: set[int] = set()
        self.directories: dict[int, str] = {}
        self.robbed: list[str] = []

    async def run(self, name: str) -> None:
        number = 0 if 0 not in self.live else 1
        self.live.add(number)
        self.directories[number] = name
        await checkpoint()  # the work
        if self.directories.get(number) != name:
            self.robbed.append(name)
        await self.clean_up(number)

    async def clean_up(self, number: int) -> None:
        self.live.remove(number)
        await checkpoint()  # the log is closed
        self.directories.pop(number, None)


class RightJobs(Jobs):
    async def clean_up(self, number: int) -> None:
        await checkpoint()
        self.directories.pop(number, None)
        self.live.remove(number)


async def later(jobs: Jobs) -> None:
    for _ in range(3):
        await checkpoint()  # the request comes in
    await jobs.run("second")


async def scenario(jobs: Jobs) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.run, "first")
        nursery.start_soon(later, jobs)
    assert not jobs.robbed, f"the directory of {jobs.robbed} is gone"


async def broken() -> None:
    await scenario(Jobs())


async def right() -> None:
    await scenario(RightJobs())

"""Double close: a thing is open until its last bytes are out, and closed after that.

Two who close it both flush, and both close the number below, which may be somebody else's by then.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class File:
    def __init__(self) -> None:
        self.is_open = True
        self.closes = 0

    async def aclose(self) -> None:
        if self.is_open:
            await checkpoint()  # the last bytes go out
            self.is_open = False
            self.closes += 1


class RightFile(File):
    async def aclose(self) -> None:
        if self.is_open:
            self.is_open = False
            await checkpoint()
            self.closes += 1


async def reaper(file: File) -> None:
    await checkpoint()
    await checkpoint()  # it counts who is idle
    await file.aclose()


async def scenario(file: File) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.aclose)
        nursery.start_soon(reaper, file)
    assert file.closes == 1, f"closed {file.closes} times"


async def broken() -> None:
    await scenario(File())


async def right() -> None:
    await scenario(RightFile())

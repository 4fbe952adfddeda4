"""Restart after cancel: between a crash and the next attempt nothing is there to be cancelled.

Who cancels just then cancels the attempt that is over, and the service comes up again.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class Service:
    def __init__(self) -> None:
        self.cancelled = False
        self.scope = trio.CancelScope()
        self.starts: list[bool] = []

    def may_start(self) -> bool:
        return True

    async def run(self) -> None:
        while self.may_start():
            self.starts.append(self.cancelled)
            with trio.CancelScope() as self.scope:
                if len(self.starts) > 1:  # the first attempt crashes
                    await trio.sleep(3600)
                    return
            if self.scope.cancelled_caught:
                return
            await checkpoint()  # the crash is written down

    async def cancel(self) -> None:
        await checkpoint()
        await checkpoint()  # the request comes in
        self.cancelled = True
        self.scope.cancel()


class RightService(Service):
    def may_start(self) -> bool:
        return not self.cancelled


async def scenario(service: Service) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run)
        nursery.start_soon(service.cancel)
    assert service.starts != [False, True], "restarted after it was cancelled"


async def broken() -> None:
    await scenario(Service())


async def right() -> None:
    await scenario(RightService())

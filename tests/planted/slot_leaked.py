"""Slot leaked: between taking a slot and the `try` that gives it back is a checkpoint.

A cancellation that arrives there leaves with the slot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.lowlevel import checkpoint


async def work(slots: trio.Semaphore) -> None:
    await slots.acquire()
    await checkpoint()  # "begins" goes to the log
    try:
        await trio.sleep_forever()
    finally:
        slots.release()


async def right_work(slots: trio.Semaphore) -> None:
    await slots.acquire()
    try:
        await checkpoint()
        await trio.sleep_forever()
    finally:
        slots.release()


async def cancel(scope: trio.CancelScope) -> None:
    for _ in range(3):
        await checkpoint()  # the request comes in
    scope.cancel()


async def scenario(work: Callable[[trio.Semaphore], Awaitable[None]]) -> None:
    slots = trio.Semaphore(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, slots)
        nursery.start_soon(cancel, nursery.cancel_scope)
    assert slots.value == 1, "a slot is gone"


async def broken() -> None:
    await scenario(work)


async def right() -> None:
    await scenario(right_work)

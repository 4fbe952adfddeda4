"""Unshielded cleanup: a `finally` that awaits is itself cancelled.

When time is up the goodbye cannot be said, and what comes after it is not done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.lowlevel import checkpoint


async def session(pool: list[str]) -> None:
    connection = pool.pop()
    try:
        await checkpoint()  # the query
    finally:
        await checkpoint()  # noqa: ASYNC102 - the goodbye
        pool.append(connection)


async def right_session(pool: list[str]) -> None:
    connection = pool.pop()
    try:
        await checkpoint()
    finally:
        with trio.move_on_after(1, shield=True):
            await checkpoint()
        pool.append(connection)


async def scenario(session: Callable[[list[str]], Awaitable[None]]) -> None:
    pool = ["connection"]
    with trio.move_on_after(5):
        await session(pool)
    assert pool, "the connection did not come back"


async def broken() -> None:
    await scenario(session)


async def right() -> None:
    await scenario(right_session)

"""Runs for tests that are about turns: how soon others go on while somebody has much to do.

The race kit runs one task per tick, and goes on with it while it can; a schedule has no turns. Here
every ready task goes on once in each turn of the loop, as Trio has it outside of tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing


def in_turn(async_fn: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """`trio.run` on a clock that jumps when every task waits; it may take an hour of that."""

    async def bounded() -> Any:
        with trio.fail_after(3600):
            return await async_fn(*args)

    return trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))

"""Scripts for clients that live on asyncio: each with a connection of its own, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from foreign_server import PATIENCE, Served

Open = Callable[[Served, dict[str, str]], AbstractAsyncContextManager[Any]]


def drive(
    open_client: Open,
    server: Served,
    script: Callable[[Any], Awaitable[None]],
    headers: dict[str, str] | None = None,
) -> None:
    """Run this with a client, which sends the token unless other headers are given."""

    async def bounded() -> None:
        let_in = server.header if headers is None else headers
        async with asyncio.timeout(PATIENCE), open_client(server, let_in) as client:
            await script(client)

    asyncio.run(bounded())

"""How a supervisor is reached: in this process, or through a client and a server.

A link over the wire overrides `open`, `disconnect` and `reconnect`. Whoever checks always looks at
`sup` itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import trio
import trio.testing

from ..._client.connect import connect_stream
from ..._errors import ConnectionLost
from ..._server import Auth, Limits, Token, open_server
from ..._server.server import Server
from ..._supervisor import Supervisor
from ...abc import JobControl
from ...launchers.function import FunctionLauncher
from ...stores.memory import MemoryStore
from .works import ByName, Work, WorkLauncher

__all__ = ["TOKEN", "TOMBSTONES", "Link", "NamedLink", "WireLink", "open_client"]

EPOCH = 1_700_000_000.0
"""The supervisor's wall clock starts here, and goes on with Trio's."""

TOMBSTONES = 2
"""So many cancels may be remembered for jobs that have yet to start."""

TOKEN = "let-me-in"

NEVER = 1e6
"""Seconds, of a clock that jumps, within which no connection is given up by itself."""

PATIENT = Limits(
    heartbeat_seconds=NEVER,
    write_seconds=NEVER,
    bookmark_seconds=NEVER,
    hello_seconds=NEVER,
    head_seconds=NEVER,
    linger_seconds=30.0,
)


class Link:
    """A supervisor in this process.

    Args:
        slots: how many jobs may run at once.
        unfair: how often time may pass although somebody could have gone on, so that whoever waits
            for an answer within a time has to try again.
    """

    def __init__(self, slots: int | None, unfair: int = 0) -> None:
        self.slots = slots
        self.unfair = unfair
        self.named = ByName()
        self.store = MemoryStore(tombstones_kept=TOMBSTONES)
        self.sup: Supervisor

    @asynccontextmanager
    async def open(self) -> AsyncIterator[JobControl]:
        """The supervisor's lifetime."""
        began = trio.current_time()
        self.sup = Supervisor(
            registry=self.named.registry,
            store=self.store,
            launchers=(WorkLauncher(self.named), FunctionLauncher()),
            slots=self.slots,
            wall=lambda: EPOCH + trio.current_time() - began,
        )
        async with self.sup.open():
            yield self.sup

    def what(self, work: Work) -> tuple[Any, dict[str, int] | None]:
        """What to pass to `start` as the work, and as its `args`."""
        return work, None

    async def disconnect(self) -> bool:
        """End the connection, if there is one; whether one has to `reconnect` to ask anything."""
        return False

    async def reconnect(self) -> JobControl:
        """End the connection, if there is one, and make another."""
        return self.sup

    def watch(self) -> AbstractAsyncContextManager[Any]:
        """Everything that happens from the beginning on, as the supervisor itself tells it."""
        return self.sup.watch(since=0, logs=True, progress=True)


class NamedLink(Link):
    """Starts works by name."""

    def what(self, work: Work) -> tuple[Any, dict[str, int] | None]:
        return self.named.call(work)


class WireLink(NamedLink):
    """Through a client and a server, over a memory stream that can be cut and made anew."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[JobControl]:
        auth = Auth([Token("tester", TOKEN)])
        async with (
            super().open(),
            open_server(self.sup, auth=auth, limits=PATIENT) as self.server,
            AsyncExitStack() as self.connection,
        ):
            yield await self._connect()

    async def _connect(self) -> JobControl:
        while True:
            try:
                return await self.connection.enter_async_context(open_client(self.server))
            except ConnectionLost:
                if not self.unfair:
                    raise
                self.unfair -= 1

    async def disconnect(self) -> bool:
        await self.connection.aclose()
        return True

    async def reconnect(self) -> JobControl:
        await self.connection.aclose()
        return await self._connect()


@asynccontextmanager
async def open_client(server: Server) -> AsyncIterator[JobControl]:
    """A client of `server`, over a memory stream."""
    ours, theirs = trio.testing.memory_stream_pair()
    server.nursery.start_soon(server.serve_stream, theirs)
    async with connect_stream(ours, token=TOKEN, connect_timeout=NEVER) as client:
        yield client

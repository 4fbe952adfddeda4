"""A supervisor reached by a client that reconnects, over connections on which faults happen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import trio
import trio.testing

from ..._client.client import Client
from ..._client.connect import connect_with
from ..._errors import ConnectionLost
from ..._server import Auth, Limits, Token, open_server
from ...abc import JobControl
from .faults import Fault
from .faulty import Faults, FaultyStream
from .invariants import broken
from .links import TOKEN, NamedLink

__all__ = ["HEARTBEAT", "FaultyLink"]

HEARTBEAT = 60.0

LIMITS = Limits(heartbeat_seconds=HEARTBEAT, bookmark_seconds=45.0, write_seconds=1e6)
"""What is lost without a sign is missed at the next heartbeat; more of them only take time."""


class FaultyLink(NamedLink):
    """The client goes on by itself when its connection ends.

    Attributes:
        faults: those that are to happen, and those that have.
        patience: how many first connections may fail.
        streams: every connection that there was.
        changes: what the client told of its connection.
    """

    def __init__(self, slots: int | None, unfair: int = 0, faults: Iterable[Fault] = ()) -> None:
        super().__init__(slots, unfair)
        planned = tuple(faults)
        self.faults = Faults(planned)
        self.patience = len(planned) + unfair + 1
        self.streams: list[FaultyStream] = []
        self.changes: list[object] = []
        self.client: Client

    @asynccontextmanager
    async def open(self) -> AsyncIterator[JobControl]:
        auth = Auth([Token("tester", TOKEN)])
        async with (
            super().open(),
            open_server(self.sup, auth=auth, limits=LIMITS) as self.server,
            AsyncExitStack() as stack,
        ):
            self.client = await self._connect(stack)
            yield self.client

    async def _connect(self, stack: AsyncExitStack) -> Client:
        """The first connection is made once; whoever wants it tries again."""
        while True:
            opened = connect_with(
                self.dial,
                token=TOKEN,
                connect_timeout=10.0,
                reconnect_timeout=float("inf"),
                on_change=self.changes.append,
                jitter=lambda: 0.5,
            )
            try:
                return await stack.enter_async_context(opened)
            except ConnectionLost:
                self.patience -= 1
                if not self.patience:
                    broken("wire", "a clean link does not connect either")

    async def dial(self) -> FaultyStream:
        """A new connection."""
        ours, theirs = trio.testing.memory_stream_pair()
        self.server.nursery.start_soon(self.server.serve_stream, theirs)
        self.streams.append(FaultyStream(ours, self.faults))
        await trio.lowlevel.checkpoint()
        return self.streams[-1]

    async def disconnect(self) -> bool:
        """The connection is cut; who comes back, and soon, is the client."""
        self.streams[-1].cut()
        return False

    async def reconnect(self) -> JobControl:
        await self.disconnect()
        return self.client

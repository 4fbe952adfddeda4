"""The two kinds of `JobControl`, opened the same way, for tests that hold for both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from supervisor import Auth, JobControl, Registry, Supervisor, Token, open_supervisor
from supervisor._client.connect import connect_stream
from supervisor._server import open_server
from supervisor._server.server import Server

KINDS = ("local", "wire")
SECRET = "let-me-in"


@asynccontextmanager
async def open_control(
    kind: str, registry: Registry | None = None, slots: int | None = None
) -> AsyncIterator[JobControl]:
    """A supervisor in this process, itself or as a client sees it over a memory stream."""
    async with open_supervisor(registry, slots=slots) as sup:
        if kind == "local":
            yield sup
            return
        async with open_wire(sup) as server, open_client(server) as client:
            yield client


@asynccontextmanager
async def open_wire(sup: Supervisor) -> AsyncIterator[Server]:
    """A server of `sup` that has no port."""
    async with open_server(sup, auth=Auth([Token("tester", SECRET)])) as server:
        yield server


@asynccontextmanager
async def open_client(server: Server, resume_token: str | None = None) -> AsyncIterator[JobControl]:
    """A client of `server`, over a memory stream."""
    ours, theirs = trio.testing.memory_stream_pair()
    server.nursery.start_soon(server.serve_stream, theirs)
    async with connect_stream(ours, token=SECRET, resume_token=resume_token) as client:
        yield client

"""The base of row 8: one event to many watchers, with a `send_message` for each.

The watchers live in a process of their own, which only reads sockets: what is counted is the CPU
of the process that sends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from trio_websocket import WebSocketConnection, WebSocketRequest, serve_websocket

from ._case import Figures

ROUNDS = 30
WARM_UP = 5

EVENT = json.dumps(
    {
        "jsonrpc": "2.0",
        "method": "events.event",
        "params": {
            "subscription_id": "e1",
            "prev_seq": 1002,
            "instance": "0123456789abcdef",
            "seq": 1003,
            "time": "2026-01-01T00:00:00.000000Z",
            "type": "job.pending",
            "job_id": "j0123-1000",
            "attempt": 1,
            "state": "pending",
            "data": {"name": "wait_until_killed", "kind": "function"},
        },
    },
    separators=(",", ":"),
)
"""As long as what our server sends."""


class Watchers:
    """The process of the watchers."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self._said = process.stdout
        self._unread = b""

    async def wait_for(self, word: bytes) -> None:
        """Return once it has said this."""
        while word not in self._unread:
            said = await self._said.receive_some()
            if not said:
                raise RuntimeError("the process of the watchers has ended")
            self._unread += said
        self._unread = self._unread.partition(word)[2]


@asynccontextmanager
async def open_watchers(n: int, port: int, path: str, *say: str) -> AsyncIterator[Watchers]:
    """A process with `n` connections that each watch; they are ready when this is entered.

    Args:
        n: how many.
        port: of the server.
        path: of its websocket.
        say: a token, if one is needed, and the message that makes a connection a watcher.
    """
    command = [sys.executable, "-m", "benchmarks._watchers", str(n), str(port), path, *say]
    root = Path(__file__).resolve().parent.parent
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, command, cwd=root, stdout=subprocess.PIPE)
        )
        watchers = Watchers(process)
        await watchers.wait_for(b"ready\n")
        yield watchers
        nursery.cancel_scope.cancel()


async def publish_in_turn(
    watchers: Watchers, n: int, publish: Callable[[], Awaitable[object]]
) -> Figures:
    """Seconds of CPU a watcher, an event at a time: from its origin until all have it."""
    for _ in range(WARM_UP):
        await publish()
        await watchers.wait_for(b"all\n")
    begun = time.process_time()
    for _ in range(ROUNDS):
        await publish()
        await watchers.wait_for(b"all\n")
    return {"cpu": (time.process_time() - begun) / (ROUNDS * n)}


def send_message(n: int) -> Figures:
    """trio-websocket, a `send_message` for each watcher."""
    connections: list[WebSocketConnection] = []

    async def session(request: WebSocketRequest) -> None:
        connections.append(await request.accept())
        await trio.sleep_forever()

    async def publish() -> None:
        for connection in connections:
            await connection.send_message(EVENT)

    async def main() -> Figures:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_websocket, handler_nursery=nursery)
            server = await nursery.start(serve, session, "127.0.0.1", 0, None)
            async with open_watchers(n, server.port, "/") as watchers:
                figures = await publish_in_turn(watchers, n, publish)
            nursery.cancel_scope.cancel()
        return figures

    return trio.run(main)

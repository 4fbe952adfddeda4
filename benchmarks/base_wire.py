"""The bases of row 7 and of a cancel end to end: an echo, and the smallest supervisor there is.

Client and server share a process and its loop; the client is the same for both sides, so that
its cost is too.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)

from ._case import Figures

PING = '{"jsonrpc":"2.0","id":%d,"method":"session.ping","params":{}}'
GET = '{"jsonrpc":"2.0","id":%d,"method":"job.get","params":{"job_id":"benchmark"}}'
WINDOW = 64
"""Requests under way at once when pipelined."""

Talk = Callable[[WebSocketConnection], Awaitable[Figures]]


# --- the client, for both sides -----------------------------------------------------------------


async def ask_in_turn(ws: WebSocketConnection, n: int, request: str = PING) -> Figures:
    """Seconds a round trip, one request at a time, the median."""
    taken = []
    for i in range(n):
        begun = time.perf_counter()
        await ws.send_message(request % i)
        answer = await ws.get_message()
        taken.append(time.perf_counter() - begun)
        assert "error" not in answer, answer
    return {"round_trip": statistics.median(taken)}


async def ask_pipelined(ws: WebSocketConnection, n: int, request: str = PING) -> Figures:
    """Seconds of CPU a request and its answer, client included, with several under way."""
    room = trio.Semaphore(WINDOW)

    async def send() -> None:
        for i in range(n):
            await room.acquire()
            await ws.send_message(request % i)

    begun = time.process_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        for _ in range(n):
            await ws.get_message()
            room.release()
    return {"cpu": (time.process_time() - begun) / n}


async def ask_both(ws: WebSocketConnection, n: int, request: str = PING) -> Figures:
    """In turn and pipelined, after a few to warm up."""
    await ask_in_turn(ws, 100, request)
    return await ask_in_turn(ws, n, request) | await ask_pipelined(ws, n, request)


class Body:
    """The body of a job that waits to be cancelled, and tells when it was."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.left = trio.Event()
        self.left_at = 0.0

    async def __call__(self) -> None:
        self.entered.set()
        try:
            await trio.sleep_forever()
        finally:
            self.left_at = time.perf_counter()
            self.left.set()


# --- echo -----------------------------------------------------------------------------------------


async def echo_session(request: WebSocketRequest) -> None:
    ws = await request.accept()
    try:
        while True:
            await ws.send_message(await ws.get_message())
    except ConnectionClosed:
        pass


def with_server(session: Callable[[WebSocketRequest], Awaitable[None]], talk: Talk) -> Figures:
    """Serve on a loopback port, connect, and talk."""

    async def main() -> Figures:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_websocket, handler_nursery=nursery)
            server = await nursery.start(serve, session, "127.0.0.1", 0, None)
            async with open_websocket_url(f"ws://127.0.0.1:{server.port}") as ws:
                figures = await talk(ws)
            nursery.cancel_scope.cancel()
        return figures

    return trio.run(main)


def echo_ping(n: int) -> Figures:
    """trio-websocket sending back what it gets."""
    return with_server(echo_session, partial(ask_both, n=n, request=PING))


def echo_get(n: int) -> Figures:
    """The same with the request of `job.get`."""
    return with_server(echo_session, partial(ask_both, n=n, request=GET))


# --- bare-trio ------------------------------------------------------------------------------------


class BareSupervisor:
    """Start, cancel, two answers; no checks, no ledger."""

    def __init__(self, bodies: dict[str, Body]) -> None:
        self._bodies = bodies
        self._scopes: dict[str, trio.CancelScope] = {}

    async def _job(self, job_id: str) -> None:
        with self._scopes[job_id]:
            await self._bodies[job_id]()

    async def session(self, request: WebSocketRequest) -> None:
        ws = await request.accept()
        async with trio.open_nursery() as nursery:
            try:
                while True:
                    message = json.loads(await ws.get_message())
                    job_id = message["params"]["job_id"]
                    if message["method"] == "job.start":
                        self._scopes[job_id] = trio.CancelScope()
                        nursery.start_soon(self._job, job_id)
                    else:
                        self._scopes[job_id].cancel()
                    answer = {"jsonrpc": "2.0", "id": message["id"], "result": {}}
                    await ws.send_message(json.dumps(answer))
            except ConnectionClosed:
                nursery.cancel_scope.cancel()


async def ask(ws: WebSocketConnection, method: str, **params: object) -> str:
    """One request, and its answer as text."""
    request = {"jsonrpc": "2.0", "id": 0, "method": method, "params": params}
    await ws.send_message(json.dumps(request))
    answer = await ws.get_message()
    assert '"result"' in answer, answer
    return str(answer)


async def start_and_cancel(ws: WebSocketConnection, bodies: dict[str, Body]) -> Figures:
    """Seconds from sending the cancel to the job's `finally`; the median of all bodies."""
    taken = []
    for job_id, body in bodies.items():
        await ask(ws, "job.start", name="idle", job_id=job_id, args={"key": job_id})
        await body.entered.wait()
        begun = time.perf_counter()
        await ask(ws, "job.cancel", job_id=job_id)
        await body.left.wait()
        taken.append(body.left_at - begun)
    return {"cancel_to_finally": statistics.median(taken)}


def make_bodies(n: int) -> dict[str, Body]:
    return {f"job-{i}": Body() for i in range(n)}


def bare(n: int) -> Figures:
    """The smallest websocket supervisor."""
    bodies = make_bodies(n)
    supervisor = BareSupervisor(bodies)
    return with_server(supervisor.session, partial(start_and_cancel, bodies=bodies))

"""Our side of row 7 and of a cancel end to end: the real server, and the client of the base."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from supervisor import Registry, Supervisor, Token, open_supervisor, serve

from ._case import Figures
from .base_wire import GET, PING, Body, Talk, ask_both, make_bodies, start_and_cancel

TOKEN = Token("benchmark", "a-secret")
HEADERS = [(b"Authorization", b"Bearer " + TOKEN.secret.encode())]


def with_server(
    talk: Talk,
    registry: Registry | None = None,
    prepare: Callable[[Supervisor], Awaitable[object]] | None = None,
) -> Figures:
    """Serve a supervisor on a loopback port, connect, and talk."""

    async def main() -> Figures:
        async with open_supervisor(registry) as sup, trio.open_nursery() as nursery:
            if prepare is not None:
                await prepare(sup)
            address = await nursery.start(partial(serve, sup, auth=TOKEN))
            async with open_websocket_url(address.url, extra_headers=HEADERS) as ws:
                figures = await talk(ws)
            nursery.cancel_scope.cancel()
        return figures

    return trio.run(main)


def ping(n: int) -> Figures:
    """`session.ping`: parse, check, dispatch, answer."""
    return with_server(partial(ask_both, n=n, request=PING))


def get(n: int) -> Figures:
    """`job.get` of a running job: the same, with a whole record in the answer."""

    async def start(sup: Supervisor) -> None:
        await sup.start(trio.sleep_forever, job_id="benchmark")

    return with_server(partial(ask_both, n=n, request=GET), prepare=start)


def cancel(n: int) -> Figures:
    """Seconds from sending `job.cancel` to the job's `finally`."""
    bodies: dict[str, Body] = make_bodies(n)
    registry = Registry()

    @registry.job
    async def idle(key: str) -> None:
        await bodies[key]()

    async def talk(ws: WebSocketConnection) -> Figures:
        return await start_and_cancel(ws, bodies)

    return with_server(talk, registry)

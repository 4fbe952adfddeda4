"""The ways to serve: at a port, at a path, or at several places, all of them one channel."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from .auth import Auth, Token
from .limits import Limits
from .peers import Peers
from .places import Address, Place, TcpPlace, UnixAddress, UnixPlace
from .server import open_server

if TYPE_CHECKING:
    from .._supervisor import Supervisor

__all__ = ["serve", "serve_places", "serve_unix"]


async def serve(
    sup: Supervisor,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    auth: Auth | Token,
    allowed_origins: Iterable[str] = (),
    allowed_hosts: Iterable[str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a supervisor's control channel: `await nursery.start(partial(serve, sup, auth=...))`.

    Returns when the supervisor was shut down and its last job is gone: until then clients can
    watch, and cancel. When it is cancelled, clients are told and the connections closed with 1001,
    within a second.

    Args:
        sup: the supervisor.
        host: the address to listen on.
        port: 0 takes any free one.
        auth: the tokens; nobody gets in without one.
        allowed_origins: web pages that may connect, such as `https://console.example:8443`.
        allowed_hosts: further names under which clients may address this server.
        ssl_context: serve TLS.
        limits: the bounds.
        task_status: is told the `Address` once connections are accepted.

    Raises:
        OSError: the address cannot be had.
        ValueError: the ssl_context is one for clients.
    """
    await _serve(
        sup,
        [TcpPlace(host=host, port=port, ssl_context=ssl_context)],
        auth=auth,
        allowed_origins=allowed_origins,
        allowed_hosts=allowed_hosts or (),
        limits=limits,
        started=lambda addresses: task_status.started(addresses[0]),
    )


async def serve_unix(
    sup: Supervisor,
    path: str | os.PathLike[str],
    *,
    auth: Auth | Token,
    peers: Mapping[int, Token] | None = None,
    mode: int = 0o600,
    allowed_origins: Iterable[str] = (),
    limits: Limits | None = None,
    task_status: trio.TaskStatus[UnixAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a supervisor's control channel on a Unix socket, for programs of this machine.

    Returns as `serve` does. The socket is removed at the end.

    Args:
        sup: the supervisor.
        path: of the socket. A socket that a killed server left there is replaced.
        auth: the tokens.
        peers: users of this machine that need no token, by uid, as the kernel tells it; a token's
            name goes on record as the requester. A token that such a client brings counts, and has
            to be right. Do not name the uid of a program that passes on the requests of others.
        mode: who may connect at all: only the owner, by default.
        allowed_origins: as for `serve`.
        limits: the bounds.
        task_status: is told the `UnixAddress` once connections are accepted.

    Raises:
        OSError: the path cannot be had: a server listens there, or it is taken by something that
            is no socket, or it is too long.
        ValueError: a uid is none, or stands for anybody.
    """
    await _serve(
        sup,
        [UnixPlace(path=path, mode=mode, peers=Peers(peers or {}))],
        auth=auth,
        allowed_origins=allowed_origins,
        limits=limits,
        started=lambda addresses: task_status.started(addresses[0]),
    )


async def serve_places(
    sup: Supervisor,
    places: Sequence[Place],
    *,
    auth: Auth | Token,
    allowed_origins: Iterable[str] = (),
    allowed_hosts: Iterable[str] = (),
    limits: Limits | None = None,
    task_status: trio.TaskStatus[tuple[Address | UnixAddress, ...]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve one channel at several places: sessions, limits and lingering jobs are shared.

    See `serve`. The addresses are told in the order of the places.
    """
    await _serve(
        sup,
        places,
        auth=auth,
        allowed_origins=allowed_origins,
        allowed_hosts=allowed_hosts,
        limits=limits,
        started=lambda addresses: task_status.started(addresses),
    )


async def _serve(
    sup: Supervisor,
    places: Sequence[Place],
    *,
    started: Callable[[tuple[Any, ...]], None],
    auth: Auth | Token,
    allowed_origins: Iterable[str],
    limits: Limits | None,
    allowed_hosts: Iterable[str] = (),
) -> None:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(place.open()) for place in places]
        hosts = [each.host for each in opened if each.host is not None]
        server = await stack.enter_async_context(
            open_server(
                sup,
                auth=auth,
                allowed_origins=allowed_origins,
                allowed_hosts=(*allowed_hosts, *hosts),
                limits=limits,
            )
        )
        async with trio.open_nursery() as accepting:
            for each in opened:
                accept: Any = partial(
                    trio.serve_listeners,
                    partial(each.serve, server),
                    each.listeners,
                    handler_nursery=server.nursery,
                )
                await accepting.start(accept)
            started(tuple(each.address for each in opened))
            await sup.drained.wait()
            await server.close(let_finish=True)
            accepting.cancel_scope.cancel()

"""The port: one listener for websockets and the few pages there are."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from .auth import Auth, Token
from .limits import Limits
from .server import open_server

if TYPE_CHECKING:
    from .._supervisor import Supervisor

__all__ = ["Address", "serve"]

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@attrs.frozen
class Address:
    """Where a server can be reached.

    Attributes:
        host: as it was given.
        port: as it was bound.
        url: of the websocket.
        http_url: of the pages, without a slash at the end.
    """

    host: str
    port: int
    url: str
    http_url: str


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
    """
    hosts = (*(allowed_hosts or ()), _bracketed(host))
    listeners = await _listen(host, port)
    address = _address(host, listeners[0].socket.getsockname()[1], tls=ssl_context is not None)
    try:
        async with open_server(
            sup, auth=auth, allowed_origins=allowed_origins, allowed_hosts=hosts, limits=limits
        ) as server:
            accept = partial(
                trio.serve_listeners,
                server.serve_stream,
                _with_tls(listeners, ssl_context),
                handler_nursery=server.nursery,
            )
            async with trio.open_nursery() as accepting:
                await accepting.start(accept)
                task_status.started(address)
                await sup.drained.wait()
                await server.close(let_finish=True)
                accepting.cancel_scope.cancel()
    finally:
        for listener in listeners:
            listener.socket.close()


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    listeners = await trio.open_tcp_listeners(port, host=host or None)
    if port == 0:
        # A name with several addresses would get several ports; one door is enough.
        for extra in listeners[1:]:
            await extra.aclose()
        del listeners[1:]
    return listeners


def _with_tls(
    listeners: list[trio.SocketListener], context: ssl.SSLContext | None
) -> list[trio.abc.Listener[trio.abc.Stream]]:
    if context is None:
        return [*listeners]
    return [trio.SSLListener(each, context, https_compatible=True) for each in listeners]


def _address(host: str, port: int, *, tls: bool) -> Address:
    place = f"{_bracketed(WILDCARDS.get(host, host))}:{port}"
    s = "s" if tls else ""
    return Address(host, port, f"ws{s}://{place}/ws", f"http{s}://{place}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

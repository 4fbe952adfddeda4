"""Where a server listens: a port, or a path."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import attrs
import trio

from .peers import Peers
from .tls import check_context
from .unix import absolute_path, unix_listener

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Address", "Opened", "Place", "TcpPlace", "UnixAddress", "UnixPlace"]

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


@attrs.frozen
class UnixAddress:
    """Where a server can be reached on this machine.

    Attributes:
        path: of the socket, absolute.
        url: of the websocket, as npm's `ws` writes it, too.
        http_url: of the pages, as requests-unixsocket writes it.
    """

    path: str
    url: str
    http_url: str


@attrs.frozen
class Opened:
    """A place at which connections come in.

    Attributes:
        address: which is told.
        host: under which clients may address it; None if it has no name.
        listeners: where the connections come from.
        serve: what is done with one.
    """

    address: Address | UnixAddress
    host: str | None
    listeners: list[trio.abc.Listener[Any]]
    serve: Callable[[Server, trio.abc.Stream], Awaitable[None]]


class Place(Protocol):
    """Something that connections can come from."""

    def open(self) -> AbstractAsyncContextManager[Opened]:
        """Listen while the block lasts."""


# --- a port --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class TcpPlace:
    """A port; 0 takes any free one."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Opened]:
        """Listen while the block lasts.

        Raises:
            OSError: the address cannot be had.
            ValueError: the ssl_context cannot serve.
        """
        if self.ssl_context is not None:
            check_context(self.ssl_context)
        listeners = await _listen(self.host, self.port)
        try:
            yield Opened(
                _tcp_address(
                    self.host,
                    listeners[0].socket.getsockname()[1],
                    tls=self.ssl_context is not None,
                ),
                _bracketed(self.host),
                _with_tls(listeners, self.ssl_context),
                _serve_anybody,
            )
        finally:
            for listener in listeners:
                listener.socket.close()


async def _serve_anybody(server: Server, stream: trio.abc.Stream) -> None:
    await server.serve_stream(stream)


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
) -> list[trio.abc.Listener[Any]]:
    if context is None:
        return [*listeners]
    return [trio.SSLListener(each, context, https_compatible=True) for each in listeners]


def _tcp_address(host: str, port: int, *, tls: bool) -> Address:
    place = f"{_bracketed(WILDCARDS.get(host, host))}:{port}"
    s = "s" if tls else ""
    return Address(host, port, f"ws{s}://{place}/ws", f"http{s}://{place}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


# --- a path --------------------------------------------------------------------------------------


def _peers(value: Peers | dict[int, Any]) -> Peers:
    return value if isinstance(value, Peers) else Peers(value)


@attrs.frozen(kw_only=True)
class UnixPlace:
    """A path. `peers` need no token there; see `Peers`."""

    path: str | os.PathLike[str]
    mode: int = 0o600
    peers: Peers = attrs.field(factory=lambda: Peers({}), converter=_peers)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Opened]:
        """Listen while the block lasts.

        Raises:
            OSError: the path cannot be had.
        """
        path = absolute_path(self.path)
        with unix_listener(path, mode=self.mode) as listener:
            yield Opened(_unix_address(path), None, [listener], self._serve)

    async def _serve(self, server: Server, stream: trio.abc.Stream) -> None:
        await server.serve_stream(stream, peer=self.peers.find(stream))


def _unix_address(path: str) -> UnixAddress:
    # A colon would end the path.
    return UnixAddress(path, f"ws+unix://{quote(path)}:/ws", f"http+unix://{quote(path, safe='')}")

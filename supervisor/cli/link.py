"""A connection that is lost: what is said of it, and how long it is waited for.

The client tries again by itself. What it cannot know, the endpoint file of a server on this machine
tells: that the server is dead. Then nobody is waited for, and whoever listens on that port by now
is not sent the token.
"""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from .._client.connect import connect_with
from .._client.dial import Address, dial, parse_url
from .._client.keeper import NobodyThere
from .._model import Connected, Disconnected
from .endpoint import is_live

if TYPE_CHECKING:
    import ssl

    from .._client.client import Client
    from .connection import Target

__all__ = ["RECONNECT_SECONDS", "open_link", "wait_until_dead"]

RECONNECT_SECONDS = 10.0
"""Without a connection for so long, the server counts as gone."""

CONNECT_SECONDS = 10.0
"""Until a connection must stand."""

BRIEF = 0.3
"""Seconds in which the death of a server on this machine shows; it is told instead of the loss."""


@asynccontextmanager
async def open_link(
    target: Target, tell: Callable[[str], None], reconnect_timeout: float = RECONNECT_SECONDS
) -> AsyncIterator[Client]:
    """A connection to the server.

    Args:
        target: where it is.
        tell: how to say that it is lost, or back.
        reconnect_timeout: seconds of one outage after which it is given up.

    Raises:
        SupervisorError: nobody answers there, or lets us in.
    """
    address = parse_url(target.url)
    async with trio.open_nursery() as nursery:
        link = _Link(target, tell, nursery)
        async with connect_with(
            partial(_dial_living, target, address, target.ssl_context()),
            token=target.token,
            host=address.authority,
            resource=address.resource,
            connect_timeout=CONNECT_SECONDS,
            reconnect_timeout=reconnect_timeout,
            on_change=link.changed,
        ) as client:
            yield client
        nursery.cancel_scope.cancel("nobody needs it any more")


async def _dial_living(
    target: Target, address: Address, ssl_context: ssl.SSLContext | None
) -> trio.abc.Stream:
    if target.endpoint_file is not None and not is_live(target.endpoint_file):
        raise NobodyThere(f"the server at {target.url} is gone")
    return await dial(address, timeout=CONNECT_SECONDS, ssl_context=ssl_context)


class _Link:
    """What is told of the connection. Its tasks end with the block that uses the connection."""

    def __init__(
        self, target: Target, tell: Callable[[str], None], nursery: trio.Nursery
    ) -> None:
        self._brief = 0.0 if target.endpoint_file is None else BRIEF
        self._tell = tell
        self._nursery = nursery
        self._told = False
        self._lost: trio.CancelScope | None = None

    def changed(self, change: Connected | Disconnected) -> None:
        """Called by the client when it has lost its connection, or has another."""
        if isinstance(change, Disconnected) and change.reconnects:
            if self._lost is None:
                self._lost = trio.CancelScope()
                self._nursery.start_soon(self._tell_lost, self._lost, change.reason)
            return
        if self._lost is not None:
            self._lost.cancel("it is known how it ends")
            self._lost = None
        if self._told and isinstance(change, Connected):
            self._told = False
            self._tell(f"connected again, after {change.outage or 0:.1f} s")

    async def _tell_lost(self, scope: trio.CancelScope, reason: str) -> None:
        with scope:
            await trio.sleep(self._brief)
            self._told = True
            self._tell(f"lost the connection ({reason}); trying again")


async def wait_until_dead(file: Path) -> None:
    """Wait until no server holds this endpoint file any more."""
    # A limiter of its own: what is abandoned here waits on, and must not keep others from threads.
    await trio.to_thread.run_sync(
        _wait_for_lock, file, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
    )


def _wait_for_lock(file: Path) -> None:
    try:
        with file.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH)
    except OSError:  # it has removed the file, as the last thing it does
        return

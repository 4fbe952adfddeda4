"""Opening a connection to a supervisor, and closing it so that nothing stays behind."""

from __future__ import annotations

import math
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from .._errors import InvalidArguments
from .._model import Connected, Disconnected
from .._options import check_seconds
from .client import Client
from .dial import dial, parse_url
from .keeper import Dial, Keeper

__all__ = ["connect", "connect_stream", "connect_with"]

OnChange = Callable[[Connected | Disconnected], None]


@asynccontextmanager
async def connect(
    url: str,
    *,
    token: str | None = None,
    resume_token: str | None = None,
    connect_timeout: float = 10.0,
    reconnect_timeout: float = 30.0,
    ssl_context: ssl.SSLContext | None = None,
    on_change: OnChange | None = None,
) -> AsyncIterator[Client]:
    """A client of the supervisor at `url`: `async with connect(url, token=...) as client: ...`

    When the connection breaks, the client makes another: it repeats what was not answered, as far
    as that is safe, and its watches go on where they were. Only the first one has to stand at once.

    Args:
        url: as `ws://127.0.0.1:8765/ws`, `wss://...` or `ws+unix:///run/supervisor.sock`.
        token: what lets you in; sent as a bearer token. White space around it is dropped.
        resume_token: that of an earlier client whose jobs linger.
        connect_timeout: seconds until a connection must stand.
        reconnect_timeout: seconds that one outage may last before everything that waits is told
            with `ConnectionLost`; 0 never connects again, `math.inf` never gives up.
        ssl_context: for `wss`; the system's default otherwise.
        on_change: told of every connection that comes or goes; must return at once.

    Raises:
        ConnectionLost: nobody answers there.
        Unauthenticated: the token is missing or wrong.
        Forbidden: the server does not take requests for this host or origin.
        InvalidArguments: the url is none.
    """
    address = parse_url(url)
    seconds = check_seconds("connect_timeout", connect_timeout)
    async with connect_with(
        partial(dial, address, timeout=seconds, ssl_context=ssl_context),
        token=token,
        host=address.authority,
        resource=address.resource,
        resume_token=resume_token,
        connect_timeout=seconds,
        reconnect_timeout=reconnect_timeout,
        on_change=on_change,
    ) as client:
        yield client


@asynccontextmanager
async def connect_stream(
    stream: trio.abc.Stream,
    *,
    token: str | None = None,
    resume_token: str | None = None,
    host: str = "localhost",
    resource: str = "/ws",
    connect_timeout: float = 10.0,
) -> AsyncIterator[Client]:
    """A client over a stream that stands already; it is closed at the end. See `connect`.

    There is no second stream, so there is no second connection.
    """

    async def the_stream() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint_if_cancelled()
        return stream

    async with connect_with(
        the_stream,
        token=token,
        host=host,
        resource=resource,
        resume_token=resume_token,
        connect_timeout=connect_timeout,
        reconnect_timeout=0.0,
    ) as client:
        yield client


@asynccontextmanager
async def connect_with(
    dial: Dial,
    *,
    token: str | None = None,
    host: str = "localhost",
    resource: str = "/ws",
    resume_token: str | None = None,
    connect_timeout: float = 10.0,
    reconnect_timeout: float = 30.0,
    on_change: OnChange | None = None,
    jitter: Callable[[], float] = random.random,
) -> AsyncIterator[Client]:
    """A client over the streams that `dial` opens, one after the other. See `connect`.

    Args:
        dial: opens a stream to the server, or raises `OSError` or a `SupervisorError`.
        token: as in `connect`.
        host: what goes into the `Host` header.
        resource: the path of the websocket.
        resume_token: as in `connect`.
        connect_timeout: seconds that dialling and all up to the answer to hello may take.
        reconnect_timeout: as in `connect`.
        on_change: as in `connect`.
        jitter: a number from 0 to 1, drawn anew each time.
    """
    keeper = Keeper(
        dial,
        token=None if token is None else _check_token(token),
        host=host,
        resource=resource,
        resume_token=resume_token,
        connect_timeout=check_seconds("connect_timeout", connect_timeout),
        reconnect_timeout=_check_patience(reconnect_timeout),
        on_change=on_change,
        jitter=jitter,
    )
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)  # ends with the block
            try:
                await keeper.ready.wait()
                if keeper.refusal is not None:
                    raise keeper.refusal
                yield Client(keeper.channel)
            except BaseException as exc:  # noqa: ASYNC103 - raised again below
                raised = exc
            nursery.cancel_scope.cancel("the client is closed")
    except BaseExceptionGroup as group:
        # A KeyboardInterrupt may land in a task of ours: what the block raised is its consequence.
        _, rest = group.split(trio.Cancelled)
        if rest is not None:
            raise _only(rest) from None
        if raised is None:
            raise
    if raised is not None:
        raise raised


def _check_token(token: str) -> str:
    """A token as it can go into a header; it is never shown, not even in the error."""
    token = token.strip()  # files end with a newline
    if not token or not all("!" <= char <= "~" for char in token):
        raise InvalidArguments("the token must be printable ASCII without spaces", path="$.token")
    return token


def _check_patience(seconds: float) -> float:
    if seconds == math.inf:
        return seconds
    return check_seconds("reconnect_timeout", seconds)


def _only(group: BaseExceptionGroup[Any]) -> BaseException:
    """What a group holds, if it is only one."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error

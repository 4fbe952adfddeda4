"""Opening a connection to a supervisor, and closing it so that nothing stays behind."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import trio
import trio_websocket

from ._client import Client
from ._dial import dial, parse_url
from ._errors import (
    ConnectionLost,
    Forbidden,
    InvalidArguments,
    SupervisorError,
    Unauthenticated,
    VersionNotSupported,
)
from ._methods import HelloResult
from ._options import check_seconds
from ._wire import SUBPROTOCOL
from ._wire_records import from_wire

__all__ = ["connect", "connect_stream"]

MESSAGE_LIMIT = 16 * 1024 * 1024
"""Bytes of the largest message that is accepted: a page of a thousand jobs with their results."""

CLOSE_SECONDS = 2.0
"""How long the server is given to answer the close frame."""


@asynccontextmanager
async def connect(
    url: str,
    *,
    token: str | None = None,
    resume_token: str | None = None,
    connect_timeout: float = 10.0,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """A client of the supervisor at `url`: `async with connect(url, token=...) as client: ...`

    Args:
        url: as `ws://127.0.0.1:8765/ws`, or `wss://...`.
        token: what lets you in; sent as a bearer token. White space around it is dropped.
        resume_token: that of an earlier connection whose jobs linger.
        connect_timeout: seconds until the connection must stand.
        ssl_context: for `wss`; the system's default otherwise.

    Raises:
        ConnectionLost: nobody answers there.
        Unauthenticated: the token is missing or wrong.
        Forbidden: the server does not take requests for this host or origin.
        InvalidArguments: the url is none.
    """
    address = parse_url(url)
    seconds = check_seconds("connect_timeout", connect_timeout)
    stream = await dial(address, timeout=seconds, ssl_context=ssl_context)
    async with connect_stream(
        stream,
        token=token,
        resume_token=resume_token,
        host=address.authority,
        resource=address.resource,
        connect_timeout=connect_timeout,
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
    """A client over a stream that stands already; it is closed at the end. See `connect`."""
    if token is not None:
        token = _check_token(token)
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                with _in_time(connect_timeout):
                    connection = await nursery.start(
                        _hold_connection, stream, host, resource, token
                    )
                    client = Client(connection)
                    nursery.start_soon(client.serve)
                    client.hello = await _greet(client, resume_token)
                yield client
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
        raise InvalidArguments(
            "the token must be printable ASCII without spaces", path="$.token"
        )
    return token


@contextmanager
def _in_time(seconds: float) -> Iterator[None]:
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise ConnectionLost(f"the server did not answer within {seconds:g} s") from None


async def _greet(client: Client, resume_token: str | None) -> HelloResult:
    params = {"client": "trio-supervisor"}
    if resume_token is not None:
        params["resume_token"] = resume_token
    return await client.request("session.hello", params, partial(from_wire, HelloResult))


async def _hold_connection(
    stream: trio.abc.Stream,
    host: str,
    resource: str,
    token: str | None,
    task_status: trio.TaskStatus[trio_websocket.WebSocketConnection],
) -> None:
    """Owns the websocket and its reader; closes both, within a bound, when it is cancelled.

    The reader of trio-websocket raises if a ping comes in after a local close, for one; nothing
    that it raises may reach the caller's tasks.
    """
    stands = False
    headers = [] if token is None else [(b"Authorization", f"Bearer {token}".encode())]
    try:
        async with trio.open_nursery() as outside, trio.open_nursery() as nursery:
            connection = await trio_websocket.wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]
                host,
                resource,
                subprotocols=[SUBPROTOCOL],
                extra_headers=headers,
                message_queue_size=64,
                max_message_size=MESSAGE_LIMIT,
                receive_buffer_size=None,
            )
            # The reader has to outlive our cancellation: it is who sees the server's answer to the
            # close frame.
            nursery.cancel_scope.shield = True
            closing = trio.Event()
            outside.start_soon(_set_when_cancelled, closing)
            task_status.started(connection)
            await closing.wait()
            with trio.move_on_after(CLOSE_SECONDS):
                await connection.aclose()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failed, rest = group.split(Exception)
        if rest is not None:
            raise rest from None
        if failed is not None and not stands:
            raise _refusal(_first(failed)) from None
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


async def _set_when_cancelled(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()


def _only(group: BaseExceptionGroup[Any]) -> BaseException:
    """What a group holds, if it is only one."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _refusal(error: BaseException) -> SupervisorError:
    """Why the server did not take the connection; it says so in the body of its answer."""
    if not isinstance(error, trio_websocket.ConnectionRejected):
        return ConnectionLost(f"no control channel answers there: {error}")
    body = (error.body or b"").decode("utf-8", "replace").strip()
    text = body or f"the server refused the connection with HTTP {error.status_code}"
    match error.status_code:
        case 401:
            return Unauthenticated(text)
        case 403 | 421:
            return Forbidden(text)
        case 400:
            return VersionNotSupported(text)
        case _:
            return ConnectionLost(text)

"""One websocket: its handshake, its reader, and its end, so that nothing stays behind."""

from __future__ import annotations

import logging
from typing import Any, Final

import trio
import trio_websocket

from .._errors import (
    ConnectionLost,
    Forbidden,
    SupervisorError,
    Unauthenticated,
    VersionNotSupported,
)
from .._wire import SUBPROTOCOL

__all__ = ["BoundedStream", "first_error", "hold_websocket"]

log = logging.getLogger("supervisor.client")

MESSAGE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of the largest message that is accepted: a page of a thousand jobs with their results."""

BYTES_WITHOUT_A_MESSAGE: Final = 2 * MESSAGE_LIMIT
"""What a peer may send before a message is complete: fragments cost memory, even empty ones."""

CLOSE_SECONDS: Final = 2.0
"""How long the server is given to answer the close frame."""


class BoundedStream(trio.abc.Stream):
    """A stream whose reader sees it broken when too much comes in that makes no message."""

    def __init__(self, transport: trio.abc.Stream) -> None:
        self._transport = transport
        self._left = BYTES_WITHOUT_A_MESSAGE
        self.stands = False  # whether the handshake is over

    def __repr__(self) -> str:
        return f"<BoundedStream over {self._transport!r}>"

    def message_received(self) -> None:
        """A message is complete."""
        self._left = BYTES_WITHOUT_A_MESSAGE

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._transport.receive_some(max_bytes)
        self._left -= len(data)
        if not data and not self.stands:
            # trio-websocket 0.12.2 would wait on for an answer to its handshake.
            raise ConnectionResetError("the connection ended before there was an answer")
        if self._left < 0:
            raise trio.BrokenResourceError("too many bytes without a message")
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._transport.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._transport.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._transport.aclose()


async def hold_websocket(
    stream: BoundedStream,
    host: str,
    resource: str,
    token: str | None,
    task_status: trio.TaskStatus[trio_websocket.WebSocketConnection],
) -> None:
    """Owns the websocket and its reader; closes both, within a bound, when it is cancelled.

    The reader of trio-websocket raises if a ping comes in after a local close, for one; nothing
    that it raises may reach the caller's tasks. However it ends, those who wait for a message see
    `ConnectionClosed`.

    Raises:
        SupervisorError: before it is started: why there is no connection.
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
            stands = stream.stands = True
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
            raise _refusal(first_error(failed)) from None
        log.debug("the websocket's reader failed", exc_info=failed)
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


async def _set_when_cancelled(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()


def first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first exception in a group."""
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

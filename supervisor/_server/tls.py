"""TLS on the server's side: what Trio's stream leaves to us.

The handshake is a part of what a stranger may take its time for, under the same deadline as the
request head.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any

import trio

from .http import response

__all__ = ["check_context", "end_tls", "shake_hands"]

PLAIN = response(400, "this port speaks TLS: connect with wss:// or https://")


def check_context(context: ssl.SSLContext) -> None:
    """Find out before the first client does.

    Raises:
        ValueError: this context cannot serve.
    """
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    except ssl.SSLError as exc:
        raise ValueError(
            "ssl_context is made for clients; a server needs "
            "ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), and its certificate loaded"
        ) from exc


async def shake_hands(stream: trio.abc.Stream) -> None:
    """Do the handshake, if this is TLS. Who speaks plain HTTP is told so, as other servers do.

    Raises:
        BrokenResourceError: the peer left, or does not speak TLS as we do.
    """
    if not isinstance(stream, trio.SSLStream):
        return
    failure: trio.BrokenResourceError | None = None
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as exc:
        failure = exc
    if failure is not None:
        cause = failure.__cause__
        if isinstance(cause, ssl.SSLError) and cause.reason == "HTTP_REQUEST":
            await stream.transport_stream.send_all(PLAIN)
        raise failure


async def end_tls(stream: trio.SSLStream[Any]) -> trio.abc.Stream:
    """Say that this is the end, and wait until the peer agrees.

    A websocket's client waits for the server to close. Without this it would wait until we give up
    on it.

    Returns:
        The stream below, which is open and not closed with the other any more.
    """
    below: trio.abc.Stream = stream.transport_stream
    with suppress(trio.BrokenResourceError):  # the peer says something else, which nobody reads
        await stream.unwrap()
    return below

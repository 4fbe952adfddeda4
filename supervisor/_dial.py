"""From an address to a stream that reaches it; nothing is said on it yet."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio

from ._errors import ConnectionLost, InvalidArguments

__all__ = ["Address", "dial", "parse_url"]


@attrs.frozen(kw_only=True)
class Address:
    """Where a control channel is.

    Attributes:
        url: as it was given.
        host: name or number, without brackets.
        port: of the host.
        resource: the path of the websocket.
        secure: whether TLS is spoken.
    """

    url: str
    host: str
    port: int
    resource: str
    secure: bool

    @property
    def authority(self) -> str:
        """What goes into the `Host` header."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{shown}:{self.port}"


def parse_url(url: str) -> Address:
    """The address in a `ws://` or `wss://` url.

    Raises:
        InvalidArguments: it is no such url.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise InvalidArguments(f"{url!r} is no url: {exc}", path="$.url") from exc
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise InvalidArguments(
            f"url must look like ws://127.0.0.1:8765/ws, not {url!r}", path="$.url"
        )
    secure = parts.scheme == "wss"
    return Address(
        url=url,
        host=parts.hostname,
        port=port or (443 if secure else 80),
        resource=parts.path or "/ws",
        secure=secure,
    )


async def dial(
    address: Address, *, timeout: float, ssl_context: ssl.SSLContext | None = None
) -> trio.abc.Stream:
    """A connection to the address, TLS included.

    Args:
        address: where to.
        timeout: seconds until it must stand.
        ssl_context: for `wss`; the system's default otherwise.

    Raises:
        ConnectionLost: nobody answers there.
    """
    try:
        with trio.fail_after(timeout):
            stream: Any = await trio.open_tcp_stream(address.host, address.port)
            if address.secure:
                context = ssl_context or ssl.create_default_context()
                stream = trio.SSLStream(stream, context, server_hostname=address.host)
                await stream.do_handshake()
    except (OSError, trio.TooSlowError, trio.BrokenResourceError) as exc:
        why = str(exc) or "it does not answer in time"
        raise ConnectionLost(
            f"cannot connect to {address.url}: {why}; is the server running?"
        ) from exc
    opened: trio.abc.Stream = stream
    return opened

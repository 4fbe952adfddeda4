"""The little HTTP that is spoken before, or instead of, a websocket: one head, one answer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

import attrs
import h11
import trio

__all__ = ["BadHead", "Head", "read_head", "response"]


class BadHead(Exception):
    """The request head cannot be served; carries the status to answer with."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@attrs.frozen
class Head:
    """A parsed request head. Header names are lower case."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    version: str = "1.1"

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def all(self, name: str) -> list[str]:
        """Every value of this header, in order."""
        return [value for key, value in self.headers if key == name]

    def words(self, name: str) -> list[str]:
        """The comma-separated items of this header."""
        items = ",".join(self.all(name)).split(",")
        return [item.strip() for item in items if item.strip()]


async def read_head(
    stream: trio.abc.ReceiveStream, *, max_bytes: int
) -> tuple[Head, bytes, bytes] | None:
    """Read up to the end of the first request head.

    Returns:
        The head, its bytes, and the bytes that came after it; None if the peer left before.

    Raises:
        BadHead: it is no HTTP/1.1 head, too large, or brings a body along.
    """
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=max_bytes)
    raw = bytearray()
    while True:
        data = await stream.receive_some(max_bytes)
        if not data:
            return None
        raw += data
        head = _parse(parser, bytes(data))
        if head is not None:
            rest = parser.trailing_data[0]
            end = len(raw) - len(rest)
            if end > max_bytes:
                raise BadHead(431, f"the request head is too long; {max_bytes} bytes are the limit")
            return head, bytes(raw[:end]), rest


_QUOTED = re.compile(r":? *(?:bytearray\()?b?['\"].*", re.DOTALL)
"""Where the parser begins to repeat what it was sent; that may be a secret."""


def _parse(parser: h11.Connection, data: bytes) -> Head | None:
    try:
        parser.receive_data(data)
        event = parser.next_event()
        if event is h11.NEED_DATA:
            return None
        if not isinstance(event, h11.Request) or _has_body(event):
            raise BadHead(400, "requests here have no body")
        parser.next_event()  # the end of the message
    except h11.RemoteProtocolError as exc:
        problem = _QUOTED.sub("", str(exc))
        raise BadHead(exc.error_status_hint, f"not an HTTP/1.1 request: {problem}") from exc
    return Head(
        event.method.decode("latin-1"),
        event.target.decode("latin-1"),
        tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in event.headers),
        event.http_version.decode("latin-1"),
    )


def _has_body(request: h11.Request) -> bool:
    """Whether a body is announced, be it one of no bytes in chunks."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
        for name, value in request.headers
    )


def response(status: int, body: str | bytes, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A whole answer, after which the connection is closed: a line of text, or bytes of JSON."""
    kind = "application/json"
    if isinstance(body, str):
        body = (body.rstrip("\n") + "\n").encode("utf-8", "replace")
        kind = "text/plain; charset=utf-8"
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

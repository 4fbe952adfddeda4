"""What passes over a connection, cut into what cannot be told apart on its own.

One HTTP head, then websocket frames (RFC 6455, 5.2), masked or not. Bytes in, units out, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["Splitter", "Unit", "frame_size", "payload"]


class Unit(NamedTuple):
    """What cannot be told apart on its own: a head, a control frame, or a whole message."""

    raw: bytes
    is_message: bool


class Splitter:
    """Cuts a stream of bytes into units; bytes in, units out."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._message = bytearray()
        self._next: Callable[[], Unit | None] = self._head

    def feed(self, data: bytes) -> Iterator[Unit]:
        """Take bytes in; the units that are complete now."""
        self._bytes += data
        while (unit := self._next()) is not None:
            if unit.raw:
                yield unit

    def _take(self, size: int) -> bytes:
        taken = bytes(self._bytes[:size])
        del self._bytes[:size]
        return taken

    def _head(self) -> Unit | None:
        end = self._bytes.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._take(end + 4)
        is_upgrade = head.startswith((b"GET ", b"HTTP/1.1 101 "))
        self._next = self._frame if is_upgrade else self._rest
        return Unit(head, False)

    def _rest(self) -> Unit | None:
        """Whatever this is, it is no websocket."""
        return Unit(self._take(len(self._bytes)), False) if self._bytes else None

    def _frame(self) -> Unit | None:
        size = frame_size(self._bytes)
        if size is None or len(self._bytes) < size:
            return None
        frame = self._take(size)
        if frame[0] & 0x08:
            return Unit(frame, False)
        self._message += frame
        if not frame[0] & 0x80:
            return Unit(b"", True)  # a part of a message; more of it follows
        whole = bytes(self._message)
        self._message.clear()
        return Unit(whole, True)


def frame_size(data: bytes | bytearray) -> int | None:
    """How long the frame is that begins here; None if that cannot be told yet."""
    if len(data) < 2:
        return None
    size = data[1] & 0x7F
    extended = {126: 2, 127: 8}.get(size, 0)
    start = 2 + extended
    if len(data) < start:
        return None
    if extended:
        size = int.from_bytes(data[2:start], "big")
    return start + (4 if data[1] & 0x80 else 0) + size


def payload(message: bytes) -> bytes:
    """What a message says, put together from its frames."""
    said = bytearray()
    while message:
        size = frame_size(message)
        if size is None:
            raise ValueError("a message is not whole")
        frame, message = message[:size], message[size:]
        start = 2 + {126: 2, 127: 8}.get(frame[1] & 0x7F, 0)
        if frame[1] & 0x80:
            mask, body = frame[start : start + 4], frame[start + 4 :]
            said += bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
        else:
            said += frame[start:]
    return bytes(said)

"""How much of what a peer sends never becomes a message: fragments, pings, endless frames.

The websocket library takes every frame, and handles those that complete no message in one go. So
the heads of frames are read here first (RFC 6455, 5.2): whoever sends too much without ever
completing a message is found out, and what costs time without a pause is passed on in small pieces.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["FRAME_COST", "TRICKLE", "FrameMeter", "Patience"]

TRICKLE = 8 * 1024
"""Bytes a second that may always arrive without completing a message: pings, for one."""

FRAME_COST = 100
"""Bytes that a frame which completes no message counts for beside its own: it costs more to read
than it has bytes. Eight thousand fragments of a mebibyte stay within `Patience`."""

_FINAL = 0x80
_CONTROL = 0x08


class FrameMeter:
    """Follows the frames of one direction of a connection.

    Attributes:
        messages: the sizes of those that were completed by the last `measure`, heads included.
        idle: how many frames of it completed none.
        open_bytes: what has arrived of the message that is yet to be completed.
    """

    def __init__(self) -> None:
        self.messages: list[int] = []
        self.idle = 0
        self.open_bytes = 0
        self._head = b""
        self._left = 0  # of the present frame's payload
        self._final = False

    def measure(self, data: bytes | bytearray, most: int) -> int:
        """Look at what arrived; how many bytes of it to pass on at once.

        Args:
            data: the next bytes. What is not passed on is to be measured again.
            most: stop behind so many frames that complete no message.
        """
        self.idle = 0
        self.messages = []
        place = 0
        while place < len(data) and self.idle < most:
            place = self._payload(data, place) if self._left else self._begin(data, place)
        return place

    def is_one_message(self, data: bytes | bytearray) -> bool:
        """Whether this is one short message in one frame: nearly always, and it is quickly seen.

        Then it need not be measured.
        """
        size = len(data) - 6
        return (
            0 <= size < 126
            and data[0] in (0x81, 0x82)
            and data[1] == 0x80 + size
            and not (self._left or self._head or self.open_bytes)
        )

    def _payload(self, data: bytes | bytearray, place: int) -> int:
        step = min(self._left, len(data) - place)
        self._left -= step
        self.open_bytes += step
        if not self._left:
            self._end()
        return place + step

    def _begin(self, data: bytes | bytearray, place: int) -> int:
        """Read a frame's head, or as much of it as there is."""
        head = self._head + data[place : place + 14 - len(self._head)]
        size = _head_size(head)
        if len(head) < size:
            self._head = bytes(head)
            return len(data)
        place += size - len(self._head)
        self._head = b""
        self._left = _payload_size(head)
        self._final = head[0] & _FINAL != 0 and not head[0] & _CONTROL
        self.open_bytes += size
        if not self._left:
            self._end()
        return place

    def _end(self) -> None:
        if self._final:
            self.messages.append(self.open_bytes)
            self.open_bytes = 0
        else:
            self.idle += 1


def _head_size(head: bytes | bytearray) -> int:
    """How long the head is, as far as its beginning tells."""
    if len(head) < 2:
        return 2
    length, masked = head[1] & 0x7F, head[1] & 0x80
    return 2 + (0 if length < 126 else 2 if length == 126 else 8) + (4 if masked else 0)


def _payload_size(head: bytes | bytearray) -> int:
    length = head[1] & 0x7F
    if length < 126:
        return length
    return int.from_bytes(head[2:4] if length == 126 else head[2:10], "big")


class Patience:
    """How many bytes may come without a message before it is enough.

    Args:
        limit: so many at once.
        now: a clock's time, in seconds.

    Attributes:
        tried: whether there is something to be forgiven.
    """

    def __init__(self, limit: int, now: float) -> None:
        self._limit = self._left = float(limit)
        self._at = now
        self.tried = False

    def widen(self, limit: int) -> None:
        """More may come from now on."""
        self._limit = self._left = float(limit)

    def earn(self, size: int) -> None:
        """A message of this many bytes is complete: what came for it is forgiven."""
        self._left = min(self._limit, self._left + 4 * size + TRICKLE)
        self.tried = self._left < self._limit

    def spend(self, size: int, clock: Callable[[], float]) -> bool:
        """So many bytes came; False: it is enough. The clock is looked at only when it matters."""
        self._left -= size
        self.tried = True
        if self._left >= 0:
            return True
        now = clock()
        earned = max(0.0, now - self._at) * TRICKLE
        self._at = now
        self._left = min(self._limit, self._left + earned)
        return self._left >= 0

"""Frames that many watchers share: what they are told is built, encoded and framed once.

Ids of subscriptions count from one on each connection, so most watchers that have read as far as
each other are sent the same bytes.
"""

from __future__ import annotations

from typing import Any

from .._model import JobEvent
from .._watch import Watch
from .._wire import json_bytes
from .._wire_records import item_to_wire
from .stream import text_frame

__all__ = ["Frames"]

ENTRIES = 256
BYTES = 4 * 1024 * 1024


class _Kept:
    """What was made of the newest items; an item is kept with it, so that its id stays its own."""

    def __init__(self) -> None:
        self._made: dict[Any, tuple[Any, Any, int]] = {}
        self._size = 0

    def get(self, key: Any) -> Any:
        kept = self._made.get(key)
        return None if kept is None else kept[1]

    def put(self, key: Any, item: Any, made: Any, size: int) -> None:
        self._made[key] = (item, made, size)
        self._size += size
        while len(self._made) > ENTRIES or self._size > BYTES:
            self._size -= self._made.pop(next(iter(self._made)))[2]


class Frames:
    """Makes the frames of notifications, and keeps the newest."""

    def __init__(self) -> None:
        self._bodies = _Kept()
        self._frames = _Kept()

    def of(self, watch: Watch, raw: Any, subscription_id: str, prev_seq: int) -> tuple[bytes, int]:
        """The frame of an item, and the subscription's position after it.

        Args:
            watch: whose item it is.
            raw: what `Watch.take_raw` returned.
            subscription_id: for whom.
            prev_seq: the subscription's position before.
        """
        key = (id(raw), subscription_id, prev_seq)
        known: tuple[bytes, int] | None = self._frames.get(key)
        if known is None:
            method, body, seq = self._body(watch, raw)
            position = b"" if seq is None else b'"prev_seq":%d,' % prev_seq
            frame = _framed(method, subscription_id, position + body)
            known = frame, prev_seq if seq is None else seq
            self._frames.put(key, raw, known, len(frame))
        return known

    def _body(self, watch: Watch, raw: Any) -> tuple[str, bytes, int | None]:
        """Method, params without the opening bracket, and the position if it is an event."""
        key = id(raw)
        known: tuple[str, bytes, int | None] | None = self._bodies.get(key)
        if known is None:
            item = watch.public(raw)
            method, params = item_to_wire(item)
            seq = item.seq if isinstance(item, JobEvent) else None
            known = method, json_bytes(params)[1:], seq
            self._bodies.put(key, raw, known, len(known[1]))
        return known

    def bookmark(
        self, subscription_id: str, number: int, prev_seq: int, instance: str, seq: int
    ) -> bytes:
        """The frame of a bookmark."""
        body = b'"number":%d,"prev_seq":%d,"instance":"%s","seq":%d}' % (
            number,
            prev_seq,
            instance.encode(),
            seq,
        )
        return _framed("events.bookmark", subscription_id, body)


def _framed(method: str, subscription_id: str, rest: bytes) -> bytes:
    head = b'{"jsonrpc":"2.0","method":"%s","params":{"subscription_id":"%s",'
    return text_frame(head % (method.encode(), subscription_id.encode()) + rest + b"}")

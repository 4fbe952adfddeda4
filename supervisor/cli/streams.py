"""A job's output on its way to our own stdout and stderr, in order and in time.

Writing happens in a thread: a pager that does not read holds up the output, never the answer to
Ctrl+C. What waits is bounded; above the bound nothing more is taken in, and the job's log, bounded
too, drops its oldest lines and counts them.
"""

from __future__ import annotations

import base64
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, TextIO, cast

import trio

from .._model import LogEntry
from .exits import PipeClosed
from .output import is_terminal
from .text import clean

__all__ = ["Streams", "data_of", "open_streams"]

WAITING_LIMIT = 64 * 1024 * 1024
PIECE = 1024 * 1024


def data_of(entry: LogEntry, *, on_terminal: bool) -> bytes:
    """A line as it is written: its very bytes, or, where somebody looks, only what can be shown."""
    if on_terminal:
        return clean(entry.text).encode("utf-8", "replace") + b"\n"
    if entry.base64 is not None:
        return base64.b64decode(entry.base64) + b"\n"
    return entry.text.encode("utf-8", "replace") + b"\n"


class Streams:
    """stdout and stderr, written by a task of their own (`serve`).

    Attributes:
        broken: set when nobody reads our stdout any more; what is for it is dropped from then on.
    """

    def __init__(self, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self._streams = (out or sys.stdout, err or sys.stderr)
        self._on_terminal = tuple(map(is_terminal, self._streams))
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._writing = False
        self.broken = trio.Event()
        self._news = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    def line(self, entry: LogEntry) -> None:
        """A line of the job: its stdout goes to ours, the rest to stderr."""
        which = 0 if entry.stream == "stdout" else 1
        self._put(which, data_of(entry, on_terminal=self._on_terminal[which]))

    def listed(self, entry: LogEntry, before: str = "") -> None:
        """A line of a job as data of ours: to stdout, whichever stream it was written to."""
        shown = data_of(entry, on_terminal=self._on_terminal[0])
        self._put(0, before.encode("utf-8", "replace") + shown)

    def data(self, text: str) -> None:
        """A line of our own for stdout."""
        self._put(0, text.encode("utf-8", "replace") + b"\n")

    def say(self, text: str) -> None:
        """A line of our own for stderr."""
        self._put(1, f"trio-supervisor: {clean(text)}\n".encode("utf-8", "replace"))

    def _put(self, which: int, data: bytes) -> None:
        if which == 0 and self.broken.is_set():
            return
        self._waiting.append((which, data))
        self._size += len(data)
        self._news.unpark_all()

    async def room(self) -> None:
        """Wait until less waits than may."""
        while self._size > WAITING_LIMIT:
            await self._room.park()

    async def drained(self) -> None:
        """Wait until everything is written."""
        while self._waiting or self._writing:
            await self._room.park()

    async def serve(self) -> None:
        """Write what comes, for ever."""
        while True:
            while not self._waiting:
                await self._news.park()
            which, data = self._take()
            self._writing = True
            if not await trio.to_thread.run_sync(self._write, which, data, abandon_on_cancel=True):
                self.broken.set()
            self._writing = False
            self._room.unpark_all()

    def _take(self) -> tuple[int, bytes]:
        """What comes next for one of the two, in one piece."""
        which, data = self._waiting.popleft()
        pieces = [data]
        size = len(data)
        while self._waiting and self._waiting[0][0] == which and size < PIECE:
            pieces.append(self._waiting.popleft()[1])
            size += len(pieces[-1])
        self._size -= size
        return which, b"".join(pieces)

    def _write(self, which: int, data: bytes) -> bool:
        """Write; False if it was for stdout, and nobody reads that."""
        stream = self._streams[which]
        if stream is None:
            return True
        try:
            buffer = cast(TextIO, stream).buffer
            buffer.write(data)
            buffer.flush()
        except (OSError, ValueError):
            return which != 0
        return True


@asynccontextmanager
async def open_streams() -> AsyncIterator[Streams]:
    """The streams of a verb that shows what comes; at the end of the block all of it is written.

    Raises:
        PipeClosed: nobody reads stdout any more; the block is cancelled.
    """
    streams = Streams()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(streams.serve)  # noqa: ASYNC113 - what comes before it begins waits
        nursery.start_soon(_leave_when_unread, streams)
        yield streams
        await streams.drained()
        nursery.cancel_scope.cancel("all of it is written")


async def _leave_when_unread(streams: Streams) -> None:
    await streams.broken.wait()
    raise PipeClosed

"""A job's output: read from a pipe, cut into lines, handed to the sink.

* A line is without its "\\n", and without one "\\r" before that.
* A line longer than 64 KiB is cut into pieces of 64 KiB; a last line needs no line end.
* One wake reads a bounded piece and yields after a bounded number of lines: a job that writes
  without end is slowed down by its pipe and does not keep others waiting.
* The end of a job does not depend on the pipe's end, which a stranger may hold open. Once the job
  is known to be gone, what it wrote is in the pipe: that much is read, and no more.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator

import trio

MAX_LINE = 64 * 1024
CHUNK = 16 * 1024
LINES_PER_TURN = 256


class LineSplitter:
    """Bytes in, lines out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from _pieces(line.removesuffix(b"\r"))
        while len(self._rest) > MAX_LINE:
            piece, self._rest = self._rest[:MAX_LINE], self._rest[MAX_LINE:]
            yield piece

    def end(self) -> Iterator[bytes]:
        """The last line, if it had no line end."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from _pieces(rest)


def _pieces(line: bytes) -> Iterator[bytes]:
    yield line[:MAX_LINE]
    for start in range(MAX_LINE, len(line), MAX_LINE):
        yield line[start : start + MAX_LINE]


class PipeReader:
    """Reads one pipe to its end, or to the end of its job.

    Args:
        fd: the read end, non-blocking; closed when `run` returns.
        deliver: what gets each line.
    """

    def __init__(self, fd: int, deliver: Callable[[bytes], None]) -> None:
        self._fd = fd
        self._deliver = deliver
        self._splitter = LineSplitter()
        self._finishing = False
        self._waiting: trio.CancelScope | None = None

    def finish(self) -> None:
        """The job is gone: read what is there, then stop."""
        self._finishing = True
        if self._waiting is not None:
            self._waiting.cancel()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        try:
            if not await self._follow():
                await self._drain()
            await self._hand_over(self._splitter.end())
        finally:
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)

    async def _follow(self) -> bool:
        """Read until the pipe's end (True), or until told to finish (False)."""
        while not self._finishing:
            data = self._read(CHUNK)
            if data == b"":
                return True
            if data is None:
                await self._wait()
            else:
                await self._hand_over(self._splitter.feed(data))
                await trio.lowlevel.cancel_shielded_checkpoint()
        return False

    async def _wait(self) -> None:
        with trio.CancelScope() as self._waiting:
            await trio.lowlevel.wait_readable(self._fd)
        self._waiting = None

    async def _drain(self) -> None:
        """Read what the pipe can hold at most; a stranger who goes on writing does not count."""
        left = fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ)
        while left > 0 and (data := self._read(min(left, CHUNK))):
            left -= len(data)
            await self._hand_over(self._splitter.feed(data))

    def _read(self, size: int) -> bytes | None:
        """Up to `size` bytes; b"" at the end; None if there are none now."""
        try:
            return os.read(self._fd, size)
        except BlockingIOError:
            return None

    async def _hand_over(self, lines: Iterator[bytes]) -> None:
        for count, line in enumerate(lines, 1):
            self._deliver(line)
            if count % LINES_PER_TURN == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()

"""Says on a terminal how far a long search is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

QUIET_SECONDS = 1.0
"""A search shorter than this shows nothing."""

EVERY_SECONDS = 0.2


class Progress:
    """One line on stderr, written over and over."""

    def __init__(self, name: str, most: int, stream: TextIO | None) -> None:
        self._name = name
        self._most = most
        self._stream = stream
        self._began = time.monotonic()
        self._next = self._began + QUIET_SECONDS
        self._width = 0

    def ran(self, runs: int, level: int) -> None:
        """So many schedules were run; the last has so many preemptions."""
        if self._stream is None:
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_SECONDS
        rate = runs / (now - self._began)
        self._write(
            f"{self._name}: {runs:,} schedules, now with {level} "
            f"preemption{'s' * (level != 1)}, {rate:,.0f}/s, at most {self._most:,}"
        )

    def finish(self) -> None:
        """Take the line away."""
        if self._width:
            self._write("")

    def _write(self, line: str) -> None:
        assert self._stream is not None
        self._stream.write("\r" + line.ljust(self._width) + ("" if line else "\r"))
        self._stream.flush()
        self._width = len(line)


@contextmanager
def open_progress(name: str, most: int, wanted: bool | None) -> Iterator[Progress]:
    """Progress on stderr if that is wanted, or if it is a terminal; the line goes at the end."""
    stream = sys.stderr
    shows = stream is not None and (stream.isatty() if wanted is None else wanted)
    progress = Progress(name, most, stream if shows else None)
    try:
        yield progress
    finally:
        progress.finish()

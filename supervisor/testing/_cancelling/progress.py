"""Says on a terminal how far a long series of runs is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["QUIET_SECONDS", "shown"]

T = TypeVar("T")

QUIET_SECONDS = 2.0
"""A series shorter than this shows nothing."""

EVERY_SECONDS = 0.2


def shown(name: str, todo: list[T], wanted: bool | None) -> Iterator[T]:
    """The members of `todo`; on stderr stands how many of them there were, until they are through.

    Args:
        name: of what is run.
        todo: the runs.
        wanted: whether to show it; None: if stderr is a terminal.
    """
    stream = sys.stderr
    shows = stream is not None and (stream.isatty() if wanted is None else wanted)
    return _showing(name, todo) if shows else iter(todo)


def _showing(name: str, todo: Iterable[T]) -> Iterator[T]:
    runs = list(todo)
    width = 0
    following = time.monotonic() + QUIET_SECONDS
    try:
        for number, each in enumerate(runs):
            if time.monotonic() >= following:
                line = f"{name}: cancelled {number:,} times of {len(runs):,}"
                sys.stderr.write(f"\r{line.ljust(width)}")
                sys.stderr.flush()
                width = len(line)
                following = time.monotonic() + EVERY_SECONDS
            yield each
    finally:
        if width:
            sys.stderr.write(f"\r{' ' * width}\r")
            sys.stderr.flush()

"""Ctrl+C, TERM and a closed terminal, counted; each is a request, none is an exception.

The first asks politely, the second forces, the third leaves at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import trio

from .output import say

__all__ = ["Stops", "code_of_signal", "leave_now", "open_stops", "until_stopped"]

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def code_of_signal(number: int) -> int:
    """What a shell makes of a death by this signal."""
    return 128 + number


class Stops:
    """The requests to stop as they come in.

    Attributes:
        count: how many there were.
        code: what to exit with, because of the first; None before it.
    """

    def __init__(self, signals: AsyncIterator[int]) -> None:
        self._signals = signals
        self.count = 0
        self.code: int | None = None

    async def __aiter__(self) -> AsyncIterator[int]:
        """The number of each: 1, 2, 3, ..."""
        async for number in self._signals:
            self.count += 1
            if self.code is None:
                self.code = code_of_signal(number)
            yield self.count


@contextmanager
def open_stops(*, last: bool = False) -> Iterator[Stops]:
    """Take these signals for the block; those that we were started to ignore stay ignored.

    (`nohup` ignores SIGHUP, a shell ignores SIGINT for what it runs in the background.)

    Args:
        last: nothing comes after the block but the end of the process, whose exit code is settled:
            the signals are ignored from then on.
    """
    ours = [number for number in ASKING if signal.getsignal(number) is not signal.SIG_IGN]
    if not ours:
        yield Stops(_none())
        return
    for number in ours if last else ():
        # What Trio puts back at the end; a signal that was not read yet would be raised again.
        signal.signal(number, signal.SIG_IGN)
    with trio.open_signal_receiver(*ours) as received:
        yield Stops(received)


async def _none() -> AsyncIterator[int]:
    """The signals of a process that was started to ignore them all."""
    await trio.sleep_forever()
    yield 0


async def until_stopped(
    work: Callable[[], Awaitable[int]], farewell: Callable[[], str] | None = None
) -> int:
    """Do something that only looks or waits, until it is done or we are asked to stop.

    The first signal ends it, with nothing undone; the second leaves at once, for a server may not
    answer while we say goodbye.

    Args:
        work: what to do; returns the code to exit with.
        farewell: what to say to whoever leaves before it is done; "" is nothing.
    """
    code: int | None = None
    with open_stops(last=True) as stops:
        async with trio.open_nursery() as nursery:
            working = trio.CancelScope()
            nursery.start_soon(_heed, stops, working)  # on when the work is being cancelled, too
            with working:
                code = await work()
            nursery.cancel_scope.cancel("it is done")
    if stops.code is None:
        assert code is not None
        return code
    if code is None and farewell is not None and (words := farewell()):
        say(words)
    return stops.code


async def _heed(stops: Stops, working: trio.CancelScope) -> None:
    async for count in stops:
        if count > 1:
            leave_now(stops.code or code_of_signal(signal.SIGINT))
        working.cancel("asked to stop")


def leave_now(code: int) -> NoReturn:
    """End the process where it stands: something in it does not want to end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)

"""Keeps the garbage collector out of a bulk walk.

A full collection walks every object there is: with a hundred thousand jobs that stops the loop for
almost half a second, and a bulk cancel makes enough new objects to set off several. Nearly all of
what they would walk is alive. So while a large walk lasts, what exists is set aside (`gc.freeze`,
which takes no time), again after every chunk; afterwards it is put back.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["set_aside"]

LARGE = 5_000
"""Jobs from which on it is worth while: below, a full collection takes about as long as a chunk."""

FEW = 5_000
"""Frozen objects up to which nobody has called `gc.freeze`: Python 3.12 sets aside some hundred of
its own, and an application that calls it has tens of thousands."""

_holders = 0


def _nothing() -> None:
    pass


@contextmanager
def set_aside(jobs: int) -> Iterator[Callable[[], None]]:
    """For the length of the block, keep what exists out of collections, if `jobs` are many.

    Yields a function that sets aside what has come since; call it after every chunk. Does nothing
    in a process that has frozen objects of its own: they must stay so.
    """
    global _holders
    if jobs < LARGE or (_holders == 0 and gc.get_freeze_count() > FEW):
        yield _nothing
        return
    gc.freeze()
    _holders += 1
    try:
        yield gc.freeze
    finally:
        _holders -= 1
        if _holders == 0:
            gc.unfreeze()

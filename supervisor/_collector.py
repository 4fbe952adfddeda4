"""Keeps the garbage collector out of a bulk walk.

A full collection walks every object there is: with a hundred thousand jobs that stops the loop for
almost half a second, and a bulk cancel makes enough new objects to set one off. Nearly all of what
it would walk is alive. So while a large walk lasts, what exists already is set aside (`gc.freeze`,
which takes no time); new garbage is collected as ever. Afterwards it is put back.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["set_aside"]

LARGE = 5_000
"""Jobs from which on it is worth while: below, a full collection takes about as long as a chunk."""

_holders = 0


@contextmanager
def set_aside(jobs: int) -> Iterator[None]:
    """For the length of the block, keep what exists out of collections, if `jobs` are many.

    Does nothing in a process that has frozen objects of its own: they must stay so.
    """
    global _holders
    if jobs < LARGE or (_holders == 0 and gc.get_freeze_count()):
        yield
        return
    if _holders == 0:
        gc.freeze()
    _holders += 1
    try:
        yield
    finally:
        _holders -= 1
        if _holders == 0:
            gc.unfreeze()

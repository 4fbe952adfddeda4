"""Looking again whenever something has changed: for tables that stay on the screen.

No looking on suspicion: the event watch says that something has changed. Changes that come thick
and fast are taken together.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from .._errors import ReplayGone
from .._model import JobFilter
from ..abc import JobControl

__all__ = ["Changes", "open_changes"]

PAUSE = 0.25
"""Seconds between two looks, however much happens."""


class Changes:
    """Whether something has changed since the last look."""

    def __init__(self) -> None:
        self._changed = trio.Event()
        self._changed.set()  # nobody has looked yet
        self._looked = -math.inf

    def tell(self) -> None:
        """Something has changed."""
        self._changed.set()

    async def wait(self, at_most: float = math.inf) -> bool:
        """Wait until it is worth while to look, or for so many seconds; True: there are changes."""
        with trio.move_on_after(at_most):
            await self._changed.wait()
            await trio.sleep_until(self._looked + PAUSE)
            self._changed = trio.Event()
            self._looked = trio.current_time()
            return True
        return False


@asynccontextmanager
async def open_changes(
    control: JobControl, filter: JobFilter | None = None, *, progress: bool = False
) -> AsyncIterator[Changes]:
    """What changes in the jobs that the filter means, for the block."""
    if filter is not None:
        filter = attrs.evolve(filter, state=None)  # that a job leaves a state is a change, too
    changes = Changes()
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch, control, filter, progress, changes)
        yield changes
        nursery.cancel_scope.cancel("nobody looks any more")


async def _watch(
    control: JobControl,
    filter: JobFilter | None,
    progress: bool,
    changes: Changes,
    task_status: trio.TaskStatus[None],
) -> None:
    began = False
    while True:
        try:
            async with control.watch(filter=filter, progress=progress) as events:
                if not began:
                    task_status.started()
                    began = True
                changes.tell()
                async for _ in events:
                    changes.tell()
            return
        except ReplayGone:  # so much has changed: what matters here is only that it has
            continue

"""A job's lines in their order, none of them twice, up to its final event.

Lines that a slow watcher missed are fetched from the job's log; what that no longer has is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .._errors import ConnectionLost
from .._model import JobEvent, LogEntry, LogsLagged, ProgressEvent
from ..abc import JobControl, JobWatch, WatchItem

__all__ = ["Follower", "Sink"]


class Sink(Protocol):
    """Where what is followed goes."""

    def line(self, entry: LogEntry) -> None:
        """A line of the job."""

    def event(self, event: JobEvent) -> None:
        """A change of its state."""

    def lost(self, lag: LogsLagged) -> None:
        """These lines are no longer to be had."""

    async def room(self) -> None:
        """Return when more can be taken."""


class Follower:
    """Follows one job.

    Args:
        control: where it runs.
        job_id: the job.
        sink: where its lines and events go.
    """

    def __init__(self, control: JobControl, job_id: str, sink: Sink) -> None:
        self._control = control
        self._job_id = job_id
        self._sink = sink
        self._last = 0

    async def catch_up(self) -> None:
        """Take what the log holds already."""
        await self._fetch(None)

    async def follow(self, events: JobWatch, attempt: int) -> None:
        """Take everything up to the end of this attempt of the job."""
        async for item in events:
            more: WatchItem | None = item
            while more is not None:
                if await self._take(more, attempt):
                    return
                more = _next_nowait(events)
            await self._sink.room()

    async def _take(self, item: WatchItem, attempt: int) -> bool:
        """Pass one item on; True if it is the end."""
        match item:
            case LogEntry():
                await self._line(item)
            case LogsLagged():
                await self._fetch(item.to_n)
            case JobEvent():
                self._sink.event(item)
                return item.type == "job.finished" and item.attempt >= attempt
            case ProgressEvent():
                pass
        return False

    async def _line(self, entry: LogEntry) -> None:
        if entry.n > self._last + 1:
            await self._fetch(entry.n - 1)
        if entry.n > self._last:
            self._pass_on(entry)

    def _pass_on(self, entry: LogEntry) -> None:
        if entry.n > self._last + 1:
            self._lost(entry.n - 1)
        self._sink.line(entry)
        self._last = entry.n

    async def _fetch(self, up_to: int | None) -> None:
        """Take lines from the log: those up to a number, or all there are."""
        while up_to is None or self._last < up_to:
            try:
                page = await self._control.logs(self._job_id, since=self._last)
            except ConnectionLost:
                break  # a server that shuts down; the watch has the end, or tells of the loss
            for entry in page.entries:
                self._pass_on(entry)
            if not page.entries:
                break
            await self._sink.room()
        if up_to is not None and self._last < up_to:
            self._lost(up_to)
            self._last = up_to

    def _lost(self, to_n: int) -> None:
        self._sink.lost(LogsLagged(job_id=self._job_id, from_n=self._last + 1, to_n=to_n))


def _next_nowait(events: JobWatch) -> WatchItem | None:
    """The next item if it is there already: a watch in this process can tell without a pause."""
    take: Callable[[], WatchItem | None] | None = getattr(events, "take_nowait", None)
    return None if take is None else take()

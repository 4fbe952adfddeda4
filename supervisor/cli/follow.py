"""A job's lines and events in their order, up to its final event.

The lines are followed by `LogFollow`, for which this stands between it and the watch: what is taken
from the watch for the lines' sake is told of on the way, the final event only after the last line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .._follow import LogFollow
from .._model import EventsLost, Job, JobEvent, LogEntry, LogsLagged
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

    def events_lost(self, gap: EventsLost) -> None:
        """Some changes of its state are no longer to be had."""

    async def room(self) -> None:
        """Return when more can be taken."""


class Follower:
    """Follows one job.

    Args:
        control: where it runs.
        sink: where its lines and events go.
    """

    def __init__(self, control: JobControl, sink: Sink) -> None:
        self._control = control
        self._sink = sink

    async def follow(self, events: JobWatch, job: Job) -> None:
        """Take everything up to the end of this attempt of the job.

        Args:
            events: a watch of it, with its lines, that was opened before `job` was looked at.
            job: the job as it was found or started.
        """
        told = _Told(events, self._sink, job.attempt)
        async for item in LogFollow(self._control, job, 0, told):
            if isinstance(item, LogEntry):
                self._sink.line(item)
            else:
                self._sink.lost(item)
        if told.final is not None:
            self._sink.event(told.final)


class _Told(JobWatch):
    """A watch whose events go to the sink, too.

    Attributes:
        final: the event that is held back until the lines before it are taken.
    """

    def __init__(self, events: JobWatch, sink: Sink, attempt: int) -> None:
        self.from_seq = events.from_seq
        self.final: JobEvent | None = None
        self._events = events
        self._sink = sink
        self._attempt = attempt
        # A watch in this process has a burst of lines at once: they are taken without a pause, in
        # which the next burst could push lines out of the log.
        self._take: Callable[[], WatchItem | None] | None = getattr(events, "take_nowait", None)

    async def __anext__(self) -> WatchItem:
        item = None if self._take is None else self._take()
        if item is None:
            await self._sink.room()
            item = await anext(self._events)
        if isinstance(item, JobEvent):
            self._tell(item)
        elif isinstance(item, EventsLost):
            self._sink.events_lost(item)
        return item

    def _tell(self, event: JobEvent) -> None:
        if event.type == "job.finished" and event.attempt >= self._attempt:
            self.final = event
        else:
            self._sink.event(event)

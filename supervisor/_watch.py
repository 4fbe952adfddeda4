"""Watchers: who wants to hear of events, and what each has yet to read.

Publishing never waits. A state event is never dropped: a watcher that falls too far behind is ended
with `ReplayGone`. Lines and progress of a job may be dropped for a slow watcher; it is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import trio

from ._errors import ReplayGone
from ._model import JobEvent, JobFilter, LogEntry, LogsLagged, Progress, ProgressEvent
from ._records import JobSpec, Published
from .abc import JobWatch, WatchItem

__all__ = ["Watch", "Watchers", "matches"]

EVENTS_BEHIND = 10_000
"""How many state events a watcher may be behind: as many as are kept for replay. A start or cancel
of more jobs than this at once yields to its watchers between chunks."""

LINES_BEHIND = 4_000
"""How many log lines a watcher may be behind before lines are dropped for it."""


def matches(filter: JobFilter | None, spec: JobSpec) -> bool:
    """Whether a filter means this job (states are not looked at)."""
    if filter is None:
        return True
    return (
        (filter.job_ids is None or spec.id in filter.job_ids)
        and (filter.name is None or spec.name == filter.name)
        and filter.parent_id is None
        and (
            not filter.labels
            or all(spec.labels.get(key) == value for key, value in filter.labels.items())
        )
    )


class _Lag:
    """Lines of a job, in a row, that were dropped; it grows until it is read."""

    __slots__ = ("from_n", "job_id", "to_n")

    def __init__(self, lag: LogsLagged) -> None:
        self.job_id, self.from_n, self.to_n = lag.job_id, lag.from_n, lag.to_n


class Watch(JobWatch):
    """One watcher's queue, on either side of the wire.

    Args:
        instance: the history that is watched.
        from_seq: the position it begins after.
        view: makes the public event from what `offer_event` was given, once it is read.
    """

    def __init__(
        self,
        *,
        instance: str,
        from_seq: int,
        view: Callable[[Any], JobEvent] = lambda event: event,
    ) -> None:
        self.instance = instance
        self.from_seq = from_seq
        self._view = view
        self._queue: deque[Any] = deque()
        self._lagging: dict[str, _Lag] = {}
        self._events = 0
        self._lines = 0
        self._last_seq = from_seq
        self._lost = False
        self._closed = False
        self._error: Exception | None = None
        self._wakeup = trio.lowlevel.ParkingLot()

    def offer_event(self, event: Any) -> None:
        """A state event; never dropped: a watcher that is too far behind is ended."""
        if self._events >= EVENTS_BEHIND:
            self._lost = True
        elif not self._lost:
            self._queue.append(event)
            self._events += 1
        self._wake()

    def offer_line(self, line: LogEntry) -> None:
        """A log line; dropped, and counted, for a watcher that is too far behind."""
        if self._lines >= LINES_BEHIND:
            self.offer_lag(LogsLagged(job_id=line.job_id, from_n=line.n, to_n=line.n))
        else:
            self._queue.append(line)
            self._lines += 1
        self._wake()

    def offer_lag(self, lag: LogsLagged) -> None:
        """Lines were dropped; one entry tells of all of a job's in a row.

        Not only of those next to each other in the queue: jobs in turn would fill it.
        """
        unread = self._lagging.get(lag.job_id)
        if unread is not None and unread.to_n == lag.from_n - 1:
            unread.to_n = lag.to_n
        else:
            unread = self._lagging[lag.job_id] = _Lag(lag)
            self._queue.append(unread)
        self._wake()

    def offer_progress(self, news: ProgressEvent) -> None:
        """Only the newest of a job matters to somebody who has not read the one before."""
        last = self._queue[-1] if self._queue else None
        if isinstance(last, ProgressEvent) and last.job_id == news.job_id:
            self._queue.pop()
        if len(self._queue) < EVENTS_BEHIND + LINES_BEHIND:
            self._queue.append(news)
        self._wake()

    def _wake(self) -> None:
        if self._wakeup:
            self._wakeup.unpark_all()

    def close(self, error: Exception | None = None) -> None:
        """Nothing more will come; what is queued can still be read, then the iteration ends."""
        self._closed = True
        self._error = error
        self._wake()

    async def __anext__(self) -> WatchItem:
        if self._queue:
            await trio.lowlevel.checkpoint()
        while not self._queue:
            if self._lost:
                raise self._gone()
            if self._closed:
                await trio.lowlevel.checkpoint()
                raise self._error or StopAsyncIteration
            await self._wakeup.park()
        return self._take()

    def _gone(self) -> ReplayGone:
        return ReplayGone(
            f"this watcher fell more than {EVENTS_BEHIND} events behind; "
            "list the jobs again and watch from the list's position",
            instance=self.instance,
            head_seq=self._last_seq,
        )

    def take_nowait(self) -> WatchItem | None:
        """The next item if there is one, without a checkpoint.

        Raises:
            ReplayGone: the watcher fell too far behind.
        """
        if self._queue:
            return self._take()
        if self._lost:
            raise self._gone()
        return None

    def _take(self) -> WatchItem:
        item = self._queue.popleft()
        if isinstance(item, LogEntry):
            self._lines -= 1
            return item
        if isinstance(item, _Lag):
            if self._lagging.get(item.job_id) is item:
                del self._lagging[item.job_id]
            return LogsLagged(job_id=item.job_id, from_n=item.from_n, to_n=item.to_n)
        if isinstance(item, ProgressEvent):
            return item
        self._events -= 1
        event = self._view(item)
        self._last_seq = event.seq
        return event


class _Interest(NamedTuple):
    """What a watcher of a supervisor wants to hear."""

    filter: JobFilter | None
    logs: bool
    progress: bool


class Watchers:
    """All watchers of a supervisor."""

    def __init__(self, view: Callable[[Published], JobEvent]) -> None:
        self._view = view
        self._all: dict[Watch, _Interest] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._all)

    def __bool__(self) -> bool:
        return bool(self._all)

    @contextmanager
    def open(
        self,
        replay: Iterable[Published],
        *,
        instance: str,
        from_seq: int,
        filter: JobFilter | None,
        logs: bool,
        progress: bool,
    ) -> Iterator[Watch]:
        """A watcher of everything in `replay` and all that is published from now on."""
        watch = Watch(instance=instance, from_seq=from_seq, view=self._view)
        for event in replay:
            if matches(filter, event[3]):
                watch.offer_event(event)
        if self._closed:
            watch.close()
        self._all[watch] = _Interest(filter, logs, progress)
        try:
            yield watch
        finally:
            del self._all[watch]

    def publish(self, events: Iterable[Published]) -> None:
        """Pass state events on."""
        for event in events:
            spec = event[3]
            for watch, interest in self._all.items():
                if matches(interest.filter, spec):
                    watch.offer_event(event)

    def publish_line(self, spec: JobSpec, line: LogEntry) -> None:
        """Pass a log line on."""
        for watch, interest in self._all.items():
            if interest.logs and matches(interest.filter, spec):
                watch.offer_line(line)

    def publish_progress(self, spec: JobSpec, attempt: int, progress: Progress) -> None:
        """Pass progress on."""
        news = ProgressEvent(job_id=spec.id, attempt=attempt, progress=progress)
        for watch, interest in self._all.items():
            if interest.progress and matches(interest.filter, spec):
                watch.offer_progress(news)

    def close(self) -> None:
        """End every watch, once it has read what it has."""
        self._closed = True
        for watch in self._all:
            watch.close()

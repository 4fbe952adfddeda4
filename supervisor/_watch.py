"""Watchers: who wants to hear of events, and what each has yet to read.

Publishing never waits. A state event is never dropped: a watcher that falls too far behind is ended
with `ReplayGone`. Lines and progress of a job may be dropped for a slow watcher; it is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import attrs
import trio

from ._errors import ReplayGone
from ._model import (
    JobEvent,
    JobFilter,
    JobState,
    LogEntry,
    LogsLagged,
    Progress,
    ProgressEvent,
)
from ._records import JobSpec, Published
from .abc import JobWatch, WatchItem

__all__ = ["Watch", "Watchers", "matches"]

EVENTS_BEHIND = 10_000
"""How many state events a watcher may be behind: as many as are kept for replay. A start or cancel
of more jobs than this at once yields to its watchers between chunks."""

LINES_BEHIND = 4_000
"""How many log lines a watcher may be behind before lines are dropped for it."""

TEXT_BEHIND = 4 * 1024 * 1024
"""How many characters of log lines, likewise: as many as are kept of one job."""


def matches(filter: JobFilter | None, spec: JobSpec) -> bool:
    """Whether a filter means this job, whatever its state."""
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
        published: the position up to which everything that matches was offered.

    Attributes:
        on_item: called when there is something new to read, for readers that do not wait.
    """

    def __init__(
        self,
        *,
        instance: str,
        from_seq: int,
        view: Callable[[Any], JobEvent] = lambda event: event,
        published: Callable[[], int] | None = None,
    ) -> None:
        self.instance = instance
        self.from_seq = from_seq
        self.on_item: Callable[[], None] | None = None
        self._view = view
        self._published = published
        self._queue: deque[Any] = deque()
        self._lagging: dict[str, _Lag] = {}
        self._events = 0
        self._lines = 0
        self._text = 0
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
        if self._lines >= LINES_BEHIND or self._text >= TEXT_BEHIND:
            self.offer_lag(LogsLagged(job_id=line.job_id, from_n=line.n, to_n=line.n))
        else:
            self._queue.append(line)
            self._lines += 1
            self._text += _length(line)
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
        if self.on_item is not None:
            self.on_item()

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
        raw = self.take_raw()
        return None if raw is None else self._read(raw)

    def take_raw(self) -> Any | None:
        """The next item as it was offered, if there is one: the same object for every watcher.

        `public` makes of it what `take_nowait` would have returned.

        Raises:
            ReplayGone: the watcher fell too far behind.
        """
        if self._queue:
            return self._pop()
        if self._lost:
            raise self._gone()
        return None

    def public(self, raw: Any) -> WatchItem:
        """What `take_raw` returned, as it is shown."""
        if isinstance(raw, (LogEntry, ProgressEvent)):
            return raw
        if isinstance(raw, _Lag):
            return LogsLagged(job_id=raw.job_id, from_n=raw.from_n, to_n=raw.to_n)
        return self._view(raw)

    def __bool__(self) -> bool:
        """Whether there is something to read at once."""
        return bool(self._queue) or self._lost

    @property
    def position(self) -> int | None:
        """Up to here every state event that matches has been read; None while some are unread.

        It is at the newest event that was published at all, so with a filter it may be far ahead
        of the last one that was read. Publishing and offering are one step, without a checkpoint
        between: what is published and not in the queue has been read, or does not match.
        """
        if self._events or self._lost or self._published is None:
            return None
        return self._published()

    def _take(self) -> WatchItem:
        return self._read(self._pop())

    def _pop(self) -> Any:
        raw = self._queue.popleft()
        if isinstance(raw, LogEntry):
            self._lines -= 1
            self._text -= _length(raw)
        elif isinstance(raw, _Lag):
            if self._lagging.get(raw.job_id) is raw:
                del self._lagging[raw.job_id]
        elif not isinstance(raw, ProgressEvent):
            self._events -= 1
        return raw

    def _read(self, raw: Any) -> WatchItem:
        item = self.public(raw)
        if isinstance(item, JobEvent):
            self._last_seq = item.seq
        return item


def _length(line: LogEntry) -> int:
    return len(line.text) + (len(line.base64) if line.base64 else 0)


class _Interest(NamedTuple):
    """What some watchers of a supervisor want to hear; those with equal wishes share one."""

    means: Callable[[JobSpec], bool]
    states: frozenset[JobState] | None
    logs: bool
    progress: bool

    def wants(self, event: Published) -> bool:
        """Whether it is to hear of this change."""
        return (self.states is None or event[4].state in self.states) and self.means(event[3])


def _key_of(filter: JobFilter | None) -> Hashable:
    """Equal for filters that mean the same."""
    if filter is None:
        return None
    labels = None if filter.labels is None else frozenset(filter.labels.items())
    ids = None if filter.job_ids is None else frozenset(filter.job_ids)
    return ids, _states_of(filter), filter.name, labels, filter.parent_id


def _states_of(filter: JobFilter | None) -> frozenset[JobState] | None:
    return None if filter is None or filter.state is None else frozenset(filter.state)


def _meaning(filter: JobFilter | None) -> Callable[[JobSpec], bool]:
    """As `matches`; but many ids cost no more than one."""
    if _states_of(filter) == frozenset():
        return lambda spec: False
    if filter is None or filter.job_ids is None:
        return lambda spec: matches(filter, spec)
    ids, rest = frozenset(filter.job_ids), attrs.evolve(filter, job_ids=None)
    return lambda spec: spec.id in ids and matches(rest, spec)


class Watchers:
    """All watchers of a supervisor, by what they want to hear.

    A filter is looked at once for all who have the same.
    """

    def __init__(self, view: Callable[[Published], JobEvent]) -> None:
        self._view = view
        self._all: dict[Hashable, tuple[_Interest, dict[Watch, None]]] = {}
        self._count = 0
        self._position = 0
        self._closed = False

    def __len__(self) -> int:
        return self._count

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
        """A watcher of everything in `replay` and all that is published from now on.

        `replay` is every event after `from_seq`, whatever the filter.
        """
        watch = Watch(
            instance=instance,
            from_seq=from_seq,
            view=self._view,
            published=lambda: self._position,
        )
        interest = _Interest(_meaning(filter), _states_of(filter), logs, progress)
        position = from_seq
        for event in replay:
            position = event[0]
            if interest.wants(event):
                watch.offer_event(event)
        self._position = max(self._position, position)
        if self._closed:
            watch.close()
        key = (_key_of(filter), logs, progress)
        if key not in self._all:
            self._all[key] = (interest, {})
        group = self._all[key][1]
        group[watch] = None
        self._count += 1
        try:
            yield watch
        finally:
            self._count -= 1
            del group[watch]
            if not group:
                del self._all[key]

    def publish(self, events: Iterable[Published]) -> None:
        """Pass state events on."""
        for event in events:
            self._position = event[0]
            for interest, group in self._all.values():
                if interest.wants(event):
                    for watch in group:
                        watch.offer_event(event)

    def publish_line(self, spec: JobSpec, line: LogEntry) -> None:
        """Pass a log line on."""
        for interest, group in self._all.values():
            if interest.logs and interest.means(spec):
                for watch in group:
                    watch.offer_line(line)

    def publish_progress(self, spec: JobSpec, attempt: int, progress: Progress) -> None:
        """Pass progress on."""
        news = ProgressEvent(job_id=spec.id, attempt=attempt, progress=progress)
        for interest, group in self._all.values():
            if interest.progress and interest.means(spec):
                for watch in group:
                    watch.offer_progress(news)

    def close(self) -> None:
        """End every watch, once it has read what it has."""
        self._closed = True
        for _, group in self._all.values():
            for watch in group:
                watch.close()

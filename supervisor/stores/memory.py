"""The store in memory: everything is kept at once, and nothing survives the process.

The newest finished jobs and events are kept, up to a bound; live jobs always. Events are kept up to
an age, too, on a clock of this process: the time of day, which their records show, may jump.
Nothing wakes up for that: what is too old is dropped when somebody looks.
"""

from __future__ import annotations

import itertools
import secrets
import time
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

import attrs

from .._errors import Overloaded, ReplayGone
from .._model import LogEntry, Tombstone
from .._records import Final, JobSpec, Published, Record
from ..abc import Store
from ._logs import LogRings

__all__ = ["MemoryStore"]

FINISHED_KEPT = 10_000
EVENTS_KEPT = 10_000
EVENTS_SECONDS = 600.0
TOMBSTONES_KEPT = 10_000


class _Row:
    __slots__ = ("place", "record", "seq", "spec")

    def __init__(self, spec: JobSpec, record: Record, place: int) -> None:
        self.spec = spec
        self.record = record
        self.place = place
        self.seq = 0


def _place(row: _Row) -> int:
    return row.place


class MemoryStore(Store):
    """Keeps everything in this process.

    Args:
        finished_kept: how many finished jobs are remembered.
        events_kept: how many events can be replayed.
        events_seconds: for how long; those of the last change always.
        log_bytes: the budget of all log lines together.
        tombstones_kept: how many cancels of unknown jobs are remembered.
        clock: what `events_seconds` are counted on; a clock that never goes back.
    """

    synchronous: ClassVar[bool] = True

    def __init__(
        self,
        *,
        finished_kept: int = FINISHED_KEPT,
        events_kept: int = EVENTS_KEPT,
        events_seconds: float = EVENTS_SECONDS,
        log_bytes: int = 256 * 1024 * 1024,
        tombstones_kept: int = TOMBSTONES_KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.instance = secrets.token_hex(8)
        self._finished_kept = finished_kept
        self._tombstones_kept = tombstones_kept
        self._rows: dict[str, _Row] = {}
        self._places = itertools.count(1)
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._ring: deque[Published] = deque(maxlen=events_kept)
        self._times: deque[float] = deque(maxlen=events_kept)  # when those in the ring came
        self._newest = 0  # how many of them the last change made
        self._events_seconds = events_seconds
        self._clock = clock
        self._seq = 0
        self._logs = LogRings(bytes_in_all=log_bytes)
        self._tombstones: OrderedDict[str, Tombstone] = OrderedDict()

    def __repr__(self) -> str:
        return f"<MemoryStore {self.instance}: {len(self._rows)} jobs, {self._seq} events>"

    def open(self) -> AbstractAsyncContextManager[None]:
        @asynccontextmanager
        async def nothing_to_open() -> AsyncIterator[None]:
            yield

        return nothing_to_open()

    @property
    def head_seq(self) -> int:
        return self._seq

    def swap(
        self,
        spec: JobSpec,
        expected: Record | None,
        record: Record,
        events: tuple[str, ...],
        wall: float,
    ) -> int:
        row = self._rows.get(spec.id)
        if (None if row is None else row.record) is not expected:
            raise RuntimeError(f"job {spec.id}: its record was changed by somebody else")
        if row is None or row.spec is not spec:
            row = self._place(spec, record)
        row.record = record
        if events:
            now = self._clock()
            self._newest = len(events)
            for event in events:
                self._seq = row.seq = self._seq + 1
                self._ring.append((self._seq, wall, event, spec, record))
                self._times.append(now)
        if isinstance(record, Final):
            self._retire(spec.id)
        return self._seq

    def _place(self, spec: JobSpec, record: Record) -> _Row:
        """A new job, or the next attempt of one that has ended: it goes to the end of the list."""
        if self._rows.pop(spec.id, None) is not None:
            self._finished.pop(spec.id, None)
        row = self._rows[spec.id] = _Row(spec, record, next(self._places))
        return row

    def _retire(self, job_id: str) -> None:
        self._finished[job_id] = None
        if len(self._finished) > self._finished_kept:
            oldest, _ = self._finished.popitem(last=False)
            del self._rows[oldest]
            self._logs.forget(oldest)

    async def saved(self, seq: int) -> None:
        """What is decided is kept."""

    def get(self, job_id: str) -> _Row | None:
        return self._rows.get(job_id)

    def scan(self, after: int = 0) -> Iterator[tuple[int, _Row]]:
        rows = list(self._rows.values())
        for row in rows[bisect_right(rows, after, key=_place) :]:
            yield row.place, row

    def events(self, since: int) -> Sequence[Published]:
        self._drop_old_events()
        oldest = self._ring[0][0] if self._ring else self._seq + 1
        if not oldest - 1 <= since <= self._seq:
            raise ReplayGone(
                f"events after {since} cannot be replayed (kept: {oldest} to {self._seq}); "
                "list the jobs again and watch from the list's position",
                instance=self.instance,
                oldest_seq=oldest,
                head_seq=self._seq,
            )
        # From the new end: live watchers ask for the last one or two of ten thousand.
        newest = list(itertools.islice(reversed(self._ring), self._seq - since))
        newest.reverse()
        return newest

    def _drop_old_events(self) -> None:
        # Not those of the last change: whoever has just made it passes them on, and this process
        # may have been stopped for an hour in between.
        limit = self._clock() - self._events_seconds
        while len(self._times) > self._newest and self._times[0] < limit:
            self._times.popleft()
            self._ring.popleft()

    def append_log(
        self, job_id: str, attempt: int, stream: str, data: str | bytes, wall: float
    ) -> LogEntry:
        return self._logs.append(job_id, attempt, stream, data, wall)

    def logs(self, job_id: str, since: int, limit: int) -> tuple[Sequence[LogEntry], int, int]:
        return self._logs.read(job_id, since, limit)

    @property
    def log_bytes(self) -> int:
        return self._logs.size

    def remember(self, tombstone: Tombstone, now: float) -> Tombstone:
        self._expire(now)
        known = self._tombstones.pop(tombstone.job_id, None)
        if known is not None:
            tombstone = attrs.evolve(known, expires_at=tombstone.expires_at)
        elif len(self._tombstones) >= self._tombstones_kept:
            retry_after = max(0.0, self._oldest_expiry() - now)
            raise Overloaded(
                f"{self._tombstones_kept} cancels of unknown jobs are remembered already; "
                f"try again in {retry_after:.0f} s",
                retry_after=retry_after,
            )
        self._tombstones[tombstone.job_id] = tombstone
        return tombstone

    def _oldest_expiry(self) -> float:
        return next(iter(self._tombstones.values())).expires_at.timestamp()

    def _expire(self, now: float) -> None:
        # In order of expiry: a repeat moves its tombstone to the end.
        while self._tombstones and self._oldest_expiry() <= now:
            self._tombstones.popitem(last=False)

    def take(self, job_id: str, now: float) -> Tombstone | None:
        if not self._tombstones:
            return None
        self._expire(now)
        return self._tombstones.pop(job_id, None)

    def tombstones(self, now: float) -> Sequence[Tombstone]:
        self._expire(now)
        return tuple(self._tombstones.values())

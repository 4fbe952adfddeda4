"""Log lines in memory: a ring per job, and one budget for all of them."""

from __future__ import annotations

import base64
import itertools
from collections import OrderedDict, deque
from collections.abc import Sequence

from .._model import LogEntry
from .._view import when

__all__ = ["LogRings"]

LINES_PER_JOB = 10_000
BYTES_PER_JOB = 4 * 1024 * 1024
BYTES_IN_ALL = 256 * 1024 * 1024
LINE_OVERHEAD = 200
"""What an entry costs beside its text, so that a million empty lines are not free."""


class _Ring:
    __slots__ = ("entries", "lines", "size")

    def __init__(self) -> None:
        self.entries: deque[LogEntry] = deque()
        self.lines = 0
        self.size = 0

    def drop_oldest(self) -> int:
        cost = _cost(self.entries.popleft())
        self.size -= cost
        return cost


def _cost(entry: LogEntry) -> int:
    text = entry.text
    size = len(text) if text.isascii() else len(text.encode())
    return LINE_OVERHEAD + size + (len(entry.base64) if entry.base64 else 0)


class LogRings:
    """The lines of all jobs. The oldest give way, first of the job, then of the oldest job."""

    def __init__(
        self,
        *,
        lines_per_job: int = LINES_PER_JOB,
        bytes_per_job: int = BYTES_PER_JOB,
        bytes_in_all: int = BYTES_IN_ALL,
    ) -> None:
        self._lines_per_job = lines_per_job
        self._bytes_per_job = bytes_per_job
        self._bytes_in_all = bytes_in_all
        self._rings: dict[str, _Ring] = {}
        self._filled: OrderedDict[str, _Ring] = OrderedDict()  # those that have lines to give
        self.size = 0

    def append(
        self, job_id: str, attempt: int, stream: str, data: str | bytes, wall: float
    ) -> LogEntry:
        """Keep one line and return it as it is shown."""
        ring = self._rings.get(job_id)
        if ring is None:
            ring = self._rings[job_id] = _Ring()
        ring.lines += 1
        text, raw = _decode(data)
        entry = LogEntry(
            job_id=job_id,
            attempt=attempt,
            n=ring.lines,
            time=when(wall),
            stream=stream,
            text=text,
            base64=raw,
        )
        if not ring.entries:
            self._filled[job_id] = ring
        ring.entries.append(entry)
        cost = _cost(entry)
        ring.size += cost
        self.size += cost
        self._trim(job_id, ring)
        return entry

    def _trim(self, job_id: str, ring: _Ring) -> None:
        while len(ring.entries) > self._lines_per_job or ring.size > self._bytes_per_job:
            self.size -= ring.drop_oldest()
        if not ring.entries:  # a single line that is larger than a job's share
            del self._filled[job_id]
        while self.size > self._bytes_in_all:
            self._drop_somewhere()

    def _drop_somewhere(self) -> None:
        """The job that has had lines for longest gives up its oldest one."""
        job_id, ring = next(iter(self._filled.items()))
        self.size -= ring.drop_oldest()
        if not ring.entries:
            del self._filled[job_id]

    def read(self, job_id: str, since: int, limit: int) -> tuple[Sequence[LogEntry], int, int]:
        """Lines above number `since`; how many there ever were; how many of them are gone."""
        ring = self._rings.get(job_id)
        if ring is None:
            return (), 0, 0
        kept = len(ring.entries)
        dropped = ring.lines - kept
        start = min(kept, max(0, since - dropped))
        entries = list(itertools.islice(ring.entries, start, start + limit))
        return entries, ring.lines, dropped

    def forget(self, job_id: str) -> None:
        """Drop everything of a job."""
        ring = self._rings.pop(job_id, None)
        if ring is not None:
            self.size -= ring.size
            self._filled.pop(job_id, None)


def _decode(data: str | bytes) -> tuple[str, str | None]:
    if isinstance(data, str):
        # A lone surrogate is a str that no wire can carry.
        return data.encode("utf-8", "replace").decode("utf-8"), None
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace"), base64.b64encode(data).decode("ascii")

"""Looking: jobs, lists, logs and counters, as they stand now. Nothing here changes anything."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

import attrs
import trio

from ._engine import Engine
from ._entry import Entry
from ._errors import InvalidArguments, JobNotFound
from ._model import (
    CancelOutcome,
    CancelReply,
    Job,
    JobFilter,
    JobPage,
    JobState,
    LogEntry,
    LogPage,
    Statistics,
)
from ._options import check_count, check_job_id
from ._records import Final, Record
from ._view import certificate_of, job_view, request_view, stop_of
from ._watch import matches
from .abc import Stored

__all__ = ["Ledger", "finished"]

T = TypeVar("T")

PAGE_LIMIT = 1000
LINES_LIMIT = 10_000
LOOKS = 50
"""How many jobs are looked at, at most, before there is a pause."""
PAGE_BYTES = 512 * 1024
"""Characters in a page of log lines: it must fit into one message."""


class Ledger:
    """Reads what the engine and its store hold."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store

    def stored(self, job_id: str) -> Stored:
        """The job with exactly this id, live or finished.

        Raises:
            JobNotFound: nobody knows it.
        """
        known = self.find(job_id)
        if known is None:
            raise self.not_found(job_id)
        return known

    def find(self, job_id: str) -> Stored | None:
        """The job with exactly this id, if there is one.

        Raises:
            InvalidArguments: the id is not even text.
        """
        if not isinstance(job_id, str):
            check_job_id(job_id)
        return self._engine.live.get(job_id) or self._store.get(job_id)

    def not_found(self, job_id: str) -> JobNotFound:
        """The error, with ids that begin alike."""
        looked_at = itertools.islice(self._store.scan(), PAGE_LIMIT)
        ids = (stored.spec.id for _, stored in looked_at)
        like = list(itertools.islice((id for id in ids if job_id and id.startswith(job_id)), 5))
        hint = f"; there are {', '.join(like)}" if like else "; list shows the jobs there are"
        return JobNotFound(f"no job {job_id[:128]!r} is known{hint}", similar=like)

    def reply(
        self,
        outcome: CancelOutcome,
        known: Stored,
        record: Record,
        seq: int,
        successor_dropped: bool = False,
    ) -> CancelReply:
        """The answer to a cancel request, with the record as it was at the moment of answering."""
        stop = stop_of(record)
        return CancelReply(
            outcome=outcome,
            job_id=known.spec.id,
            seq=seq,
            job=self.view(known, record),
            first_request=None if stop is None else request_view(stop.first),
            certificate=certificate_of(record),
            successor_dropped=successor_dropped,
        )

    def view(self, stored: Stored, record: Record | None = None) -> Job:
        """The public record: as it is now, or as it was."""
        _, lines, dropped = self._store.logs(stored.spec.id, 0, 0)
        return job_view(
            stored.spec,
            stored.record if record is None else record,
            stored.seq,
            now=trio.current_time(),
            progress=stored.latest_progress if isinstance(stored, Entry) else None,
            log_lines=lines,
            log_dropped=dropped,
        )

    def meant(self, filter: JobFilter) -> Iterator[str | None]:
        """The ids that a bulk request is about: those it names, or the live jobs it describes.

        Of those that live now; one by one, so that the caller can pause between them, and None now
        and then while none is found.
        """
        if filter.job_ids is not None and attrs.evolve(filter, job_ids=None) == JobFilter():
            yield from dict.fromkeys(filter.job_ids)
            return
        fits = _compiled(filter)
        for number, entry in enumerate(tuple(self._engine.live.values()), 1):
            if fits(entry):
                yield entry.spec.id
            elif number % LOOKS == 0:
                yield None

    def page(self, filter: JobFilter | None, limit: int, cursor: str | None) -> JobPage:
        """Jobs in order of acceptance. A paged list keeps its first page's `seq`.

        Raises:
            InvalidArguments: the limit or cursor is wrong.
        """
        return finished(self.page_steps(filter, limit, cursor))

    def page_steps(
        self,
        filter: JobFilter | None,
        limit: int,
        cursor: str | None,
        fits: Callable[[Job], bool] = lambda job: True,
    ) -> Generator[None, None, JobPage]:
        """The same, pausing at every job that is looked at; `fits` may end the page earlier.

        What changes meanwhile is at `seq` or above, and a watch from there tells of it.
        """
        check_count("limit", limit, 1, PAGE_LIMIT)
        instance = self._store.instance
        seq, after = (self._store.head_seq, 0) if cursor is None else self._parse(cursor)
        jobs: list[Job] = []
        is_meant = _compiled(filter)
        for place, stored in self._store.scan(after):
            yield
            if not is_meant(stored):
                continue
            job = self.view(self._engine.live.get(stored.spec.id, stored))
            if len(jobs) == limit or not fits(job):
                return JobPage(tuple(jobs), instance, seq, f"{instance}.{seq}.{after}")
            jobs.append(job)
            after = place
        return JobPage(tuple(jobs), instance, seq)

    def _parse(self, cursor: str) -> tuple[int, int]:
        instance, _, rest = str(cursor).partition(".")
        seq, _, after = rest.partition(".")
        if instance != self._store.instance or not (_is_count(seq) and _is_count(after)):
            raise InvalidArguments(
                "cursor is not one of this supervisor's; begin the list again without a cursor",
                path="$.cursor",
            )
        return int(seq), int(after)

    def log_page(self, job_id: str, since: int, limit: int) -> LogPage:
        """Lines of a job's log numbered above `since`.

        Raises:
            JobNotFound: nobody knows the id.
            InvalidArguments: `since` or `limit` is wrong.
        """
        check_count("limit", limit, 1, LINES_LIMIT)
        check_count("since", since, 0, 2**63)
        known = self.stored(job_id)
        entries, lines, _ = self._store.logs(job_id, since, limit)
        entries = _fitting(entries)
        following = entries[-1].n if entries else max(since, lines)
        eof = isinstance(known.record, Final) and following >= lines
        return LogPage(entries=tuple(entries), next=following, eof=eof)

    def statistics(self) -> Statistics:
        """Counters, and the position."""
        return finished(self.statistics_steps())

    def statistics_steps(self) -> Generator[None, None, Statistics]:
        """The same, pausing at every job."""
        engine = self._engine
        counts: dict[str, int] = dict.fromkeys(JobState, 0)
        for _, stored in self._store.scan():
            counts[stored.record.state] += 1
            yield
        return Statistics(
            instance=self._store.instance,
            seq=self._store.head_seq,
            jobs=counts,
            slots=engine.slots,
            slots_used=engine.slots_used,
            tombstones=len(self._store.tombstones(engine.wall())),
            watchers=len(engine.watchers),
            log_bytes=self._store.log_bytes,
            accepting=engine.closing is None,
        )


def finished(work: Generator[None, None, T]) -> T:
    """The result of work that could pause, done at once."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


def _compiled(filter: JobFilter | None) -> Callable[[Stored], bool]:
    """What tells whether a job is meant, as fast for a long filter as for a short one."""
    if filter is None or filter == JobFilter():
        return lambda stored: True
    ids = None if filter.job_ids is None else frozenset(filter.job_ids)
    states = None if filter.state is None else frozenset(filter.state)
    rest = attrs.evolve(filter, job_ids=None, state=None)

    def fits(stored: Stored) -> bool:
        return (
            (ids is None or stored.spec.id in ids)
            and (states is None or stored.record.state in states)
            and matches(rest, stored.spec)
        )

    return fits


def _fitting(entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
    """As many of the first lines as a page may hold, and at least one."""
    size = 0
    for place, entry in enumerate(entries):
        size += len(entry.text) + len(entry.base64 or "")
        if size > PAGE_BYTES and place:
            return entries[:place]
    return entries


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20

"""What the rules for stores are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..._records import Final, JobSpec, Pending, Record
from ...abc import Store
from .calls import CannotCheck, Notes, noted
from .making import Maker
from .records import EPOCH, ended, job

__all__ = ["StoreBench"]

T = TypeVar("T")


class StoreBench:
    """A fresh store, and ways to fill it.

    Attributes:
        store: the store; what is called on it is noted.
        notes: the calls, and what is said of them.
        plain: the store itself, for what is called thousands of times.
        reach: how often to try until a bound is met.
    """

    def __init__(self, maker: Maker[Store], reach: int, subject: Store, notes: Notes) -> None:
        self._maker = maker
        self.reach = reach
        self.plain = subject
        self.notes = notes
        self.store: Store = noted(subject, notes)

    def another(self) -> Store:
        """Another store, not yet opened."""
        return self._maker()

    def add(self, job_id: str, *events: str) -> tuple[JobSpec, Record]:
        """A new job, by default with one event."""
        spec, record = job(job_id), Pending(1, 1)
        self.store.swap(spec, None, record, events or ("job.pending",), EPOCH)
        return spec, record

    def end(self, spec: JobSpec, record: Record) -> Final:
        """The job is over."""
        final = ended(record.attempt, record.version + 1)
        self.store.swap(spec, record, final, ("job.finished",), EPOCH)
        return final

    def ids(self, after: int = 0) -> list[str]:
        """The jobs that are listed."""
        return [stored.spec.id for _, stored in self.store.scan(after)]

    def numbers(self, since: int) -> list[int]:
        """Of the events that are replayed."""
        return [event[0] for event in self.store.events(since)]

    def until_full(self, what: str, add: Callable[[int], T | None]) -> T:
        """Call `add` with 0, 1, ... until it tells of a bound; not checked if it never does."""
        for number in range(self.reach):
            if (met := add(number)) is not None:
                return met
        raise CannotCheck(f"no bound was met after {self.reach:,} {what}")

    def pairs(self, got: Sequence[object], expected: Sequence[object], what: str) -> None:
        """Two sequences hold the same."""
        self.notes.equal(list(got), list(expected), what)

"""Every rule of the conformance suites bites: a store or launcher with one defect is caught by it.

The defects are small on purpose: each is something that an author could get wrong.
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar

import attrs
import msgspec
import pytest
import trio
from conformance_works import Ends, fake_works
from fakes import EPOCH, PROOF, FakeLauncher, Script, _RunningFake, error

from supervisor._errors import Overloaded, ReplayGone
from supervisor._model import LogEntry, Proof, Tombstone
from supervisor._records import (
    Exit,
    Exited,
    Final,
    JobSpec,
    LetThrough,
    NeverStarted,
    Pending,
    Published,
    Raised,
    Record,
)
from supervisor.abc import JobSink, Launcher, RunningJob, Store
from supervisor.stores.memory import MemoryStore
from supervisor.testing._conformance import LauncherWorks, NotConforming, launcher_stops, running
from supervisor.testing._conformance.launcher import LAUNCHER_RULES
from supervisor.testing._conformance.launcher_bench import LauncherBench
from supervisor.testing._conformance.making import Maker
from supervisor.testing._conformance.records import job, tombstone
from supervisor.testing._conformance.running import Suite
from supervisor.testing._conformance.store import STORE_RULES
from supervisor.testing._conformance.store_bench import StoreBench

PATIENCE = 30.0
"""Seconds that a rule may take; nothing waits for them but what hangs."""
HANGING = {
    "IgnoresCancels",
    "KillsOnlyTheCancelled",
    "KillsPolitely",
    "MissesAStopWhileItStarts",
    "NeverSaysThatItBegan",
    "SaysItBeganAtTheEnd",
    "WaitsForTheNextChange",
}
"""Of those whose defect is to hang, it is sooner said that they do."""

DEFECTS: list[tuple[str, type]] = []


def breaks(*rules: str) -> Callable[[type], type]:
    """This class has a defect, which each of these rules finds."""

    def note(cls: type) -> type:
        DEFECTS.extend((rule, cls) for rule in rules)
        return cls

    return note


# --- stores -----------------------------------------------------------------------------------


class SmallStore(MemoryStore):
    """Has room for 60 of everything, and no defect."""

    def __init__(self) -> None:
        super().__init__(
            finished_kept=60, events_kept=60, tombstones_kept=60, log_bytes=60 * 300 + 20_000
        )


@breaks("opens_and_closes")
class OpensAsCoroutine(SmallStore):
    async def open(self) -> None: ...  # type: ignore[override]


@breaks("opens_and_closes")
class ClosesBadly(SmallStore):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield
        raise OSError("the disk is full")


@breaks("names_its_history")
class OneNameForAll(SmallStore):
    def __init__(self) -> None:
        super().__init__()
        self.instance = "store"


@breaks("names_its_history")
class NameChanges(SmallStore):
    @property
    def instance(self) -> str:
        return f"{id(self)} {self._seq}"

    @instance.setter
    def instance(self, name: str) -> None: ...


@breaks("says_whether_it_waits")
class WaitsPerhaps(SmallStore):
    synchronous: ClassVar[bool] = None  # type: ignore[assignment]


@breaks("begins_empty")
class CostsFromTheStart(SmallStore):
    @property
    def log_bytes(self) -> int:
        return super().log_bytes + 4096


@breaks("numbers_events_without_holes")
class CountsChanges(SmallStore):
    """One number for a change, however many events it has."""

    def swap(self, *args: Any) -> int:
        before = self._seq
        return min(super().swap(*args), before + 1)


@breaks("a_change_may_have_no_events")
class AlwaysAnEvent(SmallStore):
    def swap(self, spec: Any, expected: Any, record: Any, events: Any, wall: float) -> int:
        return super().swap(spec, expected, record, events or ("changed",), wall)


@breaks("refuses_a_second_decision", "a_refused_change_changes_nothing")
class LastOneWins(SmallStore):
    def swap(self, spec: Any, expected: Any, record: Any, events: Any, wall: float) -> int:
        row = self._rows.get(spec.id)
        return super().swap(spec, None if row is None else row.record, record, events, wall)


@breaks("a_refused_change_changes_nothing")
class NumbersBeforeItLooks(SmallStore):
    def swap(self, spec: JobSpec, *args: Any) -> int:
        try:
            return super().swap(spec, *args)
        except RuntimeError:
            self._seq += 1
            raise


@breaks("finds_a_job_by_its_exact_id")
class FindsByPrefix(SmallStore):
    def get(self, job_id: str) -> Any:
        return super().get(job_id) or next(
            (row for known, row in self._rows.items() if known.startswith(job_id)), None
        )


@breaks("finds_a_job_by_its_exact_id")
class FindsTheLiveOnly(SmallStore):
    def get(self, job_id: str) -> Any:
        row = super().get(job_id)
        return None if row is None or isinstance(row.record, Final) else row


class Changed:
    """A stored job with changes."""

    def __init__(self, row: Any, **changes: Any) -> None:
        if row is not None:
            self.spec, self.record, self.seq = row.spec, row.record, row.seq
        vars(self).update(changes)


@breaks("keeps_every_kind_of_record")
class ForgetsProgress(SmallStore):
    def get(self, job_id: str) -> Any:
        row = super().get(job_id)
        if row is None or not isinstance(row.record, Final):
            return row
        return Changed(row, record=msgspec.structs.replace(row.record, progress=None))


@breaks("keeps_every_kind_of_record")
class RoundsTimeouts(SmallStore):
    def get(self, job_id: str) -> Any:
        row = super().get(job_id)
        if row is None or row.spec.timeout is None:
            return row
        return Changed(row, spec=msgspec.structs.replace(row.spec, timeout=2.0))


@breaks("tells_a_jobs_own_last_event")
class OneSeqForAll(SmallStore):
    def get(self, job_id: str) -> Any:
        row = super().get(job_id)
        return None if row is None else Changed(row, seq=self._seq)


@breaks("lists_jobs_in_order_of_acceptance")
class ListsById(SmallStore):
    def scan(self, after: int = 0) -> Iterator[Any]:
        yield from sorted(super().scan(after), key=lambda item: item[1].spec.id)


@breaks("lists_jobs_from_a_place_on")
class ListsThePlaceAgain(SmallStore):
    def scan(self, after: int = 0) -> Iterator[Any]:
        yield from super().scan(after - 1)


@breaks("lists_jobs_from_a_place_on")
class CountsPlacesAnew(SmallStore):
    def scan(self, after: int = 0) -> Iterator[Any]:
        rows = [row for _, row in super().scan()]
        yield from list(enumerate(rows, 1))[after:]


@breaks("a_new_attempt_goes_to_the_end")
class NewAttemptsKeepTheirPlace(SmallStore):
    def swap(self, spec: JobSpec, *args: Any) -> int:
        if spec.id in self._rows:
            self._rows[spec.id].spec = spec
        return super().swap(spec, *args)


@breaks("a_list_under_way_survives_changes")
class ListsWhatChanges(SmallStore):
    def scan(self, after: int = 0) -> Iterator[Any]:
        for row in self._rows.values():
            if row.place > after:
                yield row.place, row


@breaks("replays_what_happened")
class ReplaysTheLatestRecord(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        return [
            (seq, wall, type, spec, self._rows[spec.id].record)
            for seq, wall, type, spec, _ in super().events(since)
        ]


@breaks("replays_what_happened")
class ReplaysTheLastAgain(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        return super().events(max(0, since - 1))


@breaks("has_no_future_to_replay")
class PatientWithTheFuture(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        return super().events(min(since, self._seq))


@breaks("says_what_can_be_replayed")
class SaysLittle(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        try:
            return super().events(since)
        except ReplayGone as error:
            raise ReplayGone("gone", oldest_seq=error.data["oldest_seq"]) from None


@breaks("drops_only_the_oldest_events")
class DropsInSilence(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        oldest = self._ring[0][0] if self._ring else 1
        return super().events(max(since, oldest - 1) if since <= self._seq else since)


@breaks("drops_only_the_oldest_events")
class DropsOneInBetween(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        told = list(super().events(since))
        if self._ring[0][0] > 1 and len(told) > 10:
            del told[5]
        return told


@breaks("the_last_change_can_be_passed_on")
class SweepsTooWell(SmallStore):
    def swap(self, *args: Any) -> int:
        seq = super().swap(*args)
        if seq % 300 == 0:
            self._ring.clear()
            self._times.clear()
        return seq


@breaks("the_time_of_day_may_jump")
class SortsByTime(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        return sorted(super().events(since), key=lambda event: event[1])


@breaks("the_time_of_day_may_jump")
class KeepsByTime(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        told = super().events(since)
        newest = max((event[1] for event in told), default=0.0)
        return [event for event in told if event[1] > newest - 600]


@breaks("never_drops_a_live_job")
class DropsTheOldestJob(SmallStore):
    def _retire(self, job_id: str) -> None:
        if len(self._rows) > 60:
            del self._rows[next(iter(self._rows))]


@breaks("never_drops_a_live_job")
class DropsWhatBeganAnew(SmallStore):
    def _place(self, spec: JobSpec, record: Record) -> Any:
        finished = self._finished.copy()
        row = super()._place(spec, record)
        self._finished = finished
        return row


@breaks("saved_returns")
class WaitsForTheNextChange(SmallStore):
    async def saved(self, seq: int) -> None:
        while seq == self._seq:
            await trio.sleep_forever()


@breaks("saved_returns")
class SavesAtOnce(SmallStore):
    def saved(self, seq: int) -> None:  # type: ignore[override]
        pass


@breaks("who_waits_for_saved_may_be_cancelled")
class DiesOfACancel(SmallStore):
    is_dead = False

    async def saved(self, seq: int) -> None:
        if self.is_dead:
            raise OSError("the writer has ended")
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            self.is_dead = True
            raise


@breaks("answers_stay_as_they_are")
class ShowsItsOwnList(SmallStore):
    def tombstones(self, now: float) -> Any:
        return self._tombstones.values()


@breaks("numbers_the_lines_of_each_job")
class CountsLinesOfAll(SmallStore):
    lines = 0

    def append_log(self, *args: Any) -> LogEntry:
        self.lines += 1
        return attrs.evolve(super().append_log(*args), n=self.lines)


@breaks("numbers_the_lines_of_each_job")
class AppendsAsync(SmallStore):
    async def append_log(self, *args: Any) -> LogEntry:  # type: ignore[override]
        return super().append_log(*args)


@breaks("keeps_what_a_line_says")
class StripsLines(SmallStore):
    def append_log(
        self, job_id: str, attempt: int, stream: str, data: str | bytes, wall: float
    ) -> LogEntry:
        return super().append_log(job_id, attempt, stream, data.strip(), wall)


@breaks("keeps_bytes_that_are_no_text")
class DecodesEverything(SmallStore):
    def append_log(
        self, job_id: str, attempt: int, stream: str, data: str | bytes, wall: float
    ) -> LogEntry:
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        return super().append_log(job_id, attempt, stream, text, wall)


@breaks("reads_lines_from_a_number_on")
class ReadsAllLines(SmallStore):
    def logs(self, job_id: str, since: int, limit: int) -> tuple[Sequence[LogEntry], int, int]:
        return super().logs(job_id, since, 1000)


@breaks("tells_what_lines_cost")
class CountsCharacters(SmallStore):
    characters = 0

    def append_log(self, *args: Any) -> LogEntry:
        entry = super().append_log(*args)
        self.characters += len(entry.text)
        return entry

    @property
    def log_bytes(self) -> int:
        return self.characters


@breaks("drops_only_the_oldest_lines")
class CountsKeptLines(SmallStore):
    def logs(self, job_id: str, since: int, limit: int) -> tuple[Sequence[LogEntry], int, int]:
        entries, total, gone = super().logs(job_id, since, limit)
        return entries, total - gone, 0


@breaks("drops_only_the_oldest_lines")
class CountsFromTheKept(SmallStore):
    """Takes a line's number for its place among those that are left."""

    def logs(self, job_id: str, since: int, limit: int) -> tuple[Sequence[LogEntry], int, int]:
        _, total, gone = super().logs(job_id, since, limit)
        return super().logs(job_id, since + gone if since else 0, limit)[0], total, gone


@breaks("a_tombstone_serves_once")
class TakesNothingAway(SmallStore):
    def take(self, job_id: str, now: float) -> Tombstone | None:
        return next((each for each in self.tombstones(now) if each.job_id == job_id), None)


@breaks("a_tombstone_expires")
class NeverExpires(SmallStore):
    def take(self, job_id: str, now: float) -> Tombstone | None:
        return super().take(job_id, 0.0)


@breaks("a_tombstone_expires")
class ExpiresTooLate(SmallStore):
    def take(self, job_id: str, now: float) -> Tombstone | None:
        return super().take(job_id, now - 0.001)


@breaks("the_first_reason_stays")
class TheLastReasonStays(SmallStore):
    def remember(self, tombstone: Tombstone, now: float) -> Tombstone:
        self._tombstones.pop(tombstone.job_id, None)
        return super().remember(tombstone, now)


@breaks("the_first_reason_stays")
class TheFirstEndStays(SmallStore):
    def remember(self, tombstone: Tombstone, now: float) -> Tombstone:
        return self._tombstones.get(tombstone.job_id) or super().remember(tombstone, now)


@breaks("lists_the_oldest_tombstone_first")
class ListsTheNewestFirst(SmallStore):
    def tombstones(self, now: float) -> Sequence[Tombstone]:
        return super().tombstones(now)[::-1]


@breaks("says_when_no_more_can_be_remembered")
class ForgetsTheOldest(SmallStore):
    def remember(self, tombstone: Tombstone, now: float) -> Tombstone:
        if len(self._tombstones) >= 60:
            self._tombstones.popitem(last=False)
        return super().remember(tombstone, now)


@breaks("says_when_no_more_can_be_remembered")
class SaysNotWhen(SmallStore):
    def remember(self, tombstone: Tombstone, now: float) -> Tombstone:
        try:
            return super().remember(tombstone, now)
        except Overloaded:
            raise Overloaded("full") from None


@breaks("says_when_no_more_can_be_remembered")
class RefusesRepeats(SmallStore):
    def remember(self, tombstone: Tombstone, now: float) -> Tombstone:
        if len(self.tombstones(now)) >= 60:
            raise Overloaded("full", retry_after=600)
        return super().remember(tombstone, now)


# Smaller defects: one method of a sound store each.


def defect(rule: str, name: str, **members: Any) -> None:
    breaks(rule)(type(name, (SmallStore,), members))


def ghost(store: SmallStore) -> Any:
    """A job that was never started."""
    return Changed(None, spec=job("ghost"), record=Pending(1, 1), seq=0)


BASE = SmallStore
GHOST_EVENT = (1, EPOCH, "job.pending", job("ghost"), Pending(1, 1))

defect(
    "names_its_history",
    "NamedByANumber",
    instance=property(lambda self: id(self), lambda self, name: None),
)
defect(
    "begins_empty",
    "BeginsAtOne",
    head_seq=property(lambda self: max(1, self._seq)),
)
defect(
    "begins_empty",
    "BeginsWithAnEvent",
    events=lambda self, since: BASE.events(self, since) if self._seq else [GHOST_EVENT],
)
defect(
    "begins_empty",
    "BeginsWithAJobInTheList",
    scan=lambda self, after=0: BASE.scan(self, after) if self._rows else [(1, ghost(self))],
)
defect(
    "begins_empty",
    "BeginsWithAJob",
    get=lambda self, job_id: BASE.get(self, job_id) if self._rows else ghost(self),
)
defect(
    "begins_empty",
    "BeginsWithACancel",
    tombstones=lambda self, now: BASE.tombstones(self, now) or (tombstone("ghost"),),
)
defect(
    "numbers_events_without_holes",
    "HeadLagsBehind",
    head_seq=property(lambda self: max(0, self._seq - 1)),
)
defect(
    "numbers_events_without_holes",
    "TellsTheNumberBefore",
    swap=lambda self, *args: BASE.swap(self, *args) - len(args[3]),
)
defect(
    "numbers_events_without_holes",
    "NumbersFromZero",
    events=lambda self, since: [(each[0] - 1, *each[1:]) for each in BASE.events(self, since)],
)
defect(
    "a_change_may_have_no_events",
    "TellsZeroOfNoEvents",
    swap=lambda self, *args: BASE.swap(self, *args) * bool(args[3]),
)
defect(
    "a_change_may_have_no_events",
    "ChangesWithEventsOnly",
    swap=lambda self, *args: BASE.swap(self, *args) if args[3] else self._seq,
)
defect(
    "refuses_a_second_decision",
    "TakesTheUnknownForNew",
    swap=lambda self, spec, expected, *args: BASE.swap(
        self, spec, expected if spec.id in self._rows else None, *args
    ),
)


@breaks("a_refused_change_changes_nothing")
class WritesBeforeItLooks(SmallStore):
    def swap(self, spec: JobSpec, expected: Any, record: Record, *args: Any) -> int:
        try:
            return super().swap(spec, expected, record, *args)
        except RuntimeError:
            if spec.id in self._rows:
                self._rows[spec.id].record = record
            raise


@breaks("a_refused_change_changes_nothing")
class MakesRoomBeforeItLooks(SmallStore):
    def swap(self, spec: JobSpec, expected: Any, record: Record, *args: Any) -> int:
        try:
            return super().swap(spec, expected, record, *args)
        except RuntimeError:
            if spec.id not in self._rows:
                self._place(spec, record)
            raise


defect(
    "finds_a_job_by_its_exact_id",
    "FindsInAnyCase",
    get=lambda self, job_id: (
        BASE.get(self, job_id)
        or next((row for known, row in self._rows.items() if known.lower() == job_id.lower()), None)
    ),
)
defect(
    "tells_a_jobs_own_last_event",
    "ListsOneSeqForAll",
    scan=lambda self, after=0: [
        (place, Changed(row, seq=self._seq)) for place, row in BASE.scan(self, after)
    ],
)
defect(
    "lists_jobs_in_order_of_acceptance",
    "NumbersPlacesById",
    scan=lambda self, after=0: list(
        enumerate(sorted(self._rows.values(), key=lambda row: str(row.spec.id)), 1)
    )[after:],
)
defect(
    "lists_jobs_in_order_of_acceptance",
    "NumbersPlacesFromZero",
    scan=lambda self, after=0: [(place - 1, row) for place, row in BASE.scan(self, after)],
)
defect(
    "a_new_attempt_goes_to_the_end",
    "CountsNoAttempts",
    get=lambda self, job_id: (
        (row := BASE.get(self, job_id))
        and Changed(row, record=msgspec.structs.replace(row.record, attempt=1))
    ),
)


@breaks("drops_only_the_oldest_events")
class SaysNothingOfWhatIsLeft(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        try:
            return super().events(since)
        except ReplayGone:
            raise ReplayGone("gone") from None


@breaks("drops_only_the_oldest_events")
class SaysTooMuchIsLeft(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        try:
            return super().events(since)
        except ReplayGone:
            raise ReplayGone("gone", oldest_seq=1) from None


@breaks("drops_only_the_oldest_events")
class LenientByOne(SmallStore):
    def events(self, since: int) -> Sequence[Published]:
        oldest = self._ring[0][0] if self._ring else 1
        return super().events(oldest - 1 if oldest > 1 and since == oldest - 2 else since)


defect(
    "the_last_change_can_be_passed_on",
    "PassesOnTheLastOnly",
    events=lambda self, since: BASE.events(self, since)[-1 if self._seq > 200 else 0 :],
)


@breaks("never_drops_a_live_job")
class DropsTheNewest(SmallStore):
    def _retire(self, job_id: str) -> None:
        self._finished[job_id] = None
        if len(self._finished) > 60:
            newest, _ = self._finished.popitem()
            del self._rows[newest]


@breaks("never_drops_a_live_job")
class ListsWhatItDropped(SmallStore):
    def scan(self, after: int = 0) -> Iterator[Any]:
        yield from super().scan(after)
        if len(self._finished) == 60:
            yield next(self._places), ghost(self)


def appending(rule: str, name: str, change: Callable[[LogEntry, Any], Any]) -> None:
    """A store whose lines are changed."""

    def append_log(self: Any, *args: Any) -> Any:
        entry = BASE.append_log(self, *args)
        changed = change(entry, args[3])
        ring = self._logs._rings[entry.job_id].entries
        ring[-1] = changed or entry
        return changed

    defect(rule, name, append_log=append_log)


appending("numbers_the_lines_of_each_job", "GivesNoLine", lambda entry, data: None)
appending(
    "numbers_the_lines_of_each_job",
    "KnowsNoAttempts",
    lambda entry, data: attrs.evolve(entry, attempt=1),
)
appending(
    "keeps_what_a_line_says",
    "TellsNaiveTimes",
    lambda entry, data: attrs.evolve(entry, time=entry.time.replace(tzinfo=None)),
)
appending(
    "keeps_what_a_line_says",
    "AlwaysTellsBytes",
    lambda entry, data: attrs.evolve(entry, base64=base64.b64encode(entry.text.encode()).decode()),
)
appending(
    "keeps_bytes_that_are_no_text",
    "TellsBytesOfText",
    lambda entry, data: (
        entry
        if isinstance(data, str)
        else attrs.evolve(entry, base64=base64.b64encode(data).decode())
    ),
)
appending(
    "keeps_bytes_that_are_no_text",
    "LeavesBytesOut",
    lambda entry, data: attrs.evolve(entry, text=entry.text.replace("\ufffd", "")),
)
appending(
    "keeps_bytes_that_are_no_text",
    "KeepsSurrogates",
    lambda entry, data: attrs.evolve(entry, text=data) if isinstance(data, str) else entry,
)
defect(
    "keeps_what_a_line_says",
    "ReadsInCapitals",
    logs=lambda self, *args: (
        [attrs.evolve(each, text=each.text.upper()) for each in BASE.logs(self, *args)[0]],
        *BASE.logs(self, *args)[1:],
    ),
)
defect(
    "reads_lines_from_a_number_on",
    "CountsWhatItReads",
    logs=lambda self, *args: (lines := BASE.logs(self, *args)[0], len(lines), 0),
)
defect(
    "reads_lines_from_a_number_on",
    "KnowsOnlyJobsWithLines",
    logs=lambda self, job_id, *args: self._logs._rings[job_id] and BASE.logs(self, job_id, *args),
)
defect(
    "drops_only_the_oldest_lines",
    "ReadsTheNewestFirst",
    logs=lambda self, *args: (BASE.logs(self, *args)[0][::-1], *BASE.logs(self, *args)[1:]),
)
defect(
    "a_tombstone_serves_once",
    "RemembersInSilence",
    remember=lambda self, *args: BASE.remember(self, *args) and None,
)
defect(
    "a_tombstone_serves_once",
    "TakesInAnyCase",
    take=lambda self, job_id, now: BASE.take(self, job_id.lower(), now),
)
defect(
    "a_tombstone_serves_once",
    "TakesAll",
    take=lambda self, *args: (BASE.take(self, *args), self._tombstones.clear())[0],
)
defect("a_tombstone_serves_once", "NeverTakes", take=lambda self, *args: None)
defect(
    "a_tombstone_expires", "ListsTheExpired", tombstones=lambda self, now: BASE.tombstones(self, 0)
)
defect(
    "the_first_reason_stays",
    "KeepsAnotherThanItSays",
    remember=lambda self, each, now: attrs.evolve(BASE.remember(self, each, now), requester="me"),
)


@breaks("says_when_no_more_can_be_remembered")
class ClearsItselfWhenFull(SmallStore):
    def remember(self, tombstone: Tombstone, now: float) -> Tombstone:
        try:
            return super().remember(tombstone, now)
        except Overloaded:
            self._tombstones.clear()
            raise


# --- launchers --------------------------------------------------------------------------------


class Sound(FakeLauncher):
    """A launcher of scripts whose attempts may be of another class."""

    attempt: ClassVar[type[_RunningFake]] = _RunningFake

    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        running = self.attempt(spec.work, sink)
        spec.work.runs.append(running)
        return running


def launching(*rules: str) -> Callable[[type[_RunningFake]], type[_RunningFake]]:
    """Attempts of this class have a defect."""

    def note(cls: type[_RunningFake]) -> type[_RunningFake]:
        breaks(*rules)(type(cls.__name__, (Sound,), {"attempt": cls}))
        return cls

    return note


@breaks("opens_and_closes")
class CannotBeOpened(Sound):
    def open(self) -> Any:
        raise OSError("no more processes")


@breaks("names_its_kind")
class Nameless(Sound):
    kind: ClassVar[str] = ""


@breaks("names_its_kind")
class ForcesPerhaps(Sound):
    can_force: ClassVar[bool] = "sometimes"  # type: ignore[assignment]


@breaks("knows_what_it_runs")
class TakesEverything(Sound):
    def accepts(self, work: object) -> bool:
        return True


@breaks("knows_what_it_runs")
class TakesNothing(Sound):
    def accepts(self, work: object) -> bool:
        return False


@breaks("knows_what_it_runs")
class LooksTooClosely(Sound):
    def accepts(self, work: Any) -> bool:
        return bool(work.runs is not None)


@breaks("prepares_without_effect")
class BeginsTooEarly(Sound):
    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        sink.started()
        return super().prepare(spec, attempt, sink)


@breaks("prepares_without_effect")
class OneHandleForAll(Sound):
    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        known: Iterable[RunningJob] = spec.work.runs
        return next(iter(known), None) or super().prepare(spec, attempt, sink)


@breaks("prepares_without_effect")
class PreparesAsync(Sound):
    async def prepare(self, *args: Any) -> RunningJob:  # type: ignore[override]
        return super().prepare(*args)


@breaks("prepares_without_effect")
class PreparesSomethingElse(Sound):
    def prepare(self, *args: Any) -> Any:
        return None


@launching("tells_that_it_began")
class BeginsTwice(_RunningFake):
    async def _live(self) -> Exit:
        self.sink.started()
        return await super()._live()


@launching("tells_that_it_began")
class SaysItBeganAfterTheEnd(_RunningFake):
    async def _live(self) -> Exit:
        started, self.sink.started = self.sink.started, lambda: None  # type: ignore[method-assign]
        exit = await super()._live()
        trio.lowlevel.spawn_system_task(self._later, started)
        return exit

    async def _later(self, started: Callable[[], None]) -> None:
        started()


@launching("tells_that_it_runs")
class SaysItBeganAtTheEnd(_RunningFake):
    async def _live(self) -> Exit:
        started, self.sink.started = self.sink.started, lambda: None  # type: ignore[method-assign]
        try:
            return await super()._live()
        finally:
            started()


@launching("tells_that_it_runs")
class NeverSaysThatItBegan(_RunningFake):
    async def _live(self) -> Exit:
        self.sink.started = lambda: None  # type: ignore[method-assign]
        return await super()._live()


@launching("tells_that_it_went_well")
class TellsNoCode(_RunningFake):
    async def run(self) -> Exit:
        await super().run()
        return LetThrough(PROOF)


@launching("tells_that_it_went_well", "tells_a_failure_as_an_exit")
class TellsNothing(_RunningFake):
    async def run(self) -> Any:
        await super().run()


@launching("tells_a_failure_as_an_exit")
class RaisesItself(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        if isinstance(exit, Exited) and exit.code:
            raise OSError(f"exit code {exit.code}")
        return exit


@launching("tells_a_failure_as_an_exit")
class HidesFailures(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        return Exited(0, None, PROOF) if isinstance(exit, Exited) else exit


@launching("tells_why_it_cannot_start")
class SaysNotWhy(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        return NeverStarted(None, PROOF) if isinstance(exit, NeverStarted) else exit


@launching("tells_why_it_cannot_start")
class StartsWhatCannotStart(_RunningFake):
    async def run(self) -> Exit:
        if self.script.spawn_error is not None:
            self.sink.started()
        return await super().run()


@breaks("tells_why_it_cannot_start")
class BreaksAtAFailure(Sound):
    broken = False

    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        self.broken = self.broken or spec.work.spawn_error is not None
        work = Script(spawn_error="broken") if self.broken else spec.work
        return _RunningFake(work, sink)


@launching("ends_with_a_proof")
class ProvesNothing(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        return msgspec.structs.replace(exit, proof=Proof(""))


@launching("ends_with_a_proof")
class HasNoProof(_RunningFake):
    async def run(self) -> Exit:
        return msgspec.structs.replace(await super().run(), proof=None)


@launching("nothing_is_left_when_it_ended", "ends_what_it_leaves_running")
class LeavesSomething(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        self.script.alive += 1
        return exit


class Speaking(_RunningFake):
    words: ClassVar[tuple[tuple[str, str | bytes], ...]] = (("stdout", "one"), ("stdout", b"two"))

    async def _live(self) -> Exit:
        exit = await super()._live()
        for stream, data in self.words:
            self.sink.log_line(stream, data)
        return exit


@launching("passes_lines_on")
class KeepsLineEnds(Speaking):
    words = (("stdout", "one\n"), ("stdout", "two\n"))


@launching("passes_lines_on")
class LosesTheLastLine(Speaking):
    words = (("stdout", "one"),)


@launching("passes_lines_on")
class NamesNoStream(Speaking):
    words = (("1", "one"), ("1", "two"))


@launching("passes_lines_on")
class SpeaksAfterTheEnd(Speaking):
    words = (("stdout", "one"),)

    async def run(self) -> Exit:
        exit = await super().run()
        trio.lowlevel.spawn_system_task(self._later)
        return exit

    async def _later(self) -> None:
        self.sink.log_line("stdout", "two")


@breaks("leaves_nothing_open")
class LeavesAFileOpen(Sound):
    left: ClassVar[list[int]] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self.left.append(os.open("/dev/null", os.O_RDONLY))
        yield


def spawn_sleep() -> int:
    return os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})


@breaks("leaves_nothing_open")
class LeavesAProcess(Sound):
    left: ClassVar[list[int]] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self.left.append(spawn_sleep())
        yield


@launching("is_not_entered_after_a_cancel")
class ForgetsAnEarlyCancel(_RunningFake):
    async def run(self) -> Exit:
        if self.asked == "cancel":
            self.asked = None
        return await super().run()


@launching("is_not_entered_after_a_kill")
class ForgetsAnEarlyKill(_RunningFake):
    async def run(self) -> Exit:
        if self.asked == "kill":
            self.asked = None
        return await super().run()


@launching("is_not_entered_after_a_cancel", "is_not_entered_after_a_kill")
class CallsAStopAnError(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        if isinstance(exit, NeverStarted):
            return Exited(None, 15, PROOF)
        return exit


@launching("notices_a_stop_while_it_starts")
class MissesAStopWhileItStarts(_RunningFake):
    """Notes a stop only before `run` and while it lives."""

    is_starting = False

    async def run(self) -> Exit:
        if self.asked is not None:
            return NeverStarted(None, PROOF)
        self.is_starting = True
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        self.is_starting = False
        return await super().run()

    def cancel(self, reason: str | None) -> None:
        if not self.is_starting:
            super().cancel(reason)

    def kill(self) -> None:
        if not self.is_starting:
            super().kill()


@launching("notices_a_stop_while_it_starts")
class SaysNeverStartedOfWhatBegan(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        return NeverStarted(None, PROOF) if self.asked else exit


@launching("leaves_when_it_is_cancelled")
class IgnoresCancels(_RunningFake):
    def cancel(self, reason: str | None) -> None: ...


@launching("leaves_when_it_is_cancelled")
class ReturnsBeforeItsBody(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        if self.asked:
            self.script.alive += 1
        return exit


@launching("may_be_cancelled_again")
class CancelledOnce(_RunningFake):
    def cancel(self, reason: str | None) -> None:
        if self.asked:
            raise RuntimeError("it was cancelled already")
        super().cancel(reason)


@launching("may_be_cancelled_again")
class SignalsTheDead(_RunningFake):
    def cancel(self, reason: str | None) -> None:
        if not self.is_alive:
            raise ProcessLookupError("no such process")
        super().cancel(reason)


@launching("may_be_killed_again")
class KillsTheDead(_RunningFake):
    def kill(self) -> None:
        if not self.is_alive:
            raise ProcessLookupError("no such process")
        super().kill()


@launching("may_be_killed_again")
class KillsOnlyTheCancelled(_RunningFake):
    def kill(self) -> None:
        if self.asked == "cancel":
            super().kill()


@launching("does_not_return_while_something_is_alive")
class TakesACancelForTheEnd(_RunningFake):
    def cancel(self, reason: str | None) -> None:
        super().cancel(reason)
        self.leave(signal=15)


@launching("does_not_return_while_something_is_alive")
class ReturnsWhileItIsAlive(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        if not self.script.obeys:
            self.script.alive += 1
        return exit


@launching("kill_ends_what_ignores_a_cancel")
class KillsPolitely(_RunningFake):
    def kill(self) -> None:
        self.cancel(None)


@launching("names_what_survives")
class NamesNothing(_RunningFake):
    def survivors(self) -> tuple[str, ...]:
        return ()


@launching("names_what_survives")
class NamesInOneText(_RunningFake):
    def survivors(self) -> Any:
        return "pid 4242 sleeping"


@launching("names_what_survives")
class NamesInSeveralLines(_RunningFake):
    def survivors(self) -> tuple[str, ...]:
        return ("pid 4242\nsleeping",)


@launching("keeps_attempts_apart")
class CancelsAllOfItsKind(_RunningFake):
    def cancel(self, reason: str | None) -> None:
        for each in self.script.runs:
            _RunningFake.cancel(each, reason)


@launching("keeps_attempts_apart")
class KillsAllOfItsKind(_RunningFake):
    def kill(self) -> None:
        for each in self.script.runs:
            _RunningFake.kill(each)


@launching("is_gone_when_its_task_is_cancelled")
class SwallowsItsCancellation(_RunningFake):
    async def run(self) -> Exit:
        try:
            return await super().run()
        except BaseException:  # noqa: ASYNC103 - the defect; a nursery makes groups
            return LetThrough(PROOF)  # noqa: ASYNC104


@launching("is_gone_when_its_task_is_cancelled")
class LeavesItsBodyBehind(_RunningFake):
    async def run(self) -> Exit:
        try:
            return await super().run()
        except BaseException:  # a nursery makes groups
            self.script.alive += 1
            raise


@launching("prepares_without_effect")
class SpeaksTooEarly(_RunningFake):
    def __init__(self, script: Script, sink: JobSink) -> None:
        super().__init__(script, sink)
        sink.log_line("log", "about to begin")


@launching("prepares_without_effect")
class LivesTooEarly(_RunningFake):
    def __init__(self, script: Script, sink: JobSink) -> None:
        super().__init__(script, sink)
        script.alive += 1


@launching("prepares_without_effect")
class HasAnExceptionFromTheStart(_RunningFake):
    exception = ValueError("no")


@launching("tells_a_failure_as_an_exit")
class TellsFailuresAsStops(_RunningFake):
    async def run(self) -> Exit:
        await super().run()
        return LetThrough(PROOF)


@launching("tells_a_failure_as_an_exit")
class RaisedNothing(_RunningFake):
    async def run(self) -> Exit:
        await super().run()
        return Raised(None, PROOF)  # type: ignore[arg-type]


@launching("tells_a_failure_as_an_exit")
class HoldsAnotherException(_RunningFake):
    async def run(self) -> Exit:
        await super().run()
        self.exception = KeyError("other")
        return Raised(error("broken"), PROOF)


@launching("tells_a_failure_as_an_exit")
class HoldsNoException(_RunningFake):
    async def run(self) -> Exit:
        await super().run()
        self.exception = "broken"  # type: ignore[assignment]
        return Raised(attrs.evolve(error(), type="str"), PROOF)


@launching("tells_why_it_cannot_start")
class EndsAsAShellDoes(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        return Exited(127, None, PROOF) if isinstance(exit, NeverStarted) else exit


@launching("passes_lines_on")
class SpeaksInNumbers(Speaking):
    words = (("stdout", 1), ("stdout", 2))  # type: ignore[assignment]


@launching("is_not_entered_after_a_cancel", "is_not_entered_after_a_kill")
class CallsAStopAFailure(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        return NeverStarted(error(), PROOF) if isinstance(exit, NeverStarted) else exit


@launching("is_not_entered_after_a_cancel", "is_not_entered_after_a_kill")
class EntersAndSaysNo(_RunningFake):
    async def run(self) -> Exit:
        self.sink.started()
        return await super().run()


@launching("leaves_when_it_is_cancelled")
class SaysItNeverBegan(_RunningFake):
    async def run(self) -> Exit:
        await super().run()
        return NeverStarted(None, PROOF)


@launching("may_be_killed_again", "kill_ends_what_ignores_a_cancel")
class ReturnsAtOnceWhenItIsKilled(_RunningFake):
    async def run(self) -> Exit:
        exit = await super().run()
        if self.asked == "kill":
            self.script.alive += 1
        return exit


@launching("names_what_survives")
class NamesInAList(_RunningFake):
    def survivors(self) -> Any:
        return ["pid 4242 sleeping"]


@launching("names_what_survives")
class LooksUpTheDead(_RunningFake):
    def survivors(self) -> tuple[str, ...]:
        if not self.is_alive:
            raise ProcessLookupError("no such process")
        return super().survivors()


# --- they are caught --------------------------------------------------------------------------


def suite_of(subject: Any) -> tuple[Suite[Any, Any], dict[str, Any]]:
    patience = 0.6 if subject.__name__ in HANGING else PATIENCE
    if issubclass(subject, Store):
        maker: Maker[Any] = Maker(subject, Store)  # type: ignore[type-abstract]
        stores = partial(StoreBench, maker, 1000)
        return Suite(maker, stores, "Store", patience), {rule.name: rule for rule in STORE_RULES}
    maker = Maker(subject, Launcher)  # type: ignore[type-abstract]
    launchers = partial(LauncherBench, works_of(subject))
    rules = {rule.name: rule for rule in LAUNCHER_RULES}
    return Suite(maker, launchers, "Launcher", patience), rules


def works_of(subject: Any) -> LauncherWorks:
    if issubclass(getattr(subject, "attempt", _RunningFake), Speaking):
        return fake_works(speaks=Ends())
    return fake_works(leaves_children=Ends())


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_stops, "A_WHILE", 0.02)
    monkeypatch.setattr(launcher_stops, "LOOKING", 0.1)
    monkeypatch.setattr(launcher_stops, "HEAD_STARTS", (0.0, 0.01))
    monkeypatch.setattr(running, "AFTER_CANCEL", 1.0)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    while LeavesAFileOpen.left:
        os.close(LeavesAFileOpen.left.pop())
    while LeavesAProcess.left:
        pid = LeavesAProcess.left.pop()
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@pytest.mark.parametrize(("name", "subject"), DEFECTS, ids=lambda it: getattr(it, "__name__", it))
def test_a_defect_is_caught_by_its_rule(name: str, subject: Any) -> None:
    suite, rules = suite_of(subject)
    rule = rules[name]
    first = next(iter(rules.values()))
    with pytest.raises(NotConforming) as caught:
        suite.run([rule] if rule is first else [first, rule])
    [broken] = caught.value.broken
    assert (caught.value.rule, broken.rule, broken.says) == (name, name, rule.says)
    assert subject.__qualname__ in str(caught.value)


@pytest.mark.parametrize("kind", [Store, Launcher])
def test_every_rule_has_a_defect_that_it_catches(kind: type) -> None:
    rules = STORE_RULES if kind is Store else LAUNCHER_RULES
    caught = {name for name, subject in DEFECTS if issubclass(subject, kind)}
    assert caught == {rule.name for rule in rules}


@pytest.mark.parametrize(
    "subject", [SmallStore, Sound, type("Speaks", (Sound,), {"attempt": Speaking})]
)
def test_without_a_defect_nothing_is_caught(subject: Any) -> None:
    suite, rules = suite_of(subject)
    report = suite.run(list(rules.values()))
    assert {each.rule for each in report.skipped} <= {
        "passes_lines_on",
        "ends_what_it_leaves_running",
    }

"""Plays a history through a client on a faulty link.

The client reconnects by itself. When the faults are spent and the jobs have ended, it must have
heard exactly what the supervisor published, and every request must have been answered, as if the
link had been clean. Answers may come later than what they tell, and a request may have been made
twice: that is why the order of the answers is not checked here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

import trio

from ..._errors import ConnectionLost, JobIdConflict, ShuttingDown, SupervisorError
from ..._model import CancelReply, Job, JobEvent, JobFilter, JobState, LogEntry, LogsLagged
from ...abc import WatchItem
from .commands import Cancel, Command, History, Start
from .faults import Duplicate, Fault
from .faulty import Happened
from .faulty_link import HEARTBEAT, FaultyLink
from .ground import Attempt
from .invariants import BEGUN, broken
from .player import EVERYTHING, Player
from .requests import Asked, Telling

__all__ = ["FaultyPlayer"]

PATIENCE = 5000.0
"""Seconds, of a clock that jumps, after which everything has come that will ever come."""

AFTERMATH = 2 * HEARTBEAT + 5
"""Seconds in which nothing must come any more."""

LINES = 100_000


def is_safe(command: Start) -> bool:
    """Whether repeating it cannot start anything twice, nor be answered wrongly."""
    return command.conflict == command.reuse == "use_existing"


class Listener:
    """One watch through the client, and everything it has brought."""

    def __init__(self, filter: JobFilter | None) -> None:
        self.filter = filter
        self.heard: list[WatchItem] = []
        self.listening = trio.CancelScope()

    @property
    def events(self) -> list[JobEvent]:
        """The events among it."""
        return [item for item in self.heard if isinstance(item, JobEvent)]

    def expected(self, published: Sequence[JobEvent]) -> list[JobEvent]:
        """What of it this listener wants to hear."""
        ids = None if self.filter is None else self.filter.job_ids
        return [event for event in published if ids is None or event.job_id in ids]


class FaultyPlayer(Player):
    """Plays over a link on which faults happen."""

    LONG = 200.0

    link: FaultyLink

    def __init__(
        self,
        history: History,
        faults: Iterable[Fault] | None = None,
        unfair: int = 0,
        check: Callable[[Iterable[Job]], object] | None = None,
    ) -> None:
        planned = history.faults if faults is None else faults
        super().__init__(history, partial(FaultyLink, faults=planned), unfair, check)
        some = JobFilter(job_ids=history.job_ids[::2] or ("a",))
        self.listeners = [Listener(None), Listener(some)]
        self._moved = trio.Event()
        self._starts: Counter[int] = Counter()
        self._unsafe: set[int] = set()
        self._begun: set[Attempt] = set()
        self._followed: list[tuple[str, list[LogEntry]]] = []
        self._following: set[str] = set()
        self._counted = 0

    # --- listening ------------------------------------------------------------------------------

    async def begin(self) -> None:
        for listener in self.listeners:
            self.waiters.start_soon(self._listen, listener)

    async def _listen(self, listener: Listener) -> None:
        with listener.listening:
            async with self.control.watch(since=0, filter=listener.filter, logs=True) as events:
                async for item in events:
                    listener.heard.append(item)
                    self._moved.set()

    async def _follow(self, job_id: str) -> None:
        """Every line of the job, to its end; the answer is that it ends."""
        lines: list[LogEntry] = []
        self._followed.append((job_id, lines))
        async with self.control.follow_logs(job_id) as following:
            async for item in following:
                if not isinstance(item, LogEntry):
                    broken("wire", f"{item}: no line was too many")
                lines.append(item)
        self._following.remove(job_id)
        self._answers += 1
        self._moved.set()

    def _is_complete(self) -> bool:
        """Whether everybody has heard and been answered what there is."""
        return self._answers >= self._requests and all(
            len(listener.events) >= len(listener.expected(self.seen.published))
            for listener in self.listeners
        )

    async def close(self) -> None:
        """A cancel that was answered takes effect, also without the shutdown that follows."""
        await self.long_sleep()
        for job in self.link.sup.list_nowait(limit=EVERYTHING):
            over = job.state.is_final or job.state is JobState.STUCK
            if (job.id, job.attempt) in self._begun and not over:
                broken("I13", f"its cancel was answered, and it lives: {job}")
        await super().close()

    async def finish(self) -> None:
        """Wait until everything has come, a while longer, and look at what has."""
        for _ in range(self.unfair + 1):
            with trio.move_on_after(PATIENCE):
                while not self._is_complete():
                    self._moved = trio.Event()
                    await self._moved.wait()
        await trio.sleep(AFTERMATH)
        for listener in self.listeners:
            listener.listening.cancel()
        self._check_heard()
        if self._answers != self._requests:
            broken("I13", f"{self._answers} answers to {self._requests} requests")

    @property
    def happened(self) -> Sequence[Happened]:
        return self.link.faults.happened

    # --- doing ----------------------------------------------------------------------------------

    async def do(self, command: Command, telling: Telling) -> None:
        """One command, in time; the time begins anew as often as it may pass without a reason."""
        with trio.CancelScope() as scope:
            self.waiters.start_soon(self._watch_over, scope, telling)
            try:
                await super().do(command, telling)
            finally:
                telling.is_done.set()
        if scope.cancelled_caught:
            broken("I13", f"not done within {PATIENCE:g} s: {telling}")

    async def _watch_over(self, scope: trio.CancelScope, telling: Telling) -> None:
        for _ in range(self.unfair + 1):
            with trio.move_on_after(PATIENCE):
                await telling.is_done.wait()
                return
        scope.cancel("it takes too long")

    async def lost(self, error: ConnectionLost) -> None:
        """The client comes back by itself; whether it may say so, each request knows."""

    async def start(self, command: Start, telling: Telling, process: str) -> None:
        job_id, work = command.job_id, self.work_for(command)
        _, args = self.link.what(work)
        number = cast("dict[str, int]", args)["number"]
        self._starts[number] += 1
        if not is_safe(command):
            self._unsafe.add(number)
        before = self.times_accepted(number)
        self._starting[job_id] += 1
        created = await self._created(command, telling, number, before)
        self._starting[job_id] -= 1
        took_effect = self.times_accepted(number) - before
        if created is not False or took_effect:
            self._accepted[job_id] += 1
            self._remembered.pop(job_id, None)
            self._latest[job_id] = work
        if created and not self._others():
            self.check_used_up(job_id)
        if took_effect and job_id not in self._following:
            self._following.add(job_id)
            self._requests += 1
            self.waiters.start_soon(self._follow, job_id)

    async def _created(
        self, command: Start, telling: Telling, number: int, before: int
    ) -> bool | None:
        """Whether this start was the one that made the job; None if nobody knows."""
        work = self.link.named.works[number]
        try:
            handle = await self.ask_to_start(command, work)
        except ConnectionLost as exc:
            if is_safe(command):
                broken("I13", f"a start that can be repeated was not: {exc!r}")
            telling.answer = "the connection was lost"
            return None
        except (JobIdConflict, ShuttingDown) as exc:
            telling.answer = type(exc).__name__
            # With an earlier start of the same work it may have been that one's turn now.
            alone = self._starts[number] == 1 and not self._was_doubled(number)
            if alone and self.times_accepted(number) > before:
                broken("I13", f"refused, and it took effect: {exc!r}")
            return False
        telling.answer = f"{'created' if handle.created else 'it exists'}, {handle.state}"
        return handle.created

    def times_accepted(self, number: int) -> int:
        """How many attempts of this work were ever put on record."""
        return len(
            {
                (spec.id, record.attempt)
                for _, _, _, spec, record in self.link.store.events(0)
                if spec.work.keywords["number"] == number
            }
        )

    def _doubled(self) -> list[dict[str, Any]]:
        """The starts that the link has doubled."""
        happened = self.link.faults.happened
        said = [each.said for each in happened if isinstance(each.fault, Duplicate)]
        return [
            item["params"] for item in said if "params" in item and item["method"] == "job.start"
        ]

    def _was_doubled(self, number: int) -> bool:
        return any(params["args"]["number"] == number for params in self._doubled())

    def check_full(self, command: Cancel) -> None:
        """What an answer that was lost has left there is not known."""
        if command.if_unknown != "remember":
            broken("I9", f"there was no need for room: {command}")

    async def cancel_all(self, grace: float | None, telling: Telling) -> None:
        """By a filter, which may meet other jobs the second time: it is not repeated."""
        with suppress(ConnectionLost):
            await super().cancel_all(grace, telling)

    def note(self, reply: CancelReply) -> None:
        super().note(reply)
        if reply.outcome in BEGUN and reply.job is not None:
            self._begun.add((reply.job_id, reply.job.attempt))

    # --- checking -------------------------------------------------------------------------------

    def check(self) -> None:
        for params in self._doubled()[self._counted :]:
            self._counted += 1
            self._accepted[params["job_id"]] += 1
        super().check()

    def waiting_in_vain(self) -> list[Job]:
        """Over such a link an answer takes its time."""
        return []

    def refused(self, asked: Asked, telling: Telling, error: SupervisorError) -> None:
        if isinstance(error, ConnectionLost):
            broken("I13", f"this could have been repeated: {error!r}")
        super().refused(asked, telling, error)

    def _check_heard(self) -> None:
        """What came over the wire is the supervisor's history."""
        published = self.seen.published
        kept = [seq for seq, *_ in self.link.store.events(0)]
        if [event.seq for event in published] != kept:
            broken("I12", f"kept were {kept}, and published {published}")
        for listener in self.listeners:
            check_same(listener.events, listener.expected(published))
            self._check_lines(listener)
        for job_id, lines in self._followed:
            self._check_followed(job_id, lines)

    def _check_lines(self, listener: Listener) -> None:
        """Lines are not replayed; those that come are right, in order, once, and in time."""
        finished: set[Attempt] = set()
        last: Counter[str] = Counter()
        for item in listener.heard:
            if isinstance(item, LogEntry):
                if (item.job_id, item.attempt) in finished:
                    broken("I14", f"{item}")
                if item.n <= last[item.job_id]:
                    broken("wire", f"{item} came after line {last[item.job_id]}")
                if item != self._lines_of(item.job_id)[item.n - 1]:
                    broken("wire", f"{item} is not what was written")
                last[item.job_id] = item.n
            elif isinstance(item, JobEvent):
                if item.type == "job.finished":
                    finished.add((item.job_id, item.attempt))
            elif not isinstance(item, LogsLagged):
                broken("wire", f"{item}, and nothing was lost")

    def _lines_of(self, job_id: str) -> Sequence[LogEntry]:
        return self.link.store.logs(job_id, 0, LINES)[0]

    def _check_followed(self, job_id: str, lines: list[LogEntry]) -> None:
        """All lines of whole attempts, from the first."""
        kept = self._lines_of(job_id)
        if lines != [*kept[: len(lines)]]:
            broken("wire", f"the lines of {job_id} are {kept}, and who followed has {lines}")
        if len(lines) < len(kept):
            behind = lines[-1].attempt if lines else 1
            if kept[len(lines)].attempt <= behind:
                broken("wire", f"who followed {job_id} lacks {kept[len(lines) :]}")

    def check_end(self) -> None:
        super().check_end()
        self._check_starts()
        for attempt in self._begun & self.seen.finals.keys():
            if not self.seen.finals[attempt].cancel_requested:
                broken("I13", f"{attempt}: its cancel was lost")
        states = [type(change).__name__ for change in self.link.changes]
        turns = ["Connected", "Disconnected"] * len(states)
        if states != turns[: len(states)]:
            broken("wire", f"the client told of its connection: {states}")

    def check_attempts(self, job_id: str, accepted: int) -> None:
        if self.link.store.get(job_id) is not None:  # else every start of it was lost
            super().check_attempts(job_id, accepted)

    def _check_starts(self) -> None:
        """No work was begun more often than somebody asked for it."""
        doubled = Counter(params["args"]["number"] for params in self._doubled())
        for number, asked in self._starts.items():
            allowed = asked + (doubled[number] if number in self._unsafe else 0)
            if self.times_accepted(number) > allowed:
                broken("I10", f"work {number} was started {allowed} times, and began once more")


def check_same(heard: Sequence[JobEvent], published: Sequence[JobEvent]) -> None:
    """Exactly these events, in this order."""
    seqs = [event.seq for event in heard]
    if seqs != [event.seq for event in published]:
        broken("wire", f"published were {[each.seq for each in published]}, and heard {seqs}")
    if [*heard] != [*published]:
        broken("wire", "an event came changed")

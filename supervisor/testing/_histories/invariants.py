"""What must hold of a supervisor, whatever happens: plain functions of what was seen.

What is true is learned from three sides that know nothing of each other: the records, the events,
and the works themselves, which know whether they are alive (`ground`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NoReturn

from ..._model import CancelReply, Job, JobEvent, JobState, LogEntry, Statistics
from ...abc import WatchItem
from .ground import Attempt, Ground

__all__ = ["INVARIANTS", "Broken", "Seen", "broken", "check_kill_is_due", "check_repeat"]

INVARIANTS = {
    "I1": "an attempt has one final outcome, and it is never rewritten",
    "I2": "a body is never entered after a cancel has won",
    "I3": "a job that is final has nothing alive",
    "I4": "a repeated request changes nothing, and is answered with an equal or later state",
    "I5": "the kill is due when it was asked for, or sooner, and never moves later",
    "I6": "at most one attempt of a job is alive",
    "I8": "at rest nothing is left",
    "I9": "a remembered cancel serves once, and no more of them are kept than may be",
    "I10": "no attempt begins that nobody asked for",
    "I11": "slots in use are the live jobs that hold one, and none is free while somebody waits",
    "I12": "the events, replayed, give the live state",
    "I13": "every request gets exactly one answer, and a true one",
    "I14": "no event or line of an attempt follows its final one",
    "I15": "everybody who waits for an end is told of it, and everything comes to an end",
    "wire": "what a client hears is what the supervisor published",
    "order": "the answers about one job fit an order in which each request takes effect at once",
    "yours": "your own check",
    "alive": "nothing fails that was not to fail",
}
"""Their numbers, and what they say."""

HOLDS_A_SLOT = (JobState.STARTING, JobState.RUNNING, JobState.CANCELLING, JobState.STUCK)

FINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT)

LATER = {
    state: rank
    for rank, states in enumerate(
        (
            (JobState.PENDING,),
            (JobState.STARTING,),
            (JobState.RUNNING,),
            (JobState.CANCELLING,),
            (JobState.STUCK,),
            FINAL,
        )
    )
    for state in states
}
"""Within one attempt states only follow in this order."""

EPSILON = 1e-6


class Broken(AssertionError):
    """An invariant does not hold.

    Attributes:
        number: which.
        detail: what was seen.
    """

    def __init__(self, number: str, detail: str) -> None:
        super().__init__(f"{number}: {INVARIANTS[number]}; {detail}")
        self.number = number
        self.detail = detail

    def __reduce__(self) -> tuple[type[Broken], tuple[str, str]]:
        return type(self), (self.number, self.detail)


def broken(number: str, detail: str) -> NoReturn:
    """Say so."""
    raise Broken(number, detail)


class Seen:
    """What was seen of a supervisor so far, and what must agree with it.

    Attributes:
        finals: the final record of every attempt that has one.
        published: all events, in their order.
    """

    def __init__(self, ground: Ground, slots: int | None, tombstones: int) -> None:
        self.finals: dict[Attempt, Job] = {}
        self.published: list[JobEvent] = []
        self._ground = ground
        self._slots = slots
        self._tombstones = tombstones
        self._newest: dict[str, JobEvent] = {}
        self._finished: set[Attempt] = set()
        self._kill_at: dict[Attempt, float] = {}

    # --- events ---------------------------------------------------------------------------------

    def read(self, item: WatchItem) -> None:
        """The next thing that a watch brought."""
        if isinstance(item, JobEvent):
            self._read_event(item)
            return
        attempt = _attempt_of(item)
        if attempt in self._finished:
            broken("I14", f"{item}")
        if isinstance(item, LogEntry) and not self._ground.entered[attempt]:
            broken("I14", f"{item} of nobody")

    def _read_event(self, event: JobEvent) -> None:
        if event.seq != len(self.published) + 1:
            broken("I12", f"event {event.seq} came after {len(self.published)}")
        attempt = _attempt_of(event)
        if attempt in self._finished:
            broken("I14", f"{event}")
        known = self._newest.get(event.job_id)
        if known is not None and known.attempt == event.attempt:
            if LATER[event.state] < LATER[known.state]:
                broken("I12", f"{event} came after {known}")
        elif known is not None:
            if not known.state.is_final:
                broken("I6", f"{event} came while {known}")
            if event.attempt != known.attempt + 1:
                broken("I12", f"{event} came after {known}")
        self._newest[event.job_id] = event
        self.published.append(event)
        if event.type == "job.finished":
            self._finished.add(attempt)

    # --- records --------------------------------------------------------------------------------

    def check(
        self, jobs: Iterable[Job], statistics: Statistics, tombstones: int, now: float
    ) -> None:
        """Whatever there is right now."""
        for number, detail in self._ground.violations:
            broken(number, detail)
        for job in jobs:
            self._check_job(job, now)
        self._check_slots(statistics)
        self._check_alive()
        if tombstones > self._tombstones:
            broken("I9", f"{tombstones} are remembered, and {self._tombstones} may be")

    def _check_job(self, job: Job, now: float) -> None:
        attempt = (job.id, job.attempt)
        event = self._newest.get(job.id)
        if event is None:
            broken("I12", f"no event told of {job}")
        if (event.attempt, event.state) != (job.attempt, job.state):
            broken("I12", f"the last event is {event}, and the record {job}")
        if job.how == "never_started" and self._ground.entered[attempt]:
            broken("I2", f"{job}")
        if job.state.is_final:
            self._check_final(attempt, job)
        elif attempt in self.finals:
            broken("I1", f"{attempt} came back: {job}")
        self._check_kill(attempt, job.kill_in, now)

    def _check_final(self, attempt: Attempt, job: Job) -> None:
        known = self.finals.setdefault(attempt, job)
        if known is not job and known != job:
            broken("I1", f"{known} became {job}")
        if self._ground.alive[attempt]:
            broken("I3", f"{attempt} is alive, and its record is {job}")
        if job.cancel_requested != (job.certificate is not None):
            broken("I1", f"asked to stop, and no certificate, or the other way round: {job}")
        if job.state in (JobState.CANCELLED, JobState.TIMED_OUT) and not job.cancel_requested:
            broken("I1", f"nobody asked for this: {job}")

    def _check_kill(self, attempt: Attempt, kill_in: float | None, now: float) -> None:
        if kill_in is None:
            return
        kill_at = now + kill_in
        known = self._kill_at.get(attempt, kill_at)
        # Once it is due the record says 0, and "now" goes on.
        if kill_in and kill_at > known + EPSILON:
            broken("I5", f"the kill of {attempt} was due at {known}, and is due at {kill_at}")
        self._kill_at[attempt] = min(kill_at, known)

    def _check_slots(self, statistics: Statistics) -> None:
        holding = sum(statistics.jobs[state] for state in HOLDS_A_SLOT)
        if statistics.slots_used != holding:
            broken("I11", f"{statistics.slots_used} are in use, and {holding} jobs hold one")
        if self._slots is None:
            return
        if holding > self._slots:
            broken("I11", f"{holding} are in use, and there are {self._slots}")
        if statistics.jobs["pending"] and statistics.accepting and holding < self._slots:
            broken("I11", f"{holding} of {self._slots} are in use, and somebody waits")

    def _check_alive(self) -> None:
        alive: dict[str, list[Attempt]] = defaultdict(list)
        for attempt, count in self._ground.alive.items():
            if count:
                alive[attempt[0]] += [attempt] * count
        for attempts in alive.values():
            if len(attempts) > 1:
                broken("I6", f"alive at once: {attempts}")

    # --- at rest --------------------------------------------------------------------------------

    def check_at_rest(self, statistics: Statistics) -> None:
        """Everybody is gone."""
        live = {
            state: n for state, n in statistics.jobs.items() if n and not JobState(state).is_final
        }
        if live:
            broken("I8", f"live: {live}")
        if statistics.slots_used or statistics.watchers:
            broken("I8", f"slots {statistics.slots_used}, watchers {statistics.watchers}")
        for number, detail in self._ground.violations:
            broken(number, detail)
        alive = [attempt for attempt, count in self._ground.alive.items() if count]
        if alive:
            broken("I3", f"alive: {alive}")


def _attempt_of(item: WatchItem) -> Attempt:
    return (getattr(item, "job_id", ""), getattr(item, "attempt", 0))


def check_kill_is_due(reply: CancelReply, grace: float | None, force: bool) -> None:
    """I5: of a cancel and the grace that it gave; one that gives none only begins a stop."""
    job = reply.job
    if job is None or job.kill_in is None or reply.outcome not in BEGUN:
        return
    is_first = reply.outcome == "cancelling"
    if grace is None and not force and not is_first:
        return
    seconds = 0.0 if force else job.grace if grace is None else grace
    if reply.outcome != "escalated" and not force:  # a repeat does not end the notice
        seconds += job.notice
    if job.kill_in > seconds + EPSILON:
        broken("I5", f"the kill was asked for in {seconds:g} s, and is due in {job.kill_in:g} s")


BEGUN = ("cancelled", "cancelling", "joined", "escalated", "stuck")
"""Outcomes of a cancel that found its job live."""

AFTER_BEGUN = ("joined", "stuck", "already_cancelled", "already_finished")

WAS_OVER = ("already_cancelled", "already_finished")


def check_repeat(first: CancelReply, second: CancelReply) -> None:
    """I4: of two cancels that ask for the same."""
    if first.job is None or second.job is None or first.job.attempt != second.job.attempt:
        return
    said = f"{first.outcome}, and then {second.outcome}"
    if LATER[second.job.state] < LATER[first.job.state]:
        broken("I4", f"{first.job.state}, and then {second.job.state}")
    if first.outcome in BEGUN and second.outcome not in AFTER_BEGUN:
        broken("I4", said)
    if first.outcome in WAS_OVER and second.job != first.job:
        broken("I4", said)

"""The life of a job: states, inputs and the one table that moves a job from record to record.

Plain Python: no Trio, no clock, no I/O. Whatever happens to a job becomes one precise input, and
`advance(spec, record, input)` answers with the next record and the events to publish, or refuses.
Everything else (supervisor, stores, server, tests, the diagram in the docs) reads this table.

The shape is h11's: a row for every state, those of the final states present and empty.

A cancel is ambiguous until it meets the state it finds, so it is classified first
(`classify_cancel`) and becomes one of three inputs: `Cancel` begins a stop, `Escalate` makes one
stricter, `Join` only puts the request on record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ._model import CancelOutcome, Cause, How, JobState, Progress, Proof, Rung
from ._records import (
    Backoff,
    Cancelling,
    Exit,
    Exited,
    Final,
    Instant,
    JobSpec,
    LetThrough,
    NeverStarted,
    Pending,
    Raised,
    Record,
    Request,
    Returned,
    Running,
    Starting,
    Stop,
    Stuck,
    Vanished,
)

__all__ = [
    "RESTARTABLE",
    "TRANSITIONS",
    "VERIFY_SECONDS",
    "Cancel",
    "Climb",
    "Ended",
    "Escalate",
    "Input",
    "Join",
    "Launch",
    "Move",
    "Refused",
    "Resist",
    "Row",
    "Started",
    "advance",
    "classify_cancel",
    "next_rung",
]

VERIFY_SECONDS = 5.0
"""How long the proof of death is waited for after `force` before a job is called stuck.

`cgroup.kill` empties a tree of a thousand processes in about a tenth of a second; fifty times
that is not slowness any more but a process that the kernel cannot end.
"""

LATER_REQUESTS_KEPT = 16
"""How many requests after the first a record keeps whole; the rest is only counted."""

RESTARTABLE = frozenset({Cause.SIBLING, Cause.SHUTDOWN, Cause.SUPERVISOR_LOST})
"""The causes after which another attempt may follow; any other ends the job for good (I10)."""

NEVER_STARTED = Proof("never_started", detail="the body was never entered")


# --- inputs ----------------------------------------------------------------------------------


class Launch(msgspec.Struct, frozen=True):
    """A slot is granted, or the time to restart has come."""


class Started(msgspec.Struct, frozen=True):
    """The body is entered."""

    now: Instant


class Ended(msgspec.Struct, frozen=True):
    """The attempt is over and nothing of it is alive; `restart_at` if a policy wants another."""

    exit: Exit
    now: Instant
    restart_at: Instant | None = None
    progress: Progress | None = None


class Cancel(msgspec.Struct, frozen=True):
    """A stop begins; `successor` is the job that replaces this one after its end.

    `now` is the present moment where that is not the request's: of a cancel that came before.
    """

    request: Request
    successor: JobSpec | None = None
    now: Instant | None = None


class Join(msgspec.Struct, frozen=True):
    """A request that asks for nothing stricter than what is under way."""

    request: Request
    successor: JobSpec | None = None


class Escalate(msgspec.Struct, frozen=True):
    """A request that shortens the deadline, or forces."""

    request: Request
    successor: JobSpec | None = None


class Climb(msgspec.Struct, frozen=True):
    """The ladder goes on to `rung`."""

    rung: Rung
    now: Instant


class Resist(msgspec.Struct, frozen=True):
    """The ladder is at its end and something is still alive."""

    where: tuple[str, ...]
    now: Instant


Input: TypeAlias = Launch | Started | Ended | Cancel | Join | Escalate | Climb | Resist


class Move(NamedTuple):
    """The next record, and the events that tell of it."""

    record: Record
    events: tuple[str, ...]


class Row(NamedTuple):
    """One cell of the table: where the input may lead, and the function that decides."""

    leads_to: frozenset[JobState]
    decide: Callable[[JobSpec, Any, Any], Move]


class Refused(Exception):
    """The state has no row for the input: whoever sent it lost a race, or is wrong."""


def advance(spec: JobSpec, record: Record, input: Input) -> Move:
    """The next record of a job, and the events to publish.

    Raises:
        Refused: the state has no row for this input.
    """
    row = TRANSITIONS[record.state].get(type(input))
    if row is None:
        raise Refused(f"job {spec.id}: {type(input).__name__} in state {record.state}")
    return row.decide(spec, record, input)


# --- cancel: name the ambiguity before the table -----------------------------------------------


def classify_cancel(
    record: Record, request: Request, *, grace_given: bool, successor: JobSpec | None = None
) -> tuple[CancelOutcome, Input | None]:
    """What a cancel request means to the record that it meets.

    Returns:
        The outcome to answer with, and the input for `advance` (None: there is nothing to do).
    """
    # In the order in which they come most often: a bulk cancel asks a hundred thousand times.
    if isinstance(record, (Running, Starting)):
        return CancelOutcome.CANCELLING, Cancel(request, successor)
    if isinstance(record, (Pending, Backoff)):
        return CancelOutcome.CANCELLED, Cancel(request, successor)
    if isinstance(record, Cancelling):
        if _is_stricter(record.stop, request, grace_given):
            return CancelOutcome.ESCALATED, Escalate(request, successor)
        return CancelOutcome.JOINED, Join(request, successor)
    if isinstance(record, Stuck):
        return CancelOutcome.STUCK, Join(request, successor)
    if record.state is JobState.CANCELLED:
        return CancelOutcome.ALREADY_CANCELLED, None
    return CancelOutcome.ALREADY_FINISHED, None


def _is_stricter(stop: Stop, request: Request, grace_given: bool) -> bool:
    """Ten polite cancels are one polite cancel: only a smaller grace or force is stricter."""
    if stop.rung in (Rung.FORCE, Rung.VERIFY):
        return False
    if request.force or request.limit < stop.kill_at:
        return True
    smaller = grace_given and request.grace < stop.grace
    return smaller and request.at.mono + request.grace < stop.kill_at


def next_rung(spec: JobSpec, stop: Stop) -> Rung | None:
    """The rung that follows when the present one is over; None: the ladder ends here.

    What runs in this process cannot be forced by waiting longer, so its ladder ends after
    `cancel` unless somebody asked for force.
    """
    match stop.rung:
        case Rung.NOTICE:
            return Rung.CANCEL
        case Rung.CANCEL:
            return Rung.FORCE if spec.can_force else None
        case Rung.FORCE:
            return Rung.VERIFY
        case Rung.VERIFY:
            return None


# --- the decisions, one function a cell ---------------------------------------------------------


def _launch(spec: JobSpec, record: Pending, input: Launch) -> Move:
    return Move(Starting(record.attempt, record.version + 1), ("job.starting",))


def _relaunch(spec: JobSpec, record: Backoff, input: Launch) -> Move:
    return Move(Starting(record.attempt + 1, record.version + 1), ("job.starting",))


def _start(spec: JobSpec, record: Starting, input: Started) -> Move:
    return Move(Running(record.attempt, record.version + 1, input.now), ("job.started",))


def _start_late(spec: JobSpec, record: Cancelling, input: Started) -> Move:
    """A spawn in flight cannot be recalled: it came through after the stop had begun."""
    moved = Cancelling(record.attempt, record.version + 1, input.now, record.stop)
    return Move(moved, ())


def _start_stuck(spec: JobSpec, record: Stuck, input: Started) -> Move:
    """Later still: the ladder was at its end before the spawn came through."""
    return Move(record, ())


def _end(spec: JobSpec, record: Starting | Running, input: Ended) -> Move:
    started = record.started if isinstance(record, Running) else None
    state = _outcome_untouched(input.exit)
    how = _how(input.exit, asked=False, forced=False)
    if input.restart_at is not None:
        return _back_off(record, started, input, input.restart_at, how)
    final = Final(
        state,
        record.attempt,
        record.version + 1,
        started,
        input.now,
        input.exit,
        how,
        None,
        False,
        input.exit.value if isinstance(input.exit, Returned) else None,
        input.progress,
    )
    return Move(final, ("job.finished",))


def _back_off(
    record: Record, started: Instant | None, input: Ended, restart_at: Instant, how: How
) -> Move:
    waiting = Backoff(record.attempt, record.version + 1, started, input.exit, how, restart_at)
    return Move(waiting, ("job.attempt_ended", "job.backoff"))


def _end_unborn(spec: JobSpec, record: Pending, input: Cancel) -> Move:
    exit = NeverStarted(None, NEVER_STARTED)
    final = _unrun(record, input, None, exit, How.NEVER_STARTED)
    return Move(final, ("job.finished",))


def _end_waiting(spec: JobSpec, record: Backoff, input: Cancel) -> Move:
    """No next attempt; the record keeps how the last one ended."""
    final = _unrun(record, input, record.started, record.last, record.how)
    return Move(final, ("job.finished",))


def _unrun(
    record: Pending | Backoff, input: Cancel, started: Instant | None, exit: Exit, how: How
) -> Final:
    request = input.request
    stop = _new_stop(request, Rung.CANCEL, (), request.at.mono, input.successor)
    state = _stopped_state(request.cause)
    ended = request.at if input.now is None else input.now
    return Final(state, record.attempt, record.version + 1, started, ended, exit, how, stop)


def _stop_starting(spec: JobSpec, record: Starting, input: Cancel) -> Move:
    """No notice to a body that was not entered."""
    return _begin(record, None, input, notice=0.0)


def _stop_running(spec: JobSpec, record: Running, input: Cancel) -> Move:
    return _begin(record, record.started, input, notice=spec.notice)


def _begin(
    record: Starting | Running, started: Instant | None, input: Cancel, notice: float
) -> Move:
    request = input.request
    if request.force:
        rung, kill_at = Rung.FORCE, request.at.mono
    else:
        rung = Rung.NOTICE if notice > 0 else Rung.CANCEL
        kill_at = min(request.at.mono + notice + request.grace, request.limit)
    rung_ends = min(request.at.mono + notice, kill_at) if rung is Rung.NOTICE else kill_at
    stop = _new_stop(request, rung, ((rung, request.at),), kill_at, input.successor, rung_ends)
    moved = Cancelling(record.attempt, record.version + 1, started, stop)
    return Move(moved, ("job.cancelling",))


def _new_stop(
    request: Request,
    rung: Rung,
    rungs: tuple[tuple[Rung, Instant], ...],
    kill_at: float,
    successor: JobSpec | None,
    rung_ends: float = 0.0,
) -> Stop:
    return Stop(
        request.cause, request, (), 0, rung, rungs, rung_ends, kill_at, request.grace, successor
    )


def _join(spec: JobSpec, record: Cancelling, input: Join) -> Move:
    stop = _noted(record.stop, input)
    return Move(Cancelling(record.attempt, record.version + 1, record.started, stop), ())


def _join_stuck(spec: JobSpec, record: Stuck, input: Join) -> Move:
    moved = Stuck(
        record.attempt,
        record.version + 1,
        record.started,
        _noted(record.stop, input),
        record.why,
        record.where,
        record.since,
    )
    return Move(moved, ())


def _noted(stop: Stop, input: Join | Escalate) -> Stop:
    """The stop with one more request on it.

    A cause that forbids another attempt overrides one that allows it, for good. A later replacement
    overwrites an earlier one; a request that is no replacement drops it.
    """
    request = input.request
    restartable = stop.cause in RESTARTABLE
    later = stop.later
    return Stop(
        request.cause if restartable and request.cause not in RESTARTABLE else stop.cause,
        stop.first,
        (*later, request) if len(later) < LATER_REQUESTS_KEPT else later,
        stop.later_count + 1,
        stop.rung,
        stop.rungs,
        stop.rung_ends,
        stop.kill_at,
        stop.grace,
        input.successor,
    )


def _escalate(spec: JobSpec, record: Cancelling, input: Escalate) -> Move:
    """Deadlines only move earlier (I5). It ends `notice`, but still passes `cancel`."""
    stop, request = _noted(record.stop, input), input.request
    if request.force:
        rung, kill_at = Rung.FORCE, min(stop.kill_at, request.at.mono)
    else:
        due = min(request.at.mono + request.grace, request.limit)
        rung, kill_at = Rung.CANCEL, min(stop.kill_at, due)
    stop = _on_rung(stop, rung, request.at, kill_at, kill_at, min(stop.grace, request.grace))
    moved = Cancelling(record.attempt, record.version + 1, record.started, stop)
    return Move(moved, ("job.escalated",))


def _climb(spec: JobSpec, record: Cancelling, input: Climb) -> Move:
    stop, now = record.stop, input.now
    kill_at = stop.kill_at if input.rung is Rung.CANCEL else min(stop.kill_at, now.mono)
    rung_ends = now.mono + VERIFY_SECONDS if input.rung is Rung.VERIFY else kill_at
    stop = _on_rung(stop, input.rung, now, rung_ends, kill_at, stop.grace)
    moved = Cancelling(record.attempt, record.version + 1, record.started, stop)
    return Move(moved, ("job.escalated",))


def _on_rung(
    stop: Stop, rung: Rung, now: Instant, rung_ends: float, kill_at: float, grace: float
) -> Stop:
    rungs = stop.rungs if rung is stop.rung else (*stop.rungs, (rung, now))
    return Stop(
        stop.cause,
        stop.first,
        stop.later,
        stop.later_count,
        rung,
        rungs,
        rung_ends,
        kill_at,
        grace,
        stop.successor,
    )


def _resist(spec: JobSpec, record: Cancelling, input: Resist) -> Move:
    stop = record.stop
    if stop.rung is Rung.VERIFY and spec.can_force:
        why = f"still alive {VERIFY_SECONDS:g} s after it was killed"
    else:
        why = "does not leave, and what runs in this process cannot be killed"
    moved = Stuck(
        record.attempt, record.version + 1, record.started, stop, why, input.where, input.now
    )
    return Move(moved, ("job.stuck",))


def _end_stopped(spec: JobSpec, record: Cancelling | Stuck, input: Ended) -> Move:
    stop, exit = record.stop, input.exit
    reached = stop.rung is not Rung.NOTICE
    forced = isinstance(record, Stuck) or stop.rung in (Rung.FORCE, Rung.VERIFY)
    how = _how(exit, asked=reached, forced=forced)
    if input.restart_at is not None and stop.cause in RESTARTABLE:
        return _back_off(record, record.started, input, input.restart_at, how)
    final = Final(
        _outcome_stopped(spec, exit, stop.cause, reached, forced),
        record.attempt,
        record.version + 1,
        record.started,
        input.now,
        exit,
        how,
        stop,
        isinstance(record, Stuck) or (forced and isinstance(exit, Returned)),
        exit.value if isinstance(exit, Returned) else None,
        input.progress,
    )
    return Move(final, ("job.finished",))


# --- what the outcome is ----------------------------------------------------------------------


_HOW: dict[type[Exit], How] = {
    Returned: How.RETURNED,
    Raised: How.RAISED,
    LetThrough: How.COOPERATIVE,
    NeverStarted: How.NEVER_STARTED,
    Vanished: How.VANISHED,
}


def _outcome_untouched(exit: Exit) -> JobState:
    """By its own result: nobody asked it to stop, or `cancel` did not reach it."""
    succeeded = exit.code == 0 if isinstance(exit, Exited) else isinstance(exit, Returned)
    return JobState.SUCCEEDED if succeeded else JobState.FAILED


def _outcome_stopped(
    spec: JobSpec, exit: Exit, cause: Cause, reached: bool, forced: bool
) -> JobState:
    if forced:
        return _stopped_state(cause)
    if not reached and not isinstance(exit, NeverStarted):
        return _outcome_untouched(exit)
    if spec.can_force:  # whatever a process that was told to leave exits with
        return _stopped_state(cause)
    if isinstance(exit, Returned):
        return JobState.SUCCEEDED
    if isinstance(exit, Raised) and cause is not Cause.DEADLINE:
        return JobState.FAILED
    return _stopped_state(cause)


def _stopped_state(cause: Cause) -> JobState:
    return JobState.TIMED_OUT if cause is Cause.DEADLINE else JobState.CANCELLED


def _how(exit: Exit, *, asked: bool, forced: bool) -> How:
    if not isinstance(exit, Exited):
        return _HOW[type(exit)]
    if forced:
        return How.FORCED
    return How.COOPERATIVE if asked else How.EXITED


# --- the table -----------------------------------------------------------------------------------

_S = JobState
_STOPPED = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.TIMED_OUT, _S.BACKOFF})
_UNBORN = frozenset({_S.CANCELLED, _S.TIMED_OUT})


def _row(decide: Callable[[JobSpec, Any, Any], Move], *states: JobState) -> Row:
    return Row(frozenset(states), decide)


TRANSITIONS: dict[JobState, dict[type[Input], Row]] = {
    _S.PENDING: {
        Launch: _row(_launch, _S.STARTING),
        Cancel: _row(_end_unborn, *_UNBORN),
    },
    _S.STARTING: {
        Started: _row(_start, _S.RUNNING),
        Ended: _row(_end, _S.SUCCEEDED, _S.FAILED, _S.BACKOFF),
        Cancel: _row(_stop_starting, _S.CANCELLING),
    },
    _S.RUNNING: {
        Ended: _row(_end, _S.SUCCEEDED, _S.FAILED, _S.BACKOFF),
        Cancel: _row(_stop_running, _S.CANCELLING),
    },
    _S.CANCELLING: {
        Started: _row(_start_late, _S.CANCELLING),
        Join: _row(_join, _S.CANCELLING),
        Escalate: _row(_escalate, _S.CANCELLING),
        Climb: _row(_climb, _S.CANCELLING),
        Resist: _row(_resist, _S.STUCK),
        Ended: _row(_end_stopped, *_STOPPED),
    },
    _S.STUCK: {
        Started: _row(_start_stuck, _S.STUCK),
        Join: _row(_join_stuck, _S.STUCK),
        Ended: _row(_end_stopped, *_UNBORN, _S.BACKOFF),
    },
    _S.BACKOFF: {
        Launch: _row(_relaunch, _S.STARTING),
        Cancel: _row(_end_waiting, *_UNBORN),
    },
    _S.SUCCEEDED: {},
    _S.FAILED: {},
    _S.CANCELLED: {},
    _S.TIMED_OUT: {},
}

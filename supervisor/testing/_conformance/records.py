"""Jobs, records and cancels for the rules to work with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..._model import (
    Cause,
    DisconnectPolicy,
    How,
    JobErrorInfo,
    JobState,
    Progress,
    Proof,
    Rung,
    Strength,
    Tombstone,
)
from ..._records import (
    Cancelling,
    Exited,
    Final,
    Instant,
    JobSpec,
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

__all__ = ["EPOCH", "at", "ended", "job", "one_of_each", "tombstone", "wall_time"]

EPOCH = 1_700_000_000.0
"""The time of day, in seconds of the Unix epoch, at which all rules begin."""

PROOF = Proof("task_exited", Strength.CERTAIN, "nothing was really run")


def at(seconds: float) -> Instant:
    """A moment, `seconds` after the beginning."""
    return Instant(seconds, EPOCH + seconds)


def wall_time(seconds: float) -> datetime:
    """The time of day, `seconds` after the beginning."""
    return datetime.fromtimestamp(EPOCH + seconds, UTC)


def job(job_id: str = "a", *, work: Any = None, kind: str = "test", **changes: Any) -> JobSpec:
    """A job as it was asked for."""
    fields: dict[str, Any] = {
        "id": job_id,
        "name": "conformance",
        "kind": kind,
        "work": work,
        "arguments": (),
        "identity": None,
        "grace": 10.0,
        "notice": 0.0,
        "timeout": None,
        "can_force": True,
        "labels": {"suite": "conformance"},
        "on_disconnect": DisconnectPolicy.KEEP,
        "requester": "local",
        "created": at(0.0),
    }
    return JobSpec(**{**fields, **changes})


def ended(attempt: int = 1, version: int = 2) -> Final:
    """A job that was cancelled before it began."""
    exit = NeverStarted(None, PROOF)
    return Final(JobState.CANCELLED, attempt, version, None, at(1.0), exit, How.NEVER_STARTED)


def tombstone(
    job_id: str, now: float = 0.0, *, lasts: float = 600.0, reason: str | None = None
) -> Tombstone:
    """A cancel, `now` seconds after the beginning, of a job that has yet to come."""
    return Tombstone(
        job_id=job_id,
        reason=reason,
        requester="local",
        recorded_at=wall_time(now),
        expires_at=wall_time(now + lasts),
    )


def one_of_each() -> tuple[Record, ...]:
    """A record of every kind, with everything that it can hold, in an order that can happen."""
    error = JobErrorInfo(
        type="ValueError", message="caf\u00e9 \U0001f980", notes=("a note",), traceback="line 1"
    )
    first = Request("local", "deploy", Cause.USER, at(3.0), 10.0, False)
    later = Request("ops", None, Cause.DEADLINE, at(4.0), 1.0, True, 5.0)
    rungs = ((Rung.CANCEL, at(3.0)), (Rung.FORCE, at(4.0)))
    stop = Stop(Cause.USER, first, (later,), 1, Rung.FORCE, rungs, 5.0, 4.0, 10.0)
    ends: tuple[tuple[JobState, Any, How, Any], ...] = (
        (JobState.FAILED, Raised(error, PROOF), How.RAISED, None),
        (JobState.FAILED, Exited(3, None, PROOF), How.EXITED, None),
        (JobState.FAILED, Vanished(error, PROOF), How.VANISHED, None),
        (JobState.CANCELLED, Exited(None, 9, PROOF), How.FORCED, stop),
        (JobState.TIMED_OUT, NeverStarted(None, PROOF), How.NEVER_STARTED, stop),
        (JobState.SUCCEEDED, Returned({"n": [1, None]}, PROOF), How.RETURNED, None),
    )
    finals = tuple(
        Final(
            state,
            1,
            6 + number,
            at(2.0),
            at(9.0),
            exit,
            how,
            stop=stop,
            late=number % 2 == 1,
            result={"n": [1, None]} if state is JobState.SUCCEEDED else None,
            progress=Progress(0.5, 1.0, "half"),
        )
        for number, (state, exit, how, stop) in enumerate(ends)
    )
    return (
        Pending(1, 1),
        Starting(1, 2),
        Running(1, 3, at(2.0)),
        Cancelling(1, 4, at(2.0), stop),
        Stuck(1, 5, at(2.0), stop, "it resists", ("pid 1 sleeping", "pid 2"), at(8.0)),
        *finals,
    )

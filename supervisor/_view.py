"""From the narrow inner records to the wide public ones, made when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ._model import (
    CancelRequest,
    Certificate,
    Command,
    Job,
    JobErrorInfo,
    JobEvent,
    JobState,
    Progress,
    RungTime,
)
from ._records import (
    Backoff,
    Cancelling,
    Exit,
    Exited,
    Final,
    Instant,
    JobSpec,
    NeverStarted,
    Published,
    Raised,
    Record,
    Request,
    Running,
    Stop,
    Stuck,
    Vanished,
)

__all__ = [
    "certificate_of",
    "describe_work",
    "event_view",
    "job_view",
    "request_view",
    "stop_of",
    "when",
]


def when(wall: float) -> datetime:
    """Seconds of the Unix epoch as an aware UTC datetime."""
    return datetime.fromtimestamp(wall, UTC)


def job_view(
    spec: JobSpec,
    record: Record,
    seq: int,
    *,
    now: float,
    progress: Progress | None = None,
    log_lines: int = 0,
    log_dropped: int = 0,
) -> Job:
    """The public record of a job. `now` is on the clock of `Instant.mono`."""
    return Job(
        id=spec.id,
        name=spec.name,
        kind=spec.kind,
        state=record.state,
        attempt=record.attempt,
        version=record.version,
        seq=seq,
        created_at=when(spec.created.wall),
        labels=spec.labels,
        requester=spec.requester,
        can_force=spec.can_force,
        grace=spec.grace,
        notice=spec.notice,
        timeout=spec.timeout,
        on_disconnect=spec.on_disconnect,
        command=_argv_text(spec.work),
        log_lines=log_lines,
        log_dropped=log_dropped,
        **{"progress": progress, **_of_state(record, now)},
    )


def _argv_text(work: Any) -> tuple[str, ...] | None:
    if not isinstance(work, Command):
        return None
    return tuple(
        item if isinstance(item, str) else item.decode("utf-8", "replace") for item in work.argv
    )


def _of_state(record: Record, now: float) -> dict[str, Any]:
    match record:
        case Running():
            return {"started_at": when(record.started.wall)}
        case Cancelling():
            return {
                **_of_stop(record.stop),
                "started_at": _when_started(record.started),
                "rung": record.stop.rung,
                "kill_in": max(0.0, record.stop.kill_at - now),
                "has_successor": record.stop.successor is not None,
            }
        case Stuck():
            return {
                **_of_stop(record.stop),
                "started_at": _when_started(record.started),
                "rung": record.stop.rung,
                "why": record.why,
                "where": record.where,
                "stuck_since": when(record.since.wall),
                "has_successor": record.stop.successor is not None,
            }
        case Backoff():
            return {
                **_of_exit(record.last),
                "started_at": _when_started(record.started),
                "how": record.how,
                "restart_at": when(record.restart_at.wall),
            }
        case Final():
            return _of_final(record)
        case _:
            return {}


def _of_final(record: Final) -> dict[str, Any]:
    fields = {
        **_of_exit(record.exit),
        "started_at": _when_started(record.started),
        "ended_at": when(record.ended.wall),
        "duration": record.ended.mono - record.started.mono if record.started else None,
        "how": record.how,
        "late": record.late,
        "result": record.result,
        "progress": record.progress,
    }
    if record.stop is not None:
        fields |= _of_stop(record.stop)
        fields["certificate"] = certificate_of(record)
    return fields


def _of_stop(stop: Stop) -> dict[str, Any]:
    return {"cancel_requested": True, "cause": stop.cause, "reason": stop.first.reason}


def _of_exit(exit: Exit) -> dict[str, Any]:
    match exit:
        case Exited():
            return {"exit_code": exit.code, "signal": exit.signal}
        case Raised() | NeverStarted() | Vanished():
            return {"error": exit.error}
        case _:
            return {}


def _when_started(started: Instant | None) -> datetime | None:
    return None if started is None else when(started.wall)


def stop_of(record: Record) -> Stop | None:
    """The stop that is under way or has ended the job."""
    return record.stop if isinstance(record, (Final, Cancelling, Stuck)) else None


def request_view(request: Request) -> CancelRequest:
    """The public form of one accepted request."""
    return CancelRequest(
        requester=request.requester,
        cause=request.cause,
        at=when(request.at.wall),
        grace=request.grace,
        reason=request.reason,
        force=request.force,
    )


def certificate_of(record: Record) -> Certificate | None:
    """The death certificate of a job that was asked to stop and is gone; else None."""
    if not isinstance(record, Final) or record.stop is None:
        return None
    stop = record.stop
    return Certificate(
        first_request=request_view(stop.first),
        later_requests=tuple(map(request_view, stop.later)),
        later_count=stop.later_count,
        how=record.how,
        rungs=tuple(RungTime(rung, when(at.wall)) for rung, at in stop.rungs),
        request_to_dead=record.ended.mono - stop.first.at.mono,
        proof=record.exit.proof,
    )


def event_view(instance: str, event: Published) -> JobEvent:
    """The public form of one event."""
    seq, wall, type, spec, record = event
    return JobEvent(
        instance=instance,
        seq=seq,
        time=when(wall),
        type=type,
        job_id=spec.id,
        attempt=record.attempt,
        state=record.state,
        data=_event_data(spec, record),
    )


def _event_data(spec: JobSpec, record: Record) -> Mapping[str, Any]:
    match record:
        case Cancelling(stop=stop):
            return {"rung": stop.rung, **_why(stop)}
        case Stuck():
            return {"why": record.why, "where": list(record.where), **_why(record.stop)}
        case Backoff():
            return {"how": record.how, "restart_at": when(record.restart_at.wall)}
        case Final():
            return _final_data(record)
        case _ if record.state in (JobState.PENDING, JobState.STARTING):
            return {"name": spec.name, "kind": spec.kind}
        case _:
            return {}


def _why(stop: Stop) -> dict[str, Any]:
    data: dict[str, Any] = {"cause": stop.cause, "requester": stop.first.requester}
    if stop.first.reason is not None:
        data["reason"] = stop.first.reason
    return data


def _final_data(record: Final) -> dict[str, Any]:
    data: dict[str, Any] = {"how": record.how}
    if record.late:
        data["late"] = True
    for name, value in _of_exit(record.exit).items():
        if isinstance(value, JobErrorInfo):
            data[name] = {"type": value.type, "message": value.message}
        elif value is not None:
            data[name] = value
    if record.stop is not None:
        data |= _why(record.stop)
        data["request_to_dead"] = record.ended.mono - record.stop.first.at.mono
        proof = record.exit.proof
        data["proof"] = {"means": proof.means, "strength": proof.strength}
    return data


def describe_work(work: Any) -> str:
    """What a job is called when nobody named it."""
    if isinstance(work, Command):
        program = work.argv[0]
        text = program if isinstance(program, str) else program.decode("utf-8", "replace")
        return text.rpartition("/")[2] or text
    function = getattr(work, "func", work)
    return getattr(function, "__qualname__", type(function).__qualname__)

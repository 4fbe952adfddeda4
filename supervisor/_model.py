"""What users see of a job: frozen records, the same in Python and on the wire.

A `Job` is assembled from the narrow inner records (see `_records`) when somebody asks for it; no
code of ours keeps one. Times are aware UTC datetimes (RFC 3339 on the wire), durations are
seconds. A field that does not apply to a job's state is None, and absent on the wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs

__all__ = [
    "CancelOutcome",
    "CancelReply",
    "CancelRequest",
    "Cause",
    "Certificate",
    "Command",
    "ConflictPolicy",
    "Connected",
    "DisconnectPolicy",
    "Disconnected",
    "EventsLost",
    "How",
    "Job",
    "JobErrorInfo",
    "JobEvent",
    "JobFilter",
    "JobPage",
    "JobRequest",
    "JobState",
    "LogEntry",
    "LogPage",
    "LogsLagged",
    "Progress",
    "ProgressEvent",
    "Proof",
    "ReusePolicy",
    "Rung",
    "RungTime",
    "Statistics",
    "Strength",
    "Tombstone",
]


class JobState(StrEnum):
    """Where a job is in its life; the four last are final."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    STUCK = "stuck"
    BACKOFF = "backoff"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def is_final(self) -> bool:
        """Whether nothing can follow, and nothing of the job is alive."""
        return self in FINAL_STATES


FINAL_STATES = frozenset(
    {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT}
)


class Cause(StrEnum):
    """Why a job was asked to stop."""

    USER = "user"
    PARENT = "parent"
    SIBLING = "sibling"
    RACE_LOST = "race_lost"
    REPLACED = "replaced"
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"
    CLIENT_GONE = "client_gone"
    DEPENDENCY = "dependency"
    SUPERVISOR_LOST = "supervisor_lost"
    LEASE_LOST = "lease_lost"


class How(StrEnum):
    """How an attempt ended."""

    NEVER_STARTED = "never_started"
    RETURNED = "returned"
    RAISED = "raised"
    EXITED = "exited"
    COOPERATIVE = "cooperative"
    """It left by itself after it was asked to."""
    FORCED = "forced"
    """It was killed."""
    VANISHED = "vanished"
    """It was found dead."""


class Rung(StrEnum):
    """A step of the escalation ladder."""

    NOTICE = "notice"
    CANCEL = "cancel"
    FORCE = "force"
    VERIFY = "verify"


class Strength(StrEnum):
    """What a proof is worth."""

    CERTAIN = "certain"
    BEST_EFFORT = "best_effort"
    """Could not look everywhere. Never: seen and left."""


class CancelOutcome(StrEnum):
    """What one cancel request did, fixed when it was accepted."""

    CANCELLED = "cancelled"
    CANCELLING = "cancelling"
    JOINED = "joined"
    ESCALATED = "escalated"
    ALREADY_CANCELLED = "already_cancelled"
    ALREADY_FINISHED = "already_finished"
    RECORDED = "recorded"
    STUCK = "stuck"
    STALE_ATTEMPT = "stale_attempt"
    UNREACHABLE = "unreachable"


class ConflictPolicy(StrEnum):
    """What a start does when the id belongs to a live job."""

    USE_EXISTING = "use_existing"
    FAIL = "fail"
    REPLACE = "replace"


class ReusePolicy(StrEnum):
    """What a start does when the id belongs to a job that has ended."""

    USE_EXISTING = "use_existing"
    ALLOW = "allow"
    ALLOW_FAILED_ONLY = "allow_failed_only"
    REJECT = "reject"


class DisconnectPolicy(StrEnum):
    """What becomes of a job whose client's connection ends."""

    KEEP = "keep"
    CANCEL = "cancel"
    LINGER = "linger"


MAX_PATH = 4095
"""Bytes that a path may have on Linux (PATH_MAX in linux/limits.h counts the NUL, too)."""


def _fault(text: str | bytes) -> str | None:
    """Why no program can be given `text`: a NUL, or a character that no bytes stand for."""
    try:
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        return f"holds a lone surrogate, {text[error.start]!a}, that cannot be encoded"
    return "holds a NUL character" if b"\0" in data else None


def _shown(text: str | bytes) -> str:
    """As it is written in Python, in ASCII, and not all of it if it is long."""
    return ascii(text) if len(text) <= 100 else ascii(text[:100]) + "..."


def _argv(value: Sequence[str | bytes]) -> tuple[str | bytes, ...]:
    if isinstance(value, (str, bytes)):
        raise TypeError(
            f"argv must be a list of arguments, not the single string {value!r}; "
            'for a shell line use ["sh", "-c", line]'
        )
    return tuple(value)


def _check_argv(_: Any, __: Any, argv: tuple[str | bytes, ...]) -> None:
    if not argv:
        raise ValueError("argv is empty; its first item names the program")
    for item in argv:
        if not isinstance(item, (str, bytes)):
            raise TypeError(f"argv items are str or bytes, not {type(item).__name__}")
        if fault := _fault(item):
            raise ValueError(f"argv item {_shown(item)} {fault}")
    if not argv[0]:
        raise ValueError("argv[0] is empty; it names the program")


def _check_cwd(_: Any, __: Any, cwd: str | None) -> None:
    if cwd is None:
        return
    if not isinstance(cwd, str):
        raise TypeError(f"cwd is a str, not {type(cwd).__name__}")
    if not cwd:
        raise ValueError("cwd is empty; leave it out for the supervisor's own directory")
    if fault := _fault(cwd):
        raise ValueError(f"cwd {_shown(cwd)} {fault}")
    size = len(cwd.encode("utf-8", "surrogateescape"))
    if size > MAX_PATH:
        raise ValueError(f"cwd has {size} bytes; a path has at most {MAX_PATH}")


def _check_env(_: Any, __: Any, env: Mapping[Any, Any] | None) -> None:
    if env is None:
        return
    if not isinstance(env, Mapping):
        raise TypeError(f"env is a mapping of names to values, not {type(env).__name__}")
    for name, value in env.items():
        for text in (name, value):
            if not isinstance(text, (str, bytes)):
                raise TypeError(f"env holds str or bytes, not {type(text).__name__}")
            if fault := _fault(text):
                raise ValueError(f"env entry {_shown(name)} {fault}")
        if not name or ("=" if isinstance(name, str) else b"=") in name:
            raise ValueError(f"{name!r} cannot be the name of an environment variable")


@attrs.frozen
class Command:
    """A program to run as a job.

    Args:
        argv: the program and its arguments; a name without a slash is looked up in PATH.
        cwd: the directory to run in; None is the supervisor's own.
        env: the whole environment; None is the supervisor's own (without its token).
    """

    argv: tuple[str | bytes, ...] = attrs.field(converter=_argv, validator=_check_argv)
    cwd: str | None = attrs.field(default=None, validator=_check_cwd)
    # Environments hold secrets: never shown, never sent to a client.
    env: Mapping[str | bytes, str | bytes] | None = attrs.field(
        default=None, repr=False, validator=_check_env
    )


@attrs.frozen
class JobRequest:
    """One job to start, for `start_many`: what `start` takes, as a value.

    Args:
        work: an async callable, a `Command`, or the name of a registered job.
        arguments: positional arguments of a callable.
        args: arguments by name of a registered job.
        job_id: the job's id; None lets the supervisor choose.
        name: what to call it in lists; None takes the work's own name.
        labels: free text to filter by.
        grace: seconds between `cancel` and `force`.
        notice: seconds in which the body only sees `cancel_requested`.
        timeout: seconds an attempt may run.
        on_disconnect: what becomes of it when its client's connection ends.
        id_conflict_policy: what to do if the id is that of a live job.
        id_reuse_policy: what to do if the id is that of a job that has ended.
        if_remembered: "cancel" honours a cancel that came before; "run" drops it.
    """

    work: Any
    arguments: tuple[Any, ...] = ()
    args: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    job_id: str | None = attrs.field(default=None, kw_only=True)
    name: str | None = attrs.field(default=None, kw_only=True)
    labels: Mapping[str, str] | None = attrs.field(default=None, kw_only=True)
    grace: float | None = attrs.field(default=None, kw_only=True)
    notice: float | None = attrs.field(default=None, kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    on_disconnect: str | None = attrs.field(default=None, kw_only=True)
    id_conflict_policy: str = attrs.field(default="use_existing", kw_only=True)
    id_reuse_policy: str = attrs.field(default="use_existing", kw_only=True)
    if_remembered: str = attrs.field(default="cancel", kw_only=True)


@attrs.frozen(kw_only=True)
class JobFilter:
    """Which jobs are meant; what is None does not narrow. `JobFilter()` means all.

    Args:
        job_ids: these ids.
        state: these states.
        name: this name.
        labels: all of these labels.
        parent_id: children of this job.
    """

    job_ids: tuple[str, ...] | None = None
    state: tuple[JobState, ...] | None = None
    name: str | None = None
    labels: Mapping[str, str] | None = None
    parent_id: str | None = None


@attrs.frozen(kw_only=True)
class CancelRequest:
    """One request to stop a job, as it was accepted.

    Args:
        requester: who asked: a token's name, or "local" in-process.
        reason: what they said, if anything.
        cause: why.
        at: when.
        grace: seconds the job was given between `cancel` and `force`.
        force: whether it was to be killed at once.
    """

    requester: str
    cause: Cause
    at: datetime
    grace: float
    reason: str | None = None
    force: bool = False


@attrs.frozen
class RungTime:
    """When a rung of the ladder began.

    Args:
        rung: which.
        at: when.
    """

    rung: Rung
    at: datetime


@attrs.frozen
class Proof:
    """What was checked before a job was called gone.

    Args:
        means: by what, e.g. "task_exited", "cgroup_empty", "process_group_gone".
        strength: what that is worth.
        detail: what was looked at, in words.
    """

    means: str
    strength: Strength = Strength.CERTAIN
    detail: str = ""


@attrs.frozen(kw_only=True)
class Certificate:
    """The death certificate of a job that was asked to stop.

    Args:
        first_request: the request that began the stop.
        later_requests: the requests that followed (the first 16 of them).
        later_count: how many followed.
        how: how the job ended.
        rungs: when each rung of the ladder began.
        request_to_dead: seconds from the first request to the proof.
        proof: what was checked.
    """

    first_request: CancelRequest
    how: How
    request_to_dead: float
    proof: Proof
    rungs: tuple[RungTime, ...] = ()
    later_requests: tuple[CancelRequest, ...] = ()
    later_count: int = 0


@attrs.frozen(kw_only=True)
class JobErrorInfo:
    """What a job raised, or why it could not be launched.

    Args:
        type: the name of the exception.
        message: its text.
        notes: what was noted on it on its way.
        traceback: where it was raised.
    """

    type: str
    message: str
    notes: tuple[str, ...] = ()
    traceback: str | None = None


@attrs.frozen
class Progress:
    """How far a job says it is.

    Args:
        done: how much is done.
        total: of how much, if it knows.
        message: what it is about.
    """

    done: float
    total: float | None = None
    message: str | None = None


@attrs.frozen(kw_only=True)
class Job:
    """A job as it stood at one moment.

    `seq` is the number of its last event: whoever holds this record may drop events up to it.

    Args:
        id: names it.
        name: what it is called; many jobs may share a name.
        kind: what runs it: "async" or "command".
        state: where it is in its life.
        attempt: which try this is, from 1.
        version: grows with every change of the record.
        seq: the number of its last event.
        created_at: when it was put on record.
        labels: free text to filter by.
        requester: who started it: a token's name, or "local" in-process.
        can_force: whether it can be killed, or only asked.
        grace: seconds between being asked to stop and being killed.
        notice: seconds before that, in which it only sees that it was asked.
        timeout: seconds an attempt may run.
        on_disconnect: what becomes of it when its client's connection ends.
        command: the program and its arguments.
        parent_id: the job that started it.
        started_at: when this attempt began to run.
        ended_at: when it ended.
        duration: seconds from start to end.
        cancel_requested: whether it was asked to stop.
        cause: why it was asked to stop.
        reason: what the one who asked first said.
        rung: the step of the ladder it is on, while it is stopping.
        kill_in: seconds until it is killed.
        why: why it is stuck.
        where: what of it is still alive.
        stuck_since: since when it is stuck.
        restart_at: when the next attempt begins.
        has_successor: whether a replacement waits for its end.
        how: how it ended.
        late: whether its end came after it had been called stuck, or as it was killed.
        result: what it returned, if JSON can hold that and it is not too large.
        result_error: why `result` is not there.
        error: what went wrong.
        exit_code: of the program.
        signal: the signal that killed the program.
        progress: how far it said it was.
        certificate: how it was stopped, once it is gone.
        log_lines: lines it has written.
        log_dropped: the oldest of them, which are no longer kept.
    """

    id: str
    name: str
    kind: str
    state: JobState
    attempt: int
    version: int
    seq: int
    created_at: datetime
    labels: Mapping[str, str] = attrs.field(factory=dict)
    requester: str = "local"
    can_force: bool = False
    grace: float = 0.0
    notice: float = 0.0
    timeout: float | None = None
    on_disconnect: DisconnectPolicy = DisconnectPolicy.KEEP
    command: tuple[str, ...] | None = None
    parent_id: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration: float | None = None
    cancel_requested: bool = False
    cause: Cause | None = None
    reason: str | None = None
    rung: Rung | None = None
    kill_in: float | None = None
    why: str | None = None
    where: tuple[str, ...] = ()
    stuck_since: datetime | None = None
    restart_at: datetime | None = None
    has_successor: bool = False
    how: How | None = None
    late: bool = False
    result: Any = None
    result_error: str | None = None
    error: JobErrorInfo | None = None
    exit_code: int | None = None
    signal: int | None = None
    progress: Progress | None = None
    certificate: Certificate | None = None
    log_lines: int = 0
    log_dropped: int = 0


@attrs.frozen
class JobPage:
    """A page of `list`; `seq` and `instance` are the position to watch from.

    Args:
        jobs: oldest first.
        instance: whose history `seq` counts in.
        seq: the position when the list was begun.
        next_cursor: asks for the next page; None on the last.
    """

    jobs: tuple[Job, ...]
    instance: str
    seq: int
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)


@attrs.frozen(kw_only=True)
class CancelReply:
    """The answer to one cancel request.

    Args:
        outcome: what this request did.
        job: the record at the moment of answering; None for an id nobody knows, and where it was
            left out of an answer about very many.
        job_id: the id that was named.
        seq: the supervisor's event position when it was accepted.
        first_request: the request that began the stop.
        certificate: the death certificate, once there is one.
        durable: whether the store could keep the request (it took effect in any case).
        successor_dropped: whether the request dropped a replacement that waited for the end.
    """

    outcome: CancelOutcome
    job_id: str
    seq: int
    job: Job | None = None
    first_request: CancelRequest | None = None
    certificate: Certificate | None = None
    durable: bool = True
    successor_dropped: bool = False


@attrs.frozen(kw_only=True)
class JobEvent:
    """One change of a job's state; `seq` has no holes within an `instance`.

    Args:
        instance: whose history `seq` counts in.
        seq: its number.
        time: when.
        type: what happened, such as "job.started".
        job_id: to which job.
        attempt: in which attempt of it.
        state: the job's state after it.
        data: what else there is to say, by type.
        parent_id: the job that started that job.
    """

    instance: str
    seq: int
    time: datetime
    type: str
    job_id: str
    attempt: int
    state: JobState
    data: Mapping[str, Any] = attrs.field(factory=dict)
    parent_id: str | None = None


@attrs.frozen(kw_only=True)
class LogEntry:
    """One line of a job's output; `n` counts the job's lines from 1.

    `base64` holds the line's bytes when they were not UTF-8 (`text` then has U+FFFD in it).

    Args:
        job_id: whose line it is.
        attempt: of which attempt.
        n: its number.
        time: when it was read.
        stream: "stdout", "stderr" or "log".
        text: the line, without its end.
        base64: its bytes.
    """

    job_id: str
    attempt: int
    n: int
    time: datetime
    stream: str
    text: str
    base64: str | None = None


@attrs.frozen(kw_only=True)
class LogPage:
    """Lines of a job's log; ask again with `since=next` until `eof`.

    Args:
        entries: in their order.
        next: what to give as `since` next time.
        eof: whether no line can follow any more.
    """

    entries: tuple[LogEntry, ...]
    next: int
    eof: bool


@attrs.frozen(kw_only=True)
class ProgressEvent:
    """What a job said of its progress; the latest is on its record.

    Args:
        job_id: which job.
        attempt: which attempt of it.
        progress: what it said.
    """

    job_id: str
    attempt: int
    progress: Progress


@attrs.frozen(kw_only=True)
class LogsLagged:
    """Lines `from_n` to `to_n` were not passed on to a slow watcher; `logs` may still have them.

    Args:
        job_id: whose lines.
        from_n: the first of them.
        to_n: the last of them.
    """

    job_id: str
    from_n: int
    to_n: int


@attrs.frozen(kw_only=True)
class EventsLost:
    """A client's watch could not be taken up where it was: list the jobs again.

    Either the server no longer has the events, or it is another one (its `instance` is new). The
    watch goes on by itself.

    Args:
        instance: the history that the watch goes on in.
        after_seq: the last event before the gap, counted in the history that was watched.
        resumes_at: the position the watch goes on from, counted in `instance`.
    """

    instance: str
    after_seq: int
    resumes_at: int


@attrs.frozen(kw_only=True)
class Connected:
    """A client has a connection; see `connect(on_change=...)`.

    Args:
        instance: the history of the server it speaks to.
        session_id: names the connection in the server's log.
        resumed: lingering jobs of the connection before that are this one's now.
        outage: seconds without a connection; None for the first one.
    """

    instance: str
    session_id: str
    resumed: int = 0
    outage: float | None = None


@attrs.frozen(kw_only=True)
class Disconnected:
    """A client has lost its connection; see `connect(on_change=...)`.

    Args:
        reason: why, in words.
        reconnects: whether it will try to get another; False: this is the end.
    """

    reason: str
    reconnects: bool


@attrs.frozen(kw_only=True)
class Tombstone:
    """A cancel that came before its job: a start with this id will be born cancelled."""

    job_id: str
    reason: str | None
    requester: str
    recorded_at: datetime
    expires_at: datetime


@attrs.frozen(kw_only=True)
class Statistics:
    """Counters of a supervisor at one moment.

    Args:
        instance: names its history.
        seq: the position of its newest event.
        jobs: how many there are, by state.
        slots: how many may run at a time; None is any number.
        slots_used: how many do.
        tombstones: cancels that are remembered for jobs that have yet to come.
        watchers: open watches.
        log_bytes: what the kept logs hold.
        accepting: whether it takes new jobs.
    """

    instance: str
    seq: int
    jobs: Mapping[str, int]
    slots: int | None = None
    slots_used: int
    tombstones: int
    watchers: int
    log_bytes: int
    accepting: bool

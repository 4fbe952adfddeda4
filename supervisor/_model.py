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
    "DisconnectPolicy",
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
    """When a rung of the ladder began."""

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
    """What a job raised, or why it could not be launched."""

    type: str
    message: str
    notes: tuple[str, ...] = ()
    traceback: str | None = None


@attrs.frozen
class Progress:
    """How far a job says it is."""

    done: float
    total: float | None = None
    message: str | None = None


@attrs.frozen(kw_only=True)
class Job:
    """A job as it stood at one moment.

    `seq` is the number of its last event: whoever holds this record may drop events up to it.
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
    """A page of `list`; `seq` and `instance` are the position to watch from."""

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
        job: the record at the moment of answering; None for an id nobody knows.
        job_id: the id that was named.
        seq: the supervisor's event position when it was accepted.
        first_request: the request that began the stop.
        certificate: the death certificate, once there is one.
        durable: False if the store could not keep the request (it took effect all the same).
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
    """One change of a job's state; `seq` has no holes within an `instance`."""

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
    """Lines of a job's log; ask again with `since=next` until `eof`."""

    entries: tuple[LogEntry, ...]
    next: int
    eof: bool


@attrs.frozen(kw_only=True)
class ProgressEvent:
    """What a job said of its progress; the latest is on its record."""

    job_id: str
    attempt: int
    progress: Progress


@attrs.frozen(kw_only=True)
class LogsLagged:
    """Lines `from_n` to `to_n` were not passed on to a slow watcher; `logs` may still have them."""

    job_id: str
    from_n: int
    to_n: int


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
    """Counters of a supervisor at one moment."""

    instance: str
    seq: int
    jobs: Mapping[str, int]
    slots: int | None = None
    slots_used: int
    tombstones: int
    watchers: int
    log_bytes: int
    accepting: bool

"""The inner records: one small frozen record per state, holding the data that state has.

They are `msgspec.Struct`s because a job makes three of them in its life and a frozen Struct is
made several times faster than a frozen attrs class (`benchmarks/records.py` measures it).
`Job`, the wide public view, is assembled from them in `_view`.

A record is never changed; `version` counts a job's records, so that a store can compare and swap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import msgspec

from ._model import (
    Cause,
    DisconnectPolicy,
    How,
    JobErrorInfo,
    JobState,
    Progress,
    Proof,
    Rung,
)

__all__ = [
    "Backoff",
    "Cancelling",
    "Exit",
    "Exited",
    "Final",
    "Instant",
    "JobSpec",
    "LetThrough",
    "NeverStarted",
    "Pending",
    "Published",
    "Raised",
    "Record",
    "Request",
    "Returned",
    "Running",
    "Starting",
    "Stop",
    "Stuck",
    "Vanished",
]


class Instant(msgspec.Struct, frozen=True, gc=False):
    """A moment on two clocks: Trio's for deadlines and durations, the wall's to show and save."""

    mono: float
    wall: float


class JobSpec(msgspec.Struct, frozen=True, eq=False):
    """What was asked for; never changes during an attempt.

    `identity` is what makes two requests the same one where that is not `work` and `arguments`: of
    a registered job its name and what it was given.
    """

    id: str
    name: str
    kind: str
    work: Any
    arguments: tuple[Any, ...]
    identity: Any
    grace: float
    notice: float
    timeout: float | None
    can_force: bool
    labels: Mapping[str, str]
    on_disconnect: DisconnectPolicy
    requester: str
    created: Instant


# --- how an attempt ended, before the lifecycle says what that means -------------------------


class Returned(msgspec.Struct, frozen=True):
    """The body returned a value."""

    value: Any
    proof: Proof


class Raised(msgspec.Struct, frozen=True):
    """The body raised something other than the cancellation."""

    error: JobErrorInfo
    proof: Proof


class LetThrough(msgspec.Struct, frozen=True):
    """The body let the cancellation through."""

    proof: Proof


class Exited(msgspec.Struct, frozen=True):
    """A process ended: with an exit code, or by a signal."""

    code: int | None
    signal: int | None
    proof: Proof


class NeverStarted(msgspec.Struct, frozen=True):
    """The body was never entered: a stop came first, or it could not be launched (`error`)."""

    error: JobErrorInfo | None
    proof: Proof


class Vanished(msgspec.Struct, frozen=True):
    """It was found dead, and how it ended could not be learned."""

    error: JobErrorInfo
    proof: Proof


Exit: TypeAlias = Returned | Raised | LetThrough | Exited | NeverStarted | Vanished


# --- the stop of a job -----------------------------------------------------------------------


class Request(msgspec.Struct, frozen=True, gc=False):
    """One accepted request to stop; `limit` is when `force` is due at the latest (Trio's clock)."""

    requester: str
    reason: str | None
    cause: Cause
    at: Instant
    grace: float
    force: bool
    limit: float = math.inf


class Stop(msgspec.Struct, frozen=True, gc=False):
    """A stop under way: who asked, on which rung it is, and when the next one is due.

    `kill_at` is when `force` is due (Trio's clock) and only ever moves earlier (I5);
    `rung_ends` is when the present rung ends.

    Not tracked by the garbage collector: in a bulk cancel, walking a hundred thousand of these is
    what holds up the loop. A cycle could only lead through `successor`, which is let go of in time.
    """

    cause: Cause
    first: Request
    later: tuple[Request, ...]
    later_count: int
    rung: Rung
    rungs: tuple[tuple[Rung, Instant], ...]
    rung_ends: float
    kill_at: float
    grace: float
    successor: JobSpec | None = None


# --- one record per state ----------------------------------------------------------------------


class Pending(msgspec.Struct, frozen=True):
    state: ClassVar[JobState] = JobState.PENDING
    attempt: int
    version: int


class Starting(msgspec.Struct, frozen=True):
    state: ClassVar[JobState] = JobState.STARTING
    attempt: int
    version: int


class Running(msgspec.Struct, frozen=True):
    state: ClassVar[JobState] = JobState.RUNNING
    attempt: int
    version: int
    started: Instant


class Cancelling(msgspec.Struct, frozen=True):
    """`started` is None as long as the body was not entered."""

    state: ClassVar[JobState] = JobState.CANCELLING
    attempt: int
    version: int
    started: Instant | None
    stop: Stop


class Stuck(msgspec.Struct, frozen=True):
    state: ClassVar[JobState] = JobState.STUCK
    attempt: int
    version: int
    started: Instant | None
    stop: Stop
    why: str
    where: tuple[str, ...]
    since: Instant


class Backoff(msgspec.Struct, frozen=True):
    """`last` and `how` tell how the attempt that is over ended."""

    state: ClassVar[JobState] = JobState.BACKOFF
    attempt: int
    version: int
    started: Instant | None
    last: Exit
    how: How
    restart_at: Instant


class Final(msgspec.Struct, frozen=True):
    state: JobState
    attempt: int
    version: int
    started: Instant | None
    ended: Instant
    exit: Exit
    how: How
    stop: Stop | None = None
    late: bool = False
    result: Any = None
    progress: Progress | None = None


Record: TypeAlias = Pending | Starting | Running | Cancelling | Stuck | Backoff | Final

Published: TypeAlias = tuple[int, float, str, JobSpec, Record]
"""An event as it is kept: number, wall time, type, job, and the record that it tells of.

The public `JobEvent` is made when somebody reads it.
"""

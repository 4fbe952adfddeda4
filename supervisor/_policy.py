"""Rules that are chosen per job, as pure functions: defaults, ids that exist already.

The names of the id policies are Temporal's (WorkflowIdConflictPolicy, WorkflowIdReusePolicy).
"""

from __future__ import annotations

import re
from enum import Enum, auto

from ._model import ConflictPolicy, JobState, ReusePolicy
from ._records import JobSpec

__all__ = [
    "DEFAULT_GRACE",
    "JOB_ID",
    "IdDecision",
    "decide_conflict",
    "decide_reuse",
    "same_request",
]

DEFAULT_GRACE = 10.0
"""Seconds between `cancel` and `force` unless the job says otherwise (as `docker stop` has it)."""

JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)
"""What a job id may be; use `fullmatch`."""


class IdDecision(Enum):
    """What a start with an id that exists comes to."""

    USE_EXISTING = auto()
    CONFLICT = auto()
    REPLACE = auto()
    NEXT_ATTEMPT = auto()


def same_request(one: JobSpec, other: JobSpec) -> bool:
    """Whether two specs ask for the same work, so that the second is a retry of the first.

    The same name and arguments, or the same command, cwd and env, or the same callable.
    """
    try:
        if one.identity is not None or other.identity is not None:
            return bool(one.identity == other.identity)
        return bool(one.work == other.work and one.arguments == other.arguments)
    except Exception:  # an argument whose comparison fails is not equal to anything
        return False


def decide_conflict(policy: ConflictPolicy, *, same: bool) -> IdDecision:
    """The id belongs to a live job (`cancelling` and `stuck` are live)."""
    if policy is ConflictPolicy.REPLACE:
        return IdDecision.REPLACE
    if policy is ConflictPolicy.USE_EXISTING and same:
        return IdDecision.USE_EXISTING
    return IdDecision.CONFLICT


def decide_reuse(policy: ReusePolicy, ended: JobState, *, same: bool) -> IdDecision:
    """The id belongs to a job that has ended."""
    match policy:
        case ReusePolicy.ALLOW:
            return IdDecision.NEXT_ATTEMPT
        case ReusePolicy.ALLOW_FAILED_ONLY if ended is not JobState.SUCCEEDED:
            return IdDecision.NEXT_ATTEMPT
        case ReusePolicy.USE_EXISTING if same:
            return IdDecision.USE_EXISTING
        case _:
            return IdDecision.CONFLICT

"""Exit codes, and the one line that says what went wrong.

0 done · 1 the job failed · 2 usage · 3 cancelled by another · 4 no such job · 5 the wait timed
out · 69 cannot connect, or cannot listen · 77 refused · 130 own Ctrl+C · 141 nobody reads the
output · 143 TERM. 69 and 77 are EX_UNAVAILABLE and EX_NOPERM of sysexits.h; from 128 on they are
what a shell makes of a death by signal.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from .._errors import (
    ConnectionLost,
    Forbidden,
    InvalidArguments,
    JobIdConflict,
    JobNotFound,
    Overloaded,
    ProtocolError,
    ReplayGone,
    ShuttingDown,
    SupervisorError,
    Unauthenticated,
    UnknownJobName,
    Unsupported,
    VersionNotSupported,
)
from .._model import Job, JobState

__all__ = ["CliError", "Exit", "PipeClosed", "code_of_job", "explain", "single", "usage_error"]


class Exit(IntEnum):
    """What the command's exit code says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    NO_SUCH_JOB = 4
    TOO_SLOW = 5
    UNAVAILABLE = 69
    REFUSED = 77
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


class CliError(Exception):
    """Something the user has to know, in one line, and the code to leave with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class PipeClosed(Exception):
    """Nobody reads our output any more.

    Not an OSError: click would make its own exit of that.
    """


def usage_error(message: str) -> CliError:
    """The command was given what it cannot use."""
    return CliError(message, Exit.USAGE)


_CODES: tuple[tuple[type[SupervisorError], Exit], ...] = (
    (JobNotFound, Exit.NO_SUCH_JOB),
    (Forbidden, Exit.REFUSED),
    (ConnectionLost, Exit.UNAVAILABLE),
    (ShuttingDown, Exit.UNAVAILABLE),
    (Overloaded, Exit.UNAVAILABLE),
    (ReplayGone, Exit.UNAVAILABLE),
    (VersionNotSupported, Exit.UNAVAILABLE),
    (ProtocolError, Exit.UNAVAILABLE),
    (InvalidArguments, Exit.USAGE),
    (UnknownJobName, Exit.USAGE),
    (JobIdConflict, Exit.USAGE),
    (Unsupported, Exit.USAGE),
    (SupervisorError, Exit.FAILED),
)


FOR_PROGRAMS = "; connect again and watch from `since`"
"""What the end of a watch says to who writes one."""


def explain(error: BaseException) -> CliError | None:
    """What to tell of an error that is the user's business; None for a fault of ours."""
    if isinstance(error, CliError):
        return error
    if isinstance(error, Unauthenticated):
        return CliError(_with_hint(error), Exit.REFUSED)
    if isinstance(error, InvalidArguments) and error.data.get("path") == "$.token":
        return CliError(_with_hint(error), Exit.USAGE)
    for cls, code in _CODES:
        if isinstance(error, cls):
            return CliError(str(error).removesuffix(FOR_PROGRAMS), code)
    if isinstance(error, OSError):
        return CliError(str(error), Exit.FAILED)
    return None


def _with_hint(error: SupervisorError) -> str:
    """What was wrong with the token, and where a user of the shell gives another."""
    return f"{str(error).rstrip('.')}; use --token-file or TRIO_SUPERVISOR_TOKEN"


def single(error: BaseException) -> BaseException:
    """The error that a group is about: an interrupt, else a fault of ours, else the user's."""
    return min(_leaves(error), key=_rank)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _rank(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 0
    return 1 if explain(error) is None else 2


def code_of_job(job: Job) -> Exit:
    """What the end of a job means for a command that waited for it."""
    match job.state:
        case JobState.SUCCEEDED:
            return Exit.DONE
        case JobState.CANCELLED:
            return Exit.CANCELLED
    return Exit.FAILED

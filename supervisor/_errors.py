"""The exception tree: what can go wrong, and who must act.

Every error has a `kind`, the name it carries on the wire, and says whether the same request may
succeed later (`retryable`). Errors about a *call* derive from `SupervisorError`; the three that
tell how a *job* ended, raised by `JobHandle.result()`, derive from `UnsuccessfulJob`.

Waiting too long is Trio's own `trio.TooSlowError`, here as anywhere in Trio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ._model import Job

__all__ = [
    "AmbiguousJobId",
    "ConnectionLost",
    "Forbidden",
    "InvalidArguments",
    "JobCancelled",
    "JobFailed",
    "JobIdConflict",
    "JobNotFound",
    "JobTimedOut",
    "LaunchError",
    "Overloaded",
    "ProtocolError",
    "ReplayGone",
    "RequestCancelled",
    "ShuttingDown",
    "SupervisorError",
    "Unauthenticated",
    "UnknownJobName",
    "UnsuccessfulJob",
    "Unsupported",
    "VersionNotSupported",
]


class SupervisorError(Exception):
    """Base of every error about a call to a supervisor.

    Attributes:
        kind: the error's name on the wire (`data.kind`).
        retryable: whether the same call may succeed later without a change; what the class says,
            unless the peer said otherwise of this very call.
        data: what else the wire says about it, as JSON values.
    """

    kind: ClassVar[str] = "internal_error"
    retryable: bool = False

    def __init__(self, message: str, **data: Any) -> None:
        super().__init__(message)
        self.data: dict[str, Any] = data

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.data, self.retryable)


def _rebuild(
    cls: type[SupervisorError], args: tuple[Any, ...], data: dict[str, Any], retryable: bool
) -> SupervisorError:
    error = cls.__new__(cls)
    Exception.__init__(error, *args)
    error.data = data
    error.retryable = retryable
    return error


class InvalidArguments(SupervisorError, ValueError):
    """An argument is of the wrong type or out of range; `data["path"]` says which (caller acts)."""

    kind = "invalid_params"


class JobNotFound(SupervisorError, LookupError):
    """No job, live or remembered, has this id (caller acts)."""

    kind = "job_not_found"


class AmbiguousJobId(JobNotFound):
    """An id prefix fits several jobs; `data["matches"]` lists some of them (caller acts)."""


class JobIdConflict(SupervisorError):
    """The id belongs to another job, or the policy forbids to use it again (caller acts)."""

    kind = "job_id_conflict"


class UnknownJobName(SupervisorError, LookupError):
    """No job of this name is registered; `data["known"]` lists those that are (caller acts)."""

    kind = "unknown_job_name"


class Unsupported(SupervisorError):
    """Specified, but not offered by this supervisor or on this machine."""

    kind = "unsupported"


class VersionNotSupported(SupervisorError):
    """The peer speaks no version of the protocol that we do."""

    kind = "version_not_supported"


class Overloaded(SupervisorError):
    """A bound was reached; try again after `data["retry_after"]` seconds."""

    kind = "overloaded"
    retryable = True


class ShuttingDown(SupervisorError):
    """The supervisor takes no new jobs."""

    kind = "shutting_down"
    retryable = True


class ReplayGone(SupervisorError):
    """The events asked for are no longer, or not yet, here: list again, then watch from there."""

    kind = "replay_gone"


class RequestCancelled(SupervisorError):
    """The caller ended its own wait with `$/cancelRequest`; the job lives on."""

    kind = "request_cancelled"


class Unauthenticated(SupervisorError):
    """No token, or a wrong one."""

    kind = "unauthenticated"


class Forbidden(SupervisorError):
    """The token's scopes do not cover this."""

    kind = "forbidden"


class ProtocolError(SupervisorError):
    """The peer broke the rules of the control channel."""

    kind = "protocol_error"


class ConnectionLost(SupervisorError):
    """The connection ended before the answer came; whether the request took effect is unknown."""

    kind = "connection_lost"
    retryable = True


class LaunchError(SupervisorError):
    """A launcher could not do its work (the machine's operator acts)."""

    kind = "launch_error"


class UnsuccessfulJob(Exception):
    """A job ended otherwise than by success.

    Attributes:
        job: the final record.
    """

    def __init__(self, message: str, job: Job) -> None:
        super().__init__(message)
        self.job = job

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.job)


class JobFailed(UnsuccessfulJob):
    """The job raised, exited with another code than 0, or could not be launched."""


class JobCancelled(UnsuccessfulJob):
    """The job was cancelled, and is gone; its certificate says how."""


class JobTimedOut(UnsuccessfulJob):
    """The job passed its deadline, and is gone."""

"""What the body of a job sees: `current_job()`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import ContextVar

__all__ = ["JobContext", "current_job"]


class JobContext(ABC):
    """The job from the inside."""

    __slots__ = ()

    @property
    @abstractmethod
    def id(self) -> str:
        """The job's id."""

    @property
    @abstractmethod
    def attempt(self) -> int:
        """Which execution this is, from 1."""

    @property
    @abstractmethod
    def cancel_requested(self) -> bool:
        """Whether the job was asked to stop. With `notice=` this comes before the cancellation."""

    @property
    @abstractmethod
    def reason(self) -> str | None:
        """What the one who asked for the stop said."""

    @abstractmethod
    async def wait_cancel_requested(self) -> None:
        """Return once the job is asked to stop."""

    @abstractmethod
    def progress(
        self, done: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell how far the job is; the latest is kept on the record."""

    @abstractmethod
    def log(self, text: str) -> None:
        """Write lines to the job's log."""


CURRENT: ContextVar[JobContext] = ContextVar("supervisor.current_job")


def current_job() -> JobContext:
    """The job whose body is running, in the body or in a task that it started.

    Raises:
        RuntimeError: no job's body is running here.
    """
    try:
        return CURRENT.get()
    except LookupError:
        raise RuntimeError("current_job() works only in the body of a job") from None

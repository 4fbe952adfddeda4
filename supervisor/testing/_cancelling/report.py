"""What `cancel_everywhere` says: what each cancellation came to, or what is wrong."""

from __future__ import annotations

import attrs

from .._schedules.where import Place
from ..errors import KitError
from .cleanup import Cut
from .leaks import Leak

__all__ = [
    "CancellationUnsafe",
    "CancelledAt",
    "CancelledEverywhere",
    "NothingToCancel",
    "TooManyCheckpoints",
]


@attrs.frozen
class CancelledAt:
    """One run, cancelled at one checkpoint.

    Attributes:
        number: of the checkpoint, from 1; 0 if it was cancelled before it began.
        way: "scope", "deadline" or "late".
        place: the source line of the checkpoint; with 0, of the scenario.
        ended: how the scenario ended: "cancelled"; "returned", which is to say that it swallowed
            the cancellation, or had nothing left to wait for; or "raised", with an exception that
            `may_raise` allows.
        detail: the value or the exception, as text; empty if it was cancelled.
    """

    number: int
    way: str
    place: Place
    ended: str
    detail: str = ""

    def __str__(self) -> str:
        detail = f" {self.detail}" if self.detail else ""
        return f"{self.number:>4}  {self.way:<8}  {self.place}: {self.ended}{detail}"


@attrs.frozen
class CancelledEverywhere:
    """A scenario that can be cancelled anywhere; `str` lists every step.

    Attributes:
        checkpoints: how many it has when it is not disturbed.
        steps: what each cancellation came to, in the order of the checkpoints.
        forever: whether it waits for ever when nothing cancels it.
        unseen: what could not be looked at on this system, with the reasons.
    """

    checkpoints: int
    steps: tuple[CancelledAt, ...]
    forever: bool = False
    unseen: tuple[str, ...] = ()

    def __str__(self) -> str:
        runs = f"{len(self.steps)} cancellation{'s' * (len(self.steps) != 1)}"
        of = f"{self.checkpoints} checkpoint{'s' * (self.checkpoints != 1)}"
        lines = [f"safe after {runs} at {of}", *map(str, self.steps)]
        return "\n".join([*lines, *(f"not looked at: {each}" for each in self.unseen)])


class CancellationUnsafe(AssertionError):
    """A scenario was cancelled at one checkpoint, and something was not as it must be.

    The cause (`__cause__`) is what the check or the scenario raised, if one did.

    Attributes:
        number: of the checkpoint, from 1; 0 if it was cancelled before it began, or not at all.
        way: "scope", "deadline" or "late"; "" if something was wrong without any cancellation.
        place: the source line of the checkpoint; None without a cancellation.
        problems: what was wrong, each in words.
        left: what was left behind.
        cut: the cleanups that were cut short.
    """

    __module__ = "supervisor.testing"

    def __init__(
        self,
        message: str,
        *,
        number: int = 0,
        way: str = "",
        place: Place | None = None,
        problems: tuple[str, ...] = (),
        left: tuple[Leak, ...] = (),
        cut: tuple[Cut, ...] = (),
    ) -> None:
        super().__init__(message)
        self.number = number
        self.way = way
        self.place = place
        self.problems = problems
        self.left = left
        self.cut = cut


class NothingToCancel(KitError, ValueError):
    """The scenario has no checkpoint, so that no cancellation can ever reach it."""


class TooManyCheckpoints(KitError, ValueError):
    """The scenario has more checkpoints than it may; each of them would cost a run for each way."""

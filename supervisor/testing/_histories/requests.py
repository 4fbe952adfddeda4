"""Who asked what about a job, when, and what the answer was."""

from __future__ import annotations

from typing import TypeAlias

import attrs
import trio

from .commands import Cancel, CancelAll, Command, End, Get, Raise, Shutdown, Start, Wait
from .story import in_words

__all__ = ["Asked", "Question", "Request", "Telling"]

Question: TypeAlias = Start | Cancel | Get | Wait
"""What somebody asks about one job."""

Request: TypeAlias = Question | CancelAll | Shutdown | End | Raise
"""What the answers about one job depend on."""


@attrs.define(eq=False)
class Telling:
    """A command that was played, and what came of it so far."""

    command: Command
    answer: str | None = None
    is_done: trio.Event = attrs.field(factory=trio.Event)

    def __str__(self) -> str:
        said = in_words(self.command)
        return said if self.answer is None else f"{said} -> {self.answer}"


@attrs.define(eq=False)
class Asked:
    """One request about one job.

    Attributes:
        process: who asked; one asks after the other.
        job_id: about which job.
        request: what.
        call: its place among all calls and answers.
        at: when, on Trio's clock.
        work: which work was to be started, or to end.
        back: the place of the answer; None if there was none.
        until: when the answer came.
        answer: what it was.
    """

    process: str
    job_id: str
    request: Request
    call: int
    at: float
    work: int = -1
    back: int | None = None
    until: float = float("inf")
    answer: object = None

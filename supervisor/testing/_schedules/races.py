"""What a search has to say: the race that it found, or what it has covered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from .schedule import Schedule


class RaceFound(AssertionError):
    """A schedule under which the scenario fails; what it raised is the `__cause__`.

    Attributes:
        schedule: the smallest schedule found; `str()` of it is the text for `replay`.
        story: what happened under it, in plain text.
        runs: how many schedules were run before.
    """

    __module__ = "supervisor.testing"

    def __init__(self, message: str, schedule: Schedule, story: str, runs: int) -> None:
        super().__init__(message)
        self.schedule = schedule
        self.story = story
        self.runs = runs

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.schedule, self.story, self.runs)


@attrs.frozen(kw_only=True)
class Explored:
    """What a search that found nothing has covered.

    Attributes:
        runs: how many schedules were run.
        exhausted: whether these were all there are within the bound.
        preemptions: the bound.
        choice_points: the most that a run had.
        seconds: how long it took.
        guarantee: for random priorities, the least probability with which one run finds a bug of
            the depth that was asked for; None for a bounded search.
    """

    runs: int
    exhausted: bool
    preemptions: int
    choice_points: int
    seconds: float
    guarantee: float | None = None

    def __str__(self) -> str:
        bound = f"up to {self.preemptions} preemption{'s' * (self.preemptions != 1)}"
        what = "all" if self.exhausted else "not all"
        if self.guarantee is not None:
            what, bound = "", f"random priorities, {self.guarantee:.2g} each for a bug that deep"
        told = f"{what} schedules with {bound}" if what else bound
        return (
            f"{self.runs:,} runs ({told}; at most {self.choice_points} choice points), no failure"
        )

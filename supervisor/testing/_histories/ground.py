"""What is really so: who is alive, and who was ever entered. The works write, the checks read."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .works import Work

__all__ = ["Attempt", "Ground"]

Attempt: TypeAlias = tuple[str, int]
"""A job's id, and which execution of it."""


class Ground:
    """The ground truth of one play.

    Attributes:
        alive: how many bodies of an attempt are alive.
        entered: how often its body was entered.
        won: attempts that a cancel reached before they began.
        works: everything that was ever to be run.
        violations: what a body saw: raised there, it would only be the failure of a job.
    """

    def __init__(self) -> None:
        self.alive: dict[Attempt, int] = defaultdict(int)
        self.entered: dict[Attempt, int] = defaultdict(int)
        self.won: set[Attempt] = set()
        self.works: list[Work] = []
        self.words = itertools.count(1)
        self.violations: list[tuple[str, str]] = []

    def enter(self, attempt: Attempt) -> None:
        """A body of this attempt begins."""
        if attempt in self.won:
            self.violations.append(("I2", f"{attempt} was entered after its cancel had won"))
        if self.entered[attempt]:
            self.violations.append(("I6", f"{attempt} was entered twice"))
        self.entered[attempt] += 1
        self.alive[attempt] += 1

    def leave(self, attempt: Attempt) -> None:
        """That body is gone."""
        self.alive[attempt] -= 1

"""Choosers: what to do at each choice point of a run."""

from __future__ import annotations

from collections.abc import Sequence

from .control import Chooser
from .tasks import Task

Deviations = tuple[tuple[int, int], ...]
"""Preemptions in their order: (choice points passed since the last one, option taken there)."""


class ByDeviations:
    """Option 0 everywhere, but at the given choice points.

    Attributes:
        unmet: the deviations that the run has not come to.
        missing: the number of the first one whose option was not there, or None.
    """

    def __init__(self, deviations: Sequence[tuple[int, int]], *, wrap: bool = False) -> None:
        self.unmet = list(reversed(deviations))
        self.missing: int | None = None
        self._wrap = wrap
        self._taken = 0
        self._gap = self.unmet[-1][0] if self.unmet else -1

    def choose(self, ready: list[Task], can_pass: bool) -> int:
        if self._gap != 0:
            self._gap -= 1
            return 0
        _, option = self.unmet.pop()
        self._taken += 1
        self._gap = self.unmet[-1][0] if self.unmet else -1
        count = len(ready) + can_pass
        if option < count:
            return option
        if self._wrap:
            return 1 + (option - 1) % (count - 1) if count > 1 else 0
        if self.missing is None:
            self.missing = self._taken
        return 0


class Recorder:
    """Asks another chooser, and keeps what it chose as deviations."""

    def __init__(self, inner: Chooser) -> None:
        self._inner = inner
        self._gap = 0
        self._deviations: list[tuple[int, int]] = []

    @property
    def deviations(self) -> Deviations:
        return tuple(self._deviations)

    def choose(self, ready: list[Task], can_pass: bool) -> int:
        option = self._inner.choose(ready, can_pass)
        if option:
            self._deviations.append((self._gap, option))
            self._gap = 0
        else:
            self._gap += 1
        return option

"""What happened in a run, step by step, for its story."""

from __future__ import annotations

from collections import Counter

import attrs

from .tasks import Task, short_name
from .where import where


@attrs.frozen
class Move:
    """One choice and what came of it.

    Attributes:
        who: the task that went on; "" if time passed instead.
        instead: the task that could have gone on, if this was a preemption.
        stood: where that task stood.
        seconds: how much time passed.
        at: the time of the scenario's clock, in seconds.
        to: where the task stood after its step; "" if it ended.
    """

    who: str
    instead: str
    stood: str
    seconds: float
    at: float
    to: str


class Recording:
    """A watcher that keeps everything; slow, so only for runs that are told of."""

    def __init__(self) -> None:
        self.moves: list[Move] = []
        self._tasks: dict[Task, str] = {}
        self._counts: Counter[str] = Counter()
        self._clock = 0.0
        self._open: tuple[Task | None, str, str, float] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks, in the order in which they first went on or were ready."""
        return tuple(self._tasks.values())

    def chosen(
        self, ready: list[Task], can_pass: bool, option: int, task: Task | None, is_choice: bool
    ) -> None:
        self._close()
        for each in sorted(ready, key=lambda task: task._counter):
            self._name(each)
        instead = stood = ""
        if option:
            instead = self._name(ready[0])
            stood = str(where(ready[0]) or "its beginning")
        self._open = (task, instead, stood, 0.0)

    def jumped(self, seconds: float) -> None:
        """Time passed; as a choice (`chosen` came before), or because every task waited."""
        if self._open is not None and self._open[0] is None:
            _, instead, stood, _ = self._open
            self._open = None
        else:
            self._close()
            instead = stood = ""
        self.moves.append(Move("", instead, stood, seconds, self._clock, ""))
        self._clock += seconds

    def finish(self) -> None:
        """The run is over."""
        self._close()

    def _close(self) -> None:
        """The task that went on has made its step: see where it stands now."""
        if self._open is None:
            return
        task, instead, stood, seconds = self._open
        self._open = None
        assert task is not None
        to = str(where(task) or "")
        self.moves.append(Move(self._name(task), instead, stood, seconds, self._clock, to))

    def _name(self, task: Task) -> str:
        known = self._tasks.get(task)
        if known is None:
            short = short_name(task)
            self._counts[short] += 1
            known = short if self._counts[short] == 1 else f"{short}#{self._counts[short]}"
            self._tasks[task] = known
        return known

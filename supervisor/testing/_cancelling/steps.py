"""Counts the checkpoints of a run, and cancels at one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from .._schedules.where import Place, where
from .cleanup import Cleanups

__all__ = ["Steps"]


class Steps(trio.abc.Instrument):
    """Follows the tasks below one scope from step to step.

    A checkpoint is where one of them hands over to Trio. There the scope is cancelled, so that a
    task that waits is woken at that very line, and a task that only let others go on finds itself
    cancelled when it comes back. Or, `late`, just before it comes back, so that this line is passed
    as if nothing had happened, and the next one finds it cancelled; 0 is before the first step.

    Attributes:
        count: how many checkpoints there were before the scope was cancelled.
        place: where the last one was that was asked for, None if that was not reached.
        places: where each one was, if all were to be kept.
        error: what went wrong in here, if anything did.
    """

    def __init__(
        self,
        at: int,
        cancel: Callable[[trio.CancelScope, int], None],
        *,
        late: bool = False,
        keeps_all: bool = False,
        cleanups: Cleanups | None = None,
    ) -> None:
        self.count = 0
        self.place: Place | None = None
        self.places: list[Place] = []
        self.error: Exception | None = None
        self._at = at
        self._cancel = cancel
        self._late = late
        self._coming_back: trio.lowlevel.Task | None = None
        self._keeps_all = keeps_all
        self._cleanups = cleanups
        self._below: set[trio.lowlevel.Task] = set()
        self._scope: trio.CancelScope | None = None

    @contextmanager
    def counted(self, scope: trio.CancelScope) -> Iterator[None]:
        """Within this scope, this task and those that it starts count."""
        with scope:
            self._below.add(trio.lowlevel.current_task())
            self._scope = scope
            if self._late and not self._at:
                self._cancel(scope, 0)
            try:
                yield
            finally:
                self._scope = None
                self._below.clear()

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        nursery = task.parent_nursery
        if nursery is not None and nursery.parent_task in self._below:
            self._below.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._below.discard(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._coming_back and self._scope is not None:
            self._coming_back = None
            with self._kept():
                self._cancel(self._scope, self._at)
        if self._cleanups is not None and task in self._below:
            with self._kept():
                self._cleanups.before_step(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        with self._kept():
            if self._cleanups is not None:
                self._cleanups.after_step()
            if task in self._below and self._scope is not None:
                self._handed_over(task, self._scope)

    def _handed_over(self, task: trio.lowlevel.Task, scope: trio.CancelScope) -> None:
        if self.place is not None or scope.cancel_called:
            return
        self.count += 1
        if self._keeps_all:
            self.places.append(_place(task))
        if self.count == self._at:
            self.place = _place(task)
            if self._late:
                self._coming_back = task
            else:
                self._cancel(scope, self.count)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Trio would log what an instrument raises, and drop the instrument."""
        try:
            yield
        except Exception as exc:
            self.error = self.error or exc


def _place(task: trio.lowlevel.Task) -> Place:
    place = where(task)
    assert place is not None, "a task that hands over has begun"
    return place

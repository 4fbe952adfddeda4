"""Ends a run that would not end by itself, and says where its tasks stand.

Mildly first: the scenario's own scope is cancelled, so that its cleanup runs. If that does not end
it, every scope of every task is cancelled and loses its shield. Into what goes on even then an
exception is thrown that nobody expects. What swallows that too, again and again, breaks the loop,
and its remains are collected at once.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import outcome
import trio
import trio._core._run as trio_run

from ..errors import Deadlock, KitError, LeavesTheKit, NeverEnds
from .tasks import Task, is_trios_own, short_name
from .where import has_begun, where

EXTRA_STEPS = 1_000
"""Steps that cleanup may take after each stage."""

THREAD_SECONDS = 5.0
"""Real seconds that a thread gets to come to its end, once its run has been refused."""

THROWS = 5
"""So often an exception is thrown into tasks that swallow it."""

CLOSES = 100_000
"""So often a coroutine that goes on when it is closed is closed again."""

_real_sleep = time.sleep


class ThrownOut(BaseException):
    """Ends a task that cannot be cancelled; seen by nobody but the kit."""


class Ending:
    """How one run is ended, if it has to be.

    Attributes:
        verdict: what is wrong with the run; None as long as nothing is.
    """

    def __init__(self, scope: trio.CancelScope, max_steps: int) -> None:
        self.verdict: KitError | None = None
        self._broken: list[Task] = []
        self._scope = scope
        self._max_steps = max_steps
        self._stage = 0
        self._gives_up = 0.0

    def deadlock(self) -> None:
        """Every task waits, and no deadline is set."""
        if self.verdict is None:
            waiting = tuple(_standing())
            told = _listed(waiting, "waits at")
            self.verdict = Deadlock(f"every task waits for ever:\n{told}", waiting)
        self._go_on()

    def endless(self) -> int:
        """The run has taken all the steps that it may; returns how many it gets for its end."""
        if self.verdict is None:
            waiting = tuple(_standing())
            self.verdict = NeverEnds(
                f"not over after {self._max_steps} steps; a scenario has to end by itself (a loop "
                "that serves for ever needs a scope that cancels it), or a larger max_steps:\n"
                + _listed(waiting, "stands at"),
                waiting,
            )
        self._go_on()
        return EXTRA_STEPS

    def leaves(self, error: LeavesTheKit) -> None:
        """A task does what no schedule decides."""
        if self.verdict is None:
            self.verdict = error
            self._go_on()

    def collect(self) -> None:
        """Collect what a broken loop left behind; nothing to do unless one was broken."""
        if not self._broken:
            return
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            while self._broken:
                _close(self._broken.pop())
            gc.collect()
        finally:
            sys.unraisablehook = hook

    def _go_on(self) -> None:
        self._stage += 1
        if self._stage == 1:
            self._scope.cancel()
        elif self._stage == 2:
            for task in _tasks():
                _cancel_all_scopes(task)
        elif self._waits_for_a_thread():
            self._stage -= 1
        elif self._stage <= THROWS and not isinstance(self.verdict, LeavesTheKit):
            for task in _tasks():
                _throw_out(task)
        else:
            self._broken = list(trio_run.GLOBAL_RUN_CONTEXT.runner.tasks)
            raise ThrownOut

    def _waits_for_a_thread(self) -> bool:
        """A thread cannot be thrown out: give it time."""
        if not isinstance(self.verdict, LeavesTheKit):
            return False
        if not self._gives_up:
            self._gives_up = time.monotonic() + THREAD_SECONDS
        _real_sleep(0.001)
        return time.monotonic() < self._gives_up


def _close(task: Task) -> None:
    """End its coroutine, as often as it goes on all the same."""
    for nursery in task.child_nurseries:
        nursery._children.clear()  # it asserts that when it is collected
    for _ in range(CLOSES):
        with suppress(BaseException):
            task.coro.close()
            return


def _tasks() -> Iterator[Task]:
    """The tasks of the scenario, oldest first."""
    tasks = trio_run.GLOBAL_RUN_CONTEXT.runner.tasks
    return iter(sorted((t for t in tasks if not is_trios_own(t)), key=lambda t: t._counter))


def _cancel_all_scopes(task: Task) -> None:
    """Those of the scenario; cancelling Trio's own would end what hears of threads."""
    system_nursery = trio_run.GLOBAL_RUN_CONTEXT.runner.system_nursery
    assert system_nursery is not None
    status: Any = task._cancel_status
    while status not in (None, system_nursery._cancel_status):
        status._scope.shield = False
        status._scope.cancel()
        status = status.parent


def _throw_out(task: Task) -> None:
    """Not into a parent of live children: its nursery must wait for them."""
    if any(nursery.child_tasks for nursery in task.child_nurseries):
        return
    thrown: outcome.Error = outcome.Error(ThrownOut())
    if not has_begun(task):
        return  # its first checkpoint will end it
    if task._next_send_fn is None:
        trio.lowlevel.reschedule(task, thrown)
    else:
        task._next_send = thrown


def _standing() -> Iterator[tuple[str, str]]:
    for task in _tasks():
        yield short_name(task), str(where(task) or "its beginning")


def _listed(waiting: tuple[tuple[str, str], ...], verb: str) -> str:
    return "\n".join(f"  {name} {verb} {place}" for name, place in waiting)

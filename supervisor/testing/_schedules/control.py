"""Takes the place of chance in Trio's loop: one task of the scenario goes on in each tick.

Trio runs every runnable task once per tick, in lock-step, and only shuffles their order; that hides
most races. Here one task of the scenario runs per tick and the others are put off, so that any of
them can get ahead of any other. Where several could go on, or time could pass, is a *choice point*;
its options are numbered:

- 0: go on with the task that ran last; if that one waits, with the one that has been ready longest;
- 1, 2, ...: another one, the longest ready first;
- the last one, if some deadline is set: time passes until the next deadline.

So whatever is not 0 is a preemption, and a run without preemptions is the plainest one there is.

What this needs of Trio are private names: `trio._core._run._r`, `_ALLOW_DETERMINISTIC_SCHEDULING`
and `GLOBAL_RUN_CONTEXT.runner` with its `runq` and `deadlines`, `Task._counter`, and
`MockClock._autojump`. They have been there since 2019; `probe` tries at first use whether they do
what is written here. Trio's own system tasks are left alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from typing import Any, Protocol

import trio._core._run as trio_run
import trio.testing

from ..errors import LeavesTheKit
from .guards import leaves_the_kit
from .tasks import Task, is_trios_own

PATIENCE = 250
"""So many steps a task goes on while others are ready, before the longest ready has its turn.

Without it a task that looks again and again (`while not ready: await trio.sleep(0)`) would keep the
one that it waits for from ever running.
"""


class Chooser(Protocol):
    """Decides at each choice point."""

    def choose(self, ready: list[Task], can_pass: bool) -> int:
        """The number of an option; `ready` are the tasks in the order of their numbers."""


EXTENSIONS = 3
"""So often a run that has used up its steps gets as many again, and time passes, if it can.

Then whoever looks again and again may be looking for a time that never comes otherwise.
"""


class Ending(Protocol):
    """Ends a run that would not end by itself; says whether it has begun to."""

    @property
    def verdict(self) -> object: ...

    def deadlock(self) -> None: ...

    def endless(self) -> int: ...

    def leaves(self, error: LeavesTheKit) -> None: ...


class Watcher(Protocol):
    """Sees what was chosen, for the story of a run."""

    def chosen(
        self, ready: list[Task], can_pass: bool, option: int, task: Task | None, is_choice: bool
    ) -> None:
        """`task` goes on now; None means that time passes."""

    def jumped(self, seconds: float) -> None:
        """Time passed: because that was chosen, or because every task waited."""

    def finish(self) -> None:
        """What is to be told is over; the last task that went on may have made its step."""


class Control:
    """Stands in for Trio's random numbers during one run, and with them decides who goes on.

    Attributes:
        steps: how many ticks there were.
        options: for each choice point, how many options it had.
    """

    def __init__(
        self,
        chooser: Chooser,
        *,
        max_steps: int,
        ending: Ending,
        watcher: Watcher | None = None,
    ) -> None:
        self.steps = 0
        self.options: list[int] = []
        self.max_steps = max_steps
        self.clock = trio.testing.MockClock(autojump_threshold=0)
        self.clock._autojump = self._idle  # type: ignore[method-assign]
        self._choose = chooser.choose
        self._ending = ending
        self._watcher = watcher
        self._thread = threading.get_ident()
        self._trios_own: Any = None
        self._queue: dict[Task, None] = {}
        self._last: Task | None = None
        self._streak = 0
        self._steps_at_once = max_steps
        self._extensions = EXTENSIONS

    def forget(self) -> None:
        """Let go of the tasks: the run is over."""
        self._queue.clear()
        self._last = None

    # --- what Trio calls ------------------------------------------------------------------------

    def shuffle(self, batch: list[Task]) -> None:
        """Leave one task of the scenario in the batch, beside Trio's own; put off the others."""
        if threading.get_ident() != self._thread:  # another run, in another thread
            self._trios_own.shuffle(batch)
            return
        self.steps += 1
        if self.steps > self.max_steps:
            self._used_up()
        last = self._last
        if last is not None and last._abort_func is not None:  # it has just begun to wait
            self._look_at(last)
        queue = self._queue
        trios = None
        for task in batch:
            if task not in queue:
                if is_trios_own(task):
                    trios = [task] if trios is None else [*trios, task]
                else:
                    queue[task] = None
        if queue:
            chosen = self._next(queue)
            if chosen is not None:
                del queue[chosen]
                if len(batch) == 1:
                    return
                batch[:] = (chosen,) if trios is None else (chosen, *trios)
            else:
                batch[:] = trios or ()
            if queue:
                trio_run.GLOBAL_RUN_CONTEXT.runner.runq.extend(queue)

    def random(self) -> float:
        return float(self._trios_own.random())

    def uniform(self, low: float, high: float) -> float:
        return float(self._trios_own.uniform(low, high))

    def _used_up(self) -> None:
        """All steps have been taken that are allowed."""
        if self._extensions and not self._ending.verdict and self._seconds_to_next() < inf:
            self._extensions -= 1
            self.max_steps += self._steps_at_once
            self._pass_time()
        else:
            self._judged()
            self.max_steps += self._ending.endless()

    def _judged(self) -> None:
        """What follows is the kit's own doing, and no part of the story."""
        if self._watcher is not None:
            self._watcher.finish()
            self._watcher = None

    def _idle(self) -> None:
        """Every task waits: jump to the next deadline, if there is one."""
        if self._last is not None:
            self._look_at(self._last)
        if self._seconds_to_next() == inf:
            self._judged()
            self._ending.deadlock()
        else:
            self._pass_time()

    def _pass_time(self) -> None:
        seconds = self._seconds_to_next()
        self.clock.jump(seconds)
        if self._watcher is not None:
            self._watcher.jumped(seconds)

    def _look_at(self, task: Task) -> None:
        error = leaves_the_kit(task)
        if error is not None:
            self._judged()
            self._ending.leaves(error)

    # --- choosing -------------------------------------------------------------------------------

    def _next(self, queue: dict[Task, None]) -> Task | None:
        can_pass = self._seconds_to_next() < inf
        last = self._last
        if len(queue) == 1 and not can_pass:
            (task,) = queue
            if task is last:
                self._streak += 1
            else:
                self._last, self._streak = task, 0
            if self._watcher is not None:
                self._watcher.chosen([task], False, 0, task, False)
            return task
        ready = list(queue)
        if last in queue and ready[0] is not last and self._streak < PATIENCE:
            ready.remove(last)
            ready.insert(0, last)
        count = len(ready) + can_pass
        self.options.append(count)
        option = self._choose(ready, can_pass)
        chosen = ready[option] if option < len(ready) else None
        if chosen is last:
            self._streak += 1
        else:
            self._streak = 0
            if chosen is not None:
                self._last = chosen
        if self._watcher is not None:
            self._watcher.chosen(ready, can_pass, option, chosen, True)
        if chosen is None:
            self._pass_time()
        return chosen

    def _seconds_to_next(self) -> float:
        """Seconds to the next deadline; inf if there is none."""
        deadline = trio_run.GLOBAL_RUN_CONTEXT.runner.deadlines.next_deadline()
        return inf if deadline == inf else max(0.0, deadline - self.clock.current_time())


def seize(control: Control) -> Callable[[], None]:
    """Put `control` in the place of Trio's random numbers; returns how to put them back."""
    trio_names: Any = trio_run
    control._trios_own = trio_names._r
    saved = trio_names._r, trio_names._ALLOW_DETERMINISTIC_SCHEDULING
    trio_names._r = control
    trio_names._ALLOW_DETERMINISTIC_SCHEDULING = True

    def release() -> None:
        trio_names._r, trio_names._ALLOW_DETERMINISTIC_SCHEDULING = saved

    return release

"""What a run leaves behind inside Trio: tasks, and async generators that nobody closed."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any
from weakref import WeakSet

import attrs
import trio
import trio.testing

from .._schedules.where import where
from .leaks import Leak

__all__ = ["Generators", "all_tasks", "tasks_left"]

Task = trio.lowlevel.Task


def all_tasks() -> set[Task]:
    """Every task of this run, system tasks included."""
    found: set[Task] = set()
    root = trio.lowlevel.current_root_task()
    todo = [] if root is None else [root]
    while todo:
        task = todo.pop()
        found.add(task)
        for nursery in task.child_nurseries:
            todo.extend(nursery.child_tasks)
    return found


async def tasks_left(before: set[Task]) -> list[Leak]:
    """The tasks that are new and do not end, once those that are about to have ended."""
    if all_tasks() <= before:
        return []
    await trio.testing.wait_all_tasks_blocked()
    left = sorted(all_tasks() - before, key=lambda task: task.name)
    return [Leak("task", f"{task.name}, at {where(task)}") for task in left]


@attrs.define
class Generators:
    """The async generators that are begun while this is active."""

    _alive: WeakSet[Any] = attrs.Factory(WeakSet)
    _abandoned: list[Leak] = attrs.Factory(list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Meanwhile take note of them. Trio's own hooks go on working."""
        before = sys.get_asyncgen_hooks()

        def begun(generator: AsyncGenerator[Any, Any]) -> None:
            self._alive.add(generator)
            if before.firstiter is not None:
                before.firstiter(generator)

        def abandoned(generator: AsyncGenerator[Any, Any]) -> None:
            self._abandoned.append(_leak(generator))
            if before.finalizer is not None:
                before.finalizer(generator)

        sys.set_asyncgen_hooks(firstiter=begun, finalizer=abandoned)
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(*before)

    def left(self) -> list[Leak]:
        """Those that were neither run to their end nor closed."""
        open_ones = [each for each in self._alive if each.ag_frame is not None]
        return sorted([*self._abandoned, *map(_leak, open_ones)], key=str)


def _leak(generator: Any) -> Leak:
    code: CodeType = generator.ag_code
    line = code.co_firstlineno if generator.ag_frame is None else generator.ag_frame.f_lineno
    place = f"{Path(code.co_filename).name}:{line}"
    return Leak("async generator", f"{code.co_name} at {place}, which was not closed")

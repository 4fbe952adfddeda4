"""Trio's tasks: which are the scenario's, and what they are called."""

from __future__ import annotations

import trio

Task = trio.lowlevel.Task


def is_trios_own(task: Task) -> bool:
    """Whether this is a task that Trio itself runs beside the scenario."""
    nursery = task.parent_nursery
    if nursery is None:
        return True
    return nursery.parent_task.parent_nursery is None and task.name.startswith(("<", "trio."))


def short_name(task: Task) -> str:
    """The name of a task without its module."""
    return task.name.replace("<locals>.", "").rpartition(".")[2]

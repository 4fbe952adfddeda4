"""Trio's tasks: which are the scenario's, and what they are called."""

from __future__ import annotations

import trio
import trio._core._entry_queue

_ENTRY_QUEUE = trio._core._entry_queue.__file__

Task = trio.lowlevel.Task


def is_trios_own(task: Task) -> bool:
    """Whether this is a task that Trio itself runs beside the scenario."""
    if task.parent_nursery is None:
        return True
    # By what it runs: anybody may spawn a system task, and give it any name.
    code = getattr(task.coro, "cr_code", None)
    return code is not None and code.co_filename == _ENTRY_QUEUE


def short_name(task: Task) -> str:
    """The name of a task without its module."""
    return task.name.replace("<locals>.", "").rpartition(".")[2]

"""Puts a supervisor together from its parts; the supervisor itself knows them by interface only."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from ._options import check_count
from ._registry import Registry
from ._supervisor import Supervisor
from .abc import Store
from .launchers.command import CommandLauncher
from .launchers.function import FunctionLauncher
from .stores.memory import MemoryStore

__all__ = ["open_supervisor"]


def open_supervisor(
    registry: Registry | None = None, store: Store | None = None, slots: int | None = None
) -> AbstractAsyncContextManager[Supervisor]:
    """A supervisor for as long as the block lasts: `async with open_supervisor() as sup: ...`

    Leaving the block cancels what still runs (cause `shutdown`) and waits until it is gone; after
    `sup.shutdown("drain")` it waits for the jobs to end by themselves. A cancellation of the block
    from outside does the same. The block cannot end while code of this process refuses to leave.

    Args:
        registry: the jobs that can be started by name.
        store: where jobs are kept; by default in memory.
        slots: how many jobs may run at a time; None is any number.

    Raises:
        InvalidArguments: `slots` is not a positive number.
    """
    if slots is not None:
        check_count("slots", slots)
    return Supervisor(
        registry=Registry() if registry is None else registry,
        store=MemoryStore() if store is None else store,
        launchers=(FunctionLauncher(), CommandLauncher()),
        slots=slots,
    ).open()

"""The supervisor that `serve` and `demo` run, put together from the real parts."""

from __future__ import annotations

from typing import Literal

from .._model import Job, JobFilter, JobState
from .._registry import Registry
from .._supervisor import Supervisor
from ..launchers.command import CommandLauncher
from ..launchers.function import FunctionLauncher
from ..stores.memory import MemoryStore

__all__ = ["ServedSupervisor"]

LIVE = tuple(state for state in JobState if not state.is_final)


class ServedSupervisor(Supervisor):
    """A supervisor that tells how its commands are contained.

    Args:
        registry: the jobs that can be started by name.
        slots: how many jobs may run at a time; None is any number.
        containment: see `CommandLauncher`.
    """

    def __init__(
        self,
        registry: Registry,
        slots: int | None = None,
        *,
        containment: Literal["auto", "process_group"] = "auto",
    ) -> None:
        self._commands = CommandLauncher(containment=containment)
        super().__init__(
            registry=registry,
            store=MemoryStore(),
            launchers=(FunctionLauncher(), self._commands),
            slots=slots,
        )

    @property
    def why_not_cgroup2(self) -> str | None:
        """Why cgroups are not used; None if they are."""
        return self._commands.why_not_cgroup2

    def live_jobs(self, *states: JobState) -> tuple[Job, ...]:
        """The jobs that have not ended, or are in these states (the first thousand of them)."""
        return self.list_nowait(JobFilter(state=states or LIVE), limit=1000).jobs

"""Works that know whether they are alive, and what runs them.

An `AsyncWork` is an async function, which can only be asked to leave; a `KillableWork` stands for a
process; `YourWork` is an async function of the user's.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any, ClassVar

import trio

from ..._context import current_job
from ..._model import JobErrorInfo, Proof
from ..._records import Exit, Exited, JobSpec, NeverStarted
from ..._registry import Registry
from ...abc import JobSink, Launcher, RunningJob
from .commands import Manner
from .ground import Attempt, Ground

__all__ = ["AsDrawn", "AsyncWork", "ByName", "KillableWork", "Work", "WorkLauncher", "YourWork"]

PROOF = Proof("fake_gone", detail="a fake, which knows that it is gone")


class AsDrawn(Exception):
    """What a work raises that is to fail."""


class Work:
    """One thing that was asked to be run, under one manner."""

    def __init__(self, ground: Ground, manner: Manner) -> None:
        self.ground = ground
        self.manner = manner
        self.fails = manner.fails
        self.over = trio.Event()
        self.sinks: list[Any] = []
        ground.works.append(self)

    def end(self, *, fails: bool = False) -> None:
        """Let it end, or raise."""
        self.fails = self.fails or fails
        self.over.set()

    def speak(self) -> None:
        """Write a line, alive or not."""
        for sink in self.sinks:
            sink.log_line("stdout", f"word {next(self.ground.words)}")


class AsyncWork(Work):
    """An async function."""

    async def __call__(self) -> str:
        job = current_job()
        attempt = (job.id, job.attempt)
        self.ground.enter(attempt)
        self.sinks.append(job)
        swallowing = suppress(trio.Cancelled) if self.manner.swallows else nullcontext()
        try:
            with swallowing, trio.CancelScope(shield=self.manner.shielded):
                await self.over.wait()
        finally:
            with trio.move_on_after(self.manner.leaving, shield=True):
                await self.over.wait()
            self.ground.leave(attempt)
        if self.fails:
            raise AsDrawn
        return "done"


class YourWork(AsyncWork):
    """An async function of the user's, watched."""

    def __init__(
        self, ground: Ground, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]
    ) -> None:
        super().__init__(ground, Manner())
        self.function = function
        self.arguments = arguments

    def is_for(self, function: object, arguments: tuple[Any, ...]) -> bool:
        """Whether it is this function with these arguments."""
        return self.function == function and self.arguments == arguments

    async def __call__(self) -> Any:
        job = current_job()
        attempt = (job.id, job.attempt)
        self.ground.enter(attempt)
        self.sinks.append(job)
        try:
            return await self.function(*self.arguments)
        finally:
            self.ground.leave(attempt)


class KillableWork(Work):
    """Run by `WorkLauncher`."""


class ByName:
    """Works as registered jobs, for whoever cannot hand over a callable: by their number."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.works: list[Work] = []
        self.registry.job(self.async_work)
        self.registry.job(self.killable_work)

    async def async_work(self, number: int) -> Any:
        work = self.works[number]
        if not isinstance(work, AsyncWork):
            raise RuntimeError(f"work {number} is none of an async function")
        return await work()

    async def killable_work(self, number: int) -> None:
        raise RuntimeError("the launcher of works runs this one itself")

    def call(self, work: Work) -> tuple[str, dict[str, int]]:
        """The name and the arguments to start a work by."""
        if work not in self.works:
            self.works.append(work)
        name = "killable_work" if isinstance(work, KillableWork) else "async_work"
        return name, {"number": self.works.index(work)}


class WorkLauncher(Launcher):
    """Runs works that can be killed; must come before the launcher of functions."""

    kind: ClassVar[str] = "fake"
    can_force: ClassVar[bool] = True

    def __init__(self, named: ByName) -> None:
        self._named = named

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    def accepts(self, work: object) -> bool:
        return isinstance(work, KillableWork) or self._is_named(work)

    def _is_named(self, work: object) -> bool:
        return isinstance(work, functools.partial) and work.func == self._named.killable_work

    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        work = spec.work
        if self._is_named(work):
            work = self._named.works[work.keywords["number"]]
        return _RunningWork(work, (spec.id, attempt), sink)


class _RunningWork(RunningJob):
    """One attempt of a `KillableWork`."""

    exception: BaseException | None = None

    def __init__(self, work: KillableWork, attempt: Attempt, sink: JobSink) -> None:
        self.work = work
        self.attempt = attempt
        self.sink = sink
        self.asked = False
        self.killed = False
        self._moved = trio.Event()

    async def run(self) -> Exit:
        manner = self.work.manner
        if self.asked:
            return NeverStarted(None, PROOF)
        if manner.spawn:
            await trio.sleep(manner.spawn)
        if manner.spawn_fails:
            return NeverStarted(JobErrorInfo(type="OSError", message="as drawn"), PROOF)
        if self.asked:
            return NeverStarted(None, PROOF)
        self.sink.started()
        self.work.ground.enter(self.attempt)
        self.work.sinks.append(self.sink)
        try:
            return await self._live()
        finally:
            self.work.ground.leave(self.attempt)

    async def _live(self) -> Exit:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._own_end)
            signal = await self._last_signal()
            nursery.cancel_scope.cancel()
        return Exited(None if signal else int(self.work.fails), signal or None, PROOF)

    async def _last_signal(self) -> int:
        """The number of the signal that ended it, once it has; 0 if it ended by itself."""
        manner = self.work.manner
        while True:
            await self._moved.wait()
            self._moved = trio.Event()
            if self.killed and manner.dies:
                return 9
            if self.asked and not manner.swallows and not self.killed:
                with trio.move_on_after(manner.leaving):
                    await self._moved.wait()
                    continue
                return 15
            if self.work.over.is_set():
                return 0

    async def _own_end(self) -> None:
        await self.work.over.wait()
        self._moved.set()

    def cancel(self, reason: str | None) -> None:
        self.asked = True
        self._moved.set()

    def kill(self) -> None:
        self.asked = self.killed = True
        self._moved.set()

    def survivors(self) -> tuple[str, ...]:
        return (f"{self.attempt}",)

"""What the rules for launchers are given: works to run, and attempts to watch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, final

import attrs
import trio
import trio.testing

from ..._model import Proof
from ..._records import Exit, Exited, LetThrough, NeverStarted, Raised, Returned, Vanished
from ...abc import Launcher, RunningJob
from .calls import CannotCheck, Notes, noted
from .records import job

__all__ = ["NOT_GIVEN", "Attempt", "LauncherBench", "LauncherWorks"]

EXITS = (Returned, Raised, LetThrough, Exited, NeverStarted, Vanished)
STREAMS = ("stdout", "stderr", "log")


@final
class _NotGiven:
    __slots__ = ()

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Final = _NotGiven()


@attrs.frozen(kw_only=True)
class LauncherWorks:
    """Works of one kind, by what they do. What a launcher cannot run is left out.

    Every work is run several times, also at the same time as itself.

    Args:
        returns: ends by itself, soon and well.
        fails: ends by itself, soon and badly: it raises, or exits with another code than 0.
        sleeps: runs until it is asked to leave, and then leaves soon.
        ignores_cancel: does not leave when it is asked to. If the launcher cannot force, it has to
            leave by itself within a second or two.
        cannot_start: is accepted, and then cannot be launched, such as a program that is not there.
        leaves_children: ends by itself, soon, and leaves something of itself running.
        speaks: writes the two lines "one" and "two" to one stream, then ends by itself.
        alive: called with one of these works; whether any attempt at it is alive. To be of use it
            has to look for itself, not to ask the launcher.
    """

    returns: Any = NOT_GIVEN
    fails: Any = NOT_GIVEN
    sleeps: Any = NOT_GIVEN
    ignores_cancel: Any = NOT_GIVEN
    cannot_start: Any = NOT_GIVEN
    leaves_children: Any = NOT_GIVEN
    speaks: Any = NOT_GIVEN
    alive: Any = NOT_GIVEN

    def given(self) -> dict[str, Any]:
        """The works that there are, by name."""
        named = attrs.asdict(self, recurse=False)
        del named["alive"]
        return {name: work for name, work in named.items() if work is not NOT_GIVEN}


class _Sink:
    """Keeps what an attempt tells, and when it told it."""

    def __init__(self, notes: Notes, name: str) -> None:
        self._notes = notes
        self._name = name
        self.starts = 0
        self.lines: list[tuple[str, str | bytes]] = []
        self.after_the_end = 0
        self.is_over = False
        self.began = trio.Event()

    def started(self) -> None:
        self._notes.add(f"{self._name} told: started()")
        self.starts += 1
        self.after_the_end += self.is_over
        self.began.set()

    def log_line(self, stream: str, data: str | bytes) -> None:
        self.lines.append((stream, data))
        self.after_the_end += self.is_over


class Attempt:
    """One attempt at a work.

    Attributes:
        job: the handle; what is called on it is noted.
        sink: what it told.
        exit: what `run` returned; None before that.
        alive_at_end: whether it was still alive when `run` returned; None if nobody can tell.
    """

    def __init__(self, bench: LauncherBench, name: str, number: int) -> None:
        self._bench = bench
        self._notes = bench.notes
        self._name = f"{name}[{number}]"
        self.work = bench.work(name)
        self.sink = _Sink(bench.notes, self._name)
        launcher = bench.launcher
        spec = job(
            f"job-{number}",
            work=self.work,
            kind=bench.plain.kind,
            can_force=bench.plain.can_force,
        )
        bench.notes.add(f"prepare(works.{name})")
        handle = launcher.prepare(spec, number, self.sink)
        bench.notes.instance(handle, RunningJob, "a RunningJob")
        self.plain: RunningJob = handle
        self.job: RunningJob = noted(handle, bench.notes, f"{self._name}.")
        self.exit: Exit | None = None
        self.alive_at_end: bool | None = None
        self.over = trio.Event()

    async def run(self) -> None:
        """To its end; a task for a nursery."""
        self.exit = await self.job.run()
        self.alive_at_end = self._bench.alive(self.work)
        self.sink.is_over = True
        self.over.set()

    async def ended(self) -> Exit:
        """Its exit, once it has one."""
        await self.over.wait()
        self._notes.add(f"the end of {self._name}.run()")
        self._notes.instance(self.exit, EXITS, "an exit: Returned, Raised, Exited, ...")
        assert self.exit is not None
        self._notes.instance(getattr(self.exit, "proof", None), Proof, "an exit with its proof")
        return self.exit

    async def began(self) -> None:
        """Wait until it told that it began, or it is over."""
        async with trio.open_nursery() as nursery:

            async def over() -> None:
                await self.over.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(over)
            await self.sink.began.wait()
            nursery.cancel_scope.cancel()
        if not self.sink.began.is_set():
            self._notes.add(f"{self._name}.run()")
            self._notes.broken("sink.started(), as the body begins", f"{self.exit!r} without it")


class LauncherBench:
    """An open launcher, and works for it.

    Attributes:
        plain: the launcher itself.
        launcher: the same; what is called on it is noted.
        notes: the calls, and what is said of them.
    """

    def __init__(self, works: LauncherWorks, subject: Launcher, notes: Notes) -> None:
        self.works = works
        self.plain = subject
        self.notes = notes
        self.launcher: Launcher = noted(subject, _Quiet(notes))
        self._numbers = iter(range(1, 1_000_000))

    def work(self, name: str) -> Any:
        """The work of this name; the rule cannot be checked without."""
        work = getattr(self.works, name)
        if work is NOT_GIVEN:
            raise CannotCheck(f"no works.{name} was given")
        return work

    def attempt(self, name: str) -> Attempt:
        """Prepare an attempt at the work of this name."""
        return Attempt(self, name, next(self._numbers))

    def alive(self, work: Any) -> bool | None:
        """Whether it is alive; None if nobody can tell."""
        if self.works.alive is NOT_GIVEN:
            return None
        return bool(self.works.alive(work))

    def needs_alive(self) -> None:
        """The rule cannot be checked without somebody who can tell."""
        if self.works.alive is NOT_GIVEN:
            raise CannotCheck("no works.alive was given")

    def needs_force(self) -> None:
        """The rule is about launchers that can force."""
        if not self.plain.can_force:
            raise CannotCheck("the launcher cannot force")

    async def finished(self, name: str) -> tuple[Attempt, Exit]:
        """Run a work that ends by itself."""
        attempt = self.attempt(name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt.run)
            exit = await attempt.ended()
        return attempt, exit


class _Quiet(Notes):
    """Notes that speak for others, and add nothing: calls are told in other words."""

    def __init__(self, notes: Notes) -> None:
        super().__init__()
        self._calls = notes._calls

    def add(self, call: str) -> None: ...


@contextmanager
def killed_at_the_end(*attempts: Attempt) -> Iterator[None]:
    """Whatever a rule comes to, nothing of these attempts goes on."""
    try:
        yield
    finally:
        for attempt in attempts:
            attempt.plain.kill()

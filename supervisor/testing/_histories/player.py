"""Plays a history against a real supervisor, and checks after every step.

`Player` does the commands, one after the other; those that ask for something and may have to wait
are tasks of their own. What it sees it hands on to `invariants`, and what was asked and answered it
keeps (`asked`), so that a check of the order can follow.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import trio
import trio.testing

from ..._model import Job, JobState
from ..._records import Final
from ..._view import job_view
from .cancelling import Cancelling
from .commands import (
    Aside,
    Call,
    Cancel,
    CancelAll,
    Command,
    Disconnect,
    End,
    Get,
    History,
    Pass,
    Raise,
    Reconnect,
    Settle,
    Shutdown,
    Sleep,
    Speak,
    Start,
    Ticks,
    Wait,
)
from .invariants import Broken, Seen, broken
from .links import TOMBSTONES, Link
from .requests import Question, Telling
from .starting import Starting

__all__ = ["EVERYTHING", "Player"]

EVERYTHING = 1000
"""Jobs on one page."""

ASKS = (Start, Cancel, CancelAll, Get, Wait, Shutdown, Call, Aside)
"""What nobody can do who is not connected."""


class Player(Starting, Cancelling):
    """One play of one history.

    Args:
        history: what happens.
        make_link: how the supervisor is reached.
        unfair: how often time may pass although somebody could have gone on. Whatever is given a
            time to happen in is given it once more for each.
        check: a check of the user's, called with the jobs after every step.

    Attributes:
        seen: what the supervisor showed.
        ground: what is really so.
        told: the commands that were played so far, and what they were answered.
        asked: every request about one job, with its answer.
    """

    LONG = 60.0
    """Longer than every grace and every cleanup: after a shutdown nobody has an excuse then."""

    def __init__(
        self,
        history: History,
        make_link: Callable[[int | None, int], Link] = Link,
        unfair: int = 0,
        check: Callable[[Iterable[Job]], object] | None = None,
    ) -> None:
        super().__init__(history, make_link, unfair)
        self.seen = Seen(self.ground, history.slots, TOMBSTONES)
        self.told: list[Telling] = []
        self.waiters: trio.Nursery
        self._check_yours = check
        self._numbers = itertools.count(1)
        self._looked_at = 0

    # --- the play -------------------------------------------------------------------------------

    async def play(self) -> None:
        """From the first command until nothing is left."""
        before = _living()
        async with trio.open_nursery() as self.waiters, self.link.open() as self.control:
            try:
                async with self.link.watch() as self._events:
                    await self.begin()
                    for command in self.history.commands:
                        await self._play_one(command)
                    await self.close()
                    await self.finish()
            finally:
                for work in self.ground.works:
                    work.end()
        self.check_end()
        if _living() != before:
            broken("I8", "tasks are left")

    async def _play_one(self, command: Command) -> None:
        telling = Telling(command)
        self.told.append(telling)
        if not self._connected and isinstance(command, ASKS):
            telling.answer = "nobody is connected"
            return
        await self.do(command, telling)
        self.check()

    async def begin(self) -> None:
        """Before the first command."""

    async def finish(self) -> None:
        """After the last job has ended, and before the link is closed."""

    async def close(self) -> None:
        """Whoever resists the shutdown is let go later; what is left then has no excuse."""
        requests = [self._new_request(Shutdown("cancel"), each) for each in self.job_ids]
        self.link.sup.shutdown_nowait("cancel")
        for each in requests:
            self._answer(each, "done")
        await trio.testing.wait_all_tasks_blocked()
        self.check()
        await self.long_sleep()
        self.check()
        for work in self.ground.works:
            work.end()
        await self.link.sup.drained.wait()
        self.check()

    async def long_sleep(self, seconds: float | None = None) -> None:
        """Time in which everybody did what there was to do, whatever the schedule."""
        for _ in range(self.unfair + 1):
            await trio.sleep(self.LONG if seconds is None else seconds)
            await trio.testing.wait_all_tasks_blocked()

    # --- doing ----------------------------------------------------------------------------------

    async def do(self, command: Command, telling: Telling) -> None:
        """One command."""
        match command:
            case Start() | Get() | Cancel(wait=False):
                await self.ask(command, telling)
            case Cancel() | Wait():
                self.ask_aside(command, telling)
            case Aside(command=inner):
                self.ask_aside(inner, telling)
            case CancelAll(grace=grace):
                await self._asking(partial(self.cancel_all, grace, telling), telling)
            case Shutdown(mode=mode, grace=grace):
                await self._asking(partial(self._shut_down, mode, grace), telling)
            case End() | Raise():
                self._end(command)
            case Speak():
                for work in self.ground.works:  # the dead too: nobody must hear them
                    work.speak()
            case Pass(seconds=seconds):
                _jump(seconds)
                await trio.lowlevel.checkpoint()
            case Sleep(seconds=seconds):
                await trio.sleep(seconds)
            case Ticks(count=count):
                for _ in range(count):
                    await trio.lowlevel.checkpoint()
            case Settle():
                await self.settle()
            case Disconnect():
                self._connected = not await self.link.disconnect()
            case Reconnect():
                await self.reconnect()
            case Call(function=function, arguments=arguments):
                await function(self.control, *arguments)

    async def settle(self) -> None:
        """Everybody does what there is to do; then nobody waits in vain."""
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(self.unfair):
            if self.waiting_in_vain():
                await trio.testing.wait_all_tasks_blocked()
        if in_vain := self.waiting_in_vain():
            broken("I15", f"somebody waits, and {in_vain}")

    def _end(self, command: End | Raise) -> None:
        work = self._latest.get(command.job_id)
        if work is not None:
            asked = self._new_request(command, command.job_id)
            asked.work = self.ground.works.index(work)
            work.end(fails=isinstance(command, Raise))
            self._answer(asked, "done")

    async def _shut_down(self, mode: str, grace: float | None) -> None:
        requests = [self._new_request(Shutdown(mode, grace), each) for each in self.job_ids]
        await self.control.shutdown(mode, grace=grace)
        for each in requests:
            self._answer(each, "done")

    @property
    def happened(self) -> Sequence[object]:
        """The faults that have come about."""
        return ()

    def ask_aside(self, request: Question, telling: Telling) -> None:
        """Let somebody else ask."""
        process = f"somebody {next(self._numbers)}"
        self.waiters.start_soon(self.ask, request, telling, process)

    async def ask(self, request: Question, telling: Telling, process: str = "player") -> None:
        """One request about one job, and its answer."""
        match request:
            case Start():
                ask = partial(self.start, request, telling, process)
            case Get():
                ask = partial(self.get, request, telling, process)
            case Wait():
                ask = partial(self.wait, request, telling, process)
            case Cancel(wait=True):
                ask = partial(self.cancel_and_wait, request, telling, process)
            case _:
                ask = partial(self.cancel, request, telling, process)
        await self._asking(ask, telling)

    # --- checking -------------------------------------------------------------------------------

    def check(self) -> None:
        """Everything that must hold after every step."""
        while (item := self._events.take_nowait()) is not None:
            self.seen.read(item)
        sup = self.link.sup
        jobs = sup.list_nowait(limit=EVERYTHING)
        self.seen.check(jobs, sup.statistics_nowait(), len(sup.tombstones()), trio.current_time())
        self._keep_finals()
        for job in jobs:
            accepted = self._accepted[job.id] + self._starting[job.id]
            if job.attempt > accepted:
                broken("I10", f"{accepted} starts, and {job}")
        if self._check_yours is not None:
            self._check_yours(jobs)

    def _keep_finals(self) -> None:
        """Also those of attempts that ended and were followed by another since the last look."""
        store = self.link.store
        for seq, _, _, spec, record in store.events(self._looked_at):
            self._looked_at = seq
            if isinstance(record, Final) and (spec.id, record.attempt) not in self.seen.finals:
                job = job_view(spec, record, seq, now=trio.current_time())
                self.seen.finals[(spec.id, record.attempt)] = job

    def waiting_in_vain(self) -> list[Job]:
        """Jobs for whose end somebody waits although it has come, or cannot come."""
        return [
            job
            for job in self.link.sup.list_nowait(limit=EVERYTHING)
            if self._waiting[job.id] and (job.state.is_final or job.state is JobState.STUCK)
        ]

    def check_end(self) -> None:
        """Everybody has gone home."""
        self.seen.check_at_rest(self.link.sup.statistics_nowait())
        if self._answers != self._requests:
            broken("I13", f"{self._answers} answers to {self._requests} requests")
        for job_id, count in self._accepted.items():
            self.check_attempts(job_id, count)

    def check_attempts(self, job_id: str, accepted: int) -> None:
        """No more of them than starts that were accepted."""
        stored = self.link.store.get(job_id)
        if stored is None:
            if job_id not in self._unsure:
                broken("I13", f"{job_id} was started, and is unknown")
        elif stored.record.attempt > accepted:
            broken("I10", f"{accepted} starts, and {stored.record.attempt} attempts of {job_id}")


def _living() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def _jump(seconds: float) -> None:
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, trio.testing.MockClock):
        raise Broken("alive", "a history is played on a clock of the kit's")
    clock.jump(seconds)

"""The engine: the nursery, the registry of live jobs, and the escalation ladder.

One flow, one direction: something happens and becomes one precise input; `_lifecycle.advance`
decides; `_swap` saves and publishes; then, and only then, the effect. Every decision is
synchronous, so no two of them can interleave. The registry entry and the job's cancel scope are
made in one step: there is no moment in which a job exists and cannot be cancelled.

No step of it can be torn by Ctrl+C: a KeyboardInterrupt waits until a body, or the application,
runs again (Trio's `enable_ki_protection`).

The engine acts; what callers may ask, and what they are told, is the supervisor's part.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio
from trio.lowlevel import enable_ki_protection

from ._collector import set_aside
from ._context import CURRENT
from ._entry import Entry
from ._failure import error_info, holds_interrupt
from ._lifecycle import (
    NEVER_STARTED,
    Cancel,
    Climb,
    Ended,
    Join,
    Launch,
    Move,
    Resist,
    Started,
    advance,
    classify_cancel,
    next_rung,
)
from ._model import (
    CancelOutcome,
    Cause,
    JobEvent,
    JobState,
    Progress,
    Proof,
    Rung,
    Strength,
    Tombstone,
)
from ._records import (
    Cancelling,
    Exit,
    Final,
    Instant,
    JobSpec,
    NeverStarted,
    Pending,
    Published,
    Raised,
    Record,
    Request,
    Starting,
    Stuck,
)
from ._timers import Timers
from ._view import event_view, stop_of
from ._watch import Watchers
from .abc import Launcher, Store

__all__ = ["CHUNK", "Engine"]

CHUNK = 100
"""How many jobs a bulk start or cancel touches between two checkpoints. Cancelling 100,000 jobs at
once would hold up the loop for seconds; in chunks of this size it is milliseconds, and half of the
total time (`benchmarks/`, rows 5 and 6)."""


LAUNCHER_FAILED = Proof(
    "launcher_failed",
    Strength.BEST_EFFORT,
    "the launcher itself failed, and could not say what is left",
)


class Engine:
    """Owns every live job, from its registration to its final record.

    Args:
        store: where records, events and logs go.
        launchers: one for each kind of work.
        slots: how many jobs may run at a time; None is any number.
        wall: the time of day, in seconds of the Unix epoch.
    """

    def __init__(
        self,
        store: Store,
        launchers: Sequence[Launcher],
        *,
        slots: int | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.launchers = launchers
        self.slots = slots
        self.slots_used = 0
        self.live: dict[str, Entry] = {}
        self.closing: str | None = None
        self.stopping = trio.Event()
        self.drained = trio.Event()
        self.watchers = Watchers(self.event_view)
        self.wall = wall
        self._by_kind = {launcher.kind: launcher for launcher in launchers}
        self._pending: OrderedDict[str, Entry] = OrderedDict()
        self._timers = Timers(self._on_time)
        self._trio_time = trio.current_time
        self._closing_limit = math.inf
        self._cancel_asked = trio.Event()
        self._interrupt: BaseException | None = None
        self._jobs: trio.Nursery
        self._outer: trio.Nursery

    def now(self) -> Instant:
        """This moment, on both clocks."""
        return Instant(self._trio_time(), self.wall())

    def event_view(self, event: Published) -> JobEvent:
        """The public form of an event."""
        return event_view(self.store.instance, event)

    # --- the one place that moves a job ---------------------------------------------------------

    def _swap(self, entry: Entry, move: Move, wall: float) -> None:
        record, events = move
        seq = self.store.swap(entry.spec, entry.record, record, events, wall)
        entry.record = record
        if events:
            entry.seq = seq
            if self.watchers:
                self.watchers.publish(self.store.events(seq - len(events)))

    # --- a job comes ----------------------------------------------------------------------------

    @enable_ki_protection
    def admit(self, spec: JobSpec, attempt: int = 1, previous: Record | None = None) -> Entry:
        """Register a job and, if a slot is free, launch it, in one step.

        `previous` is the final record of the attempt before, if there was one.
        """
        free = self.slots is None or self.slots_used < self.slots
        record = Starting(attempt, 1) if free else Pending(attempt, 1)
        entry = Entry(self, spec, record)
        events = ("job.starting",) if free else ("job.pending",)
        entry.seq = self.store.swap(spec, previous, record, events, spec.created.wall)
        self.live[spec.id] = entry
        if self.watchers:
            self.watchers.publish(self.store.events(entry.seq - 1))
        if free:
            self._launch(entry)
        else:
            self._pending[spec.id] = entry
        return entry

    @enable_ki_protection
    def bury(
        self, spec: JobSpec, attempt: int, previous: Record | None, tombstone: Tombstone
    ) -> Entry:
        """A job that was cancelled before it came: it is recorded, and never runs."""
        now = spec.created
        born = Entry(self, spec, Pending(attempt, 1))
        self.store.swap(spec, previous, born.record, (), now.wall)
        asked = Instant(now.mono, tombstone.recorded_at.timestamp())
        request = Request(
            tombstone.requester, tombstone.reason, Cause.USER, asked, spec.grace, False
        )
        self._swap(born, advance(spec, born.record, Cancel(request, now=now)), now.wall)
        return born

    def _launch(self, entry: Entry) -> None:
        self.slots_used += 1
        spec = entry.spec
        entry.running = self._by_kind[spec.kind].prepare(spec, entry.record.attempt, entry)
        self._jobs.start_soon(self._run, entry, name=spec.id)

    def _launch_pending(self) -> None:
        while self._pending and (self.slots is None or self.slots_used < self.slots):
            _, entry = self._pending.popitem(last=False)
            self._swap(entry, advance(entry.spec, entry.record, Launch()), self.wall())
            self._launch(entry)

    # --- the job's own task -----------------------------------------------------------------------

    @enable_ki_protection
    async def _run(self, entry: Entry) -> None:
        """One attempt, from launch to final record. One job's failure never reaches another."""
        running = entry.running
        assert running is not None
        CURRENT.set(entry)
        # A stop that came before the first step is not left to the scope: a body without a
        # checkpoint would run to its end.
        exit: Exit = NeverStarted(None, NEVER_STARTED)
        try:
            if not self.store.synchronous:
                await self.store.saved(entry.seq)  # no body is entered before its start is kept
            if isinstance(entry.record, Starting):
                exit = await running.run()
            entry.exception = running.exception
        except BaseException as exc:  # noqa: ASYNC103 - a Cancelled is raised again
            # A launcher's bug, or the end of everything: the job failed, and is not waited for.
            exit = Raised(error_info(exc), LAUNCHER_FAILED)
            entry.exception = exc
            if isinstance(exc, trio.Cancelled):
                raise
        finally:
            self._on_ended(entry, exit)
        if entry.exception is not None and holds_interrupt(entry.exception):
            self._interrupted(entry.exception)

    @enable_ki_protection
    def on_started(self, entry: Entry) -> None:
        """The body is entered."""
        now = self.now()
        self._swap(entry, advance(entry.spec, entry.record, Started(now)), now.wall)
        timeout = entry.spec.timeout
        if timeout is not None and entry.record.state is JobState.RUNNING:
            entry.timer = self._timers.call_at(now.mono + timeout, entry)

    def _on_ended(self, entry: Entry, exit: Exit) -> None:
        now = self.now()
        input = Ended(exit, now, None, entry.latest_progress)
        self._swap(entry, advance(entry.spec, entry.record, input), now.wall)
        self.slots_used -= 1
        self._forget(entry)
        if self._pending and self.closing != "cancel":
            self._launch_pending()

    def _forget(self, entry: Entry) -> None:
        """The job is final: nothing of it stays but its record."""
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        entry.running = None
        del self.live[entry.spec.id]
        entry.wake_waiters()
        if self.closing is not None:
            if not self.live:
                self.drained.set()
        elif entry.cancel_requested:
            self._launch_successor(entry)

    def _launch_successor(self, entry: Entry) -> None:
        """Only now that its predecessor is confirmed dead."""
        stop = stop_of(entry.record)
        if stop is not None and stop.successor is not None:
            entry.successor = self.admit(stop.successor, entry.record.attempt + 1, entry.record)

    @enable_ki_protection
    def on_log(self, entry: Entry, stream: str, data: str | bytes) -> None:
        """One line of a job's output. Nothing of an attempt follows its final event (I14)."""
        record = entry.record
        if isinstance(record, Final):
            return
        line = self.store.append_log(entry.spec.id, record.attempt, stream, data, self.wall())
        if self.watchers:
            self.watchers.publish_line(entry.spec, line)

    @enable_ki_protection
    def on_progress(self, entry: Entry, progress: Progress) -> None:
        """What a body says of its progress."""
        if isinstance(entry.record, Final):
            return
        entry.latest_progress = progress
        if self.watchers:
            self.watchers.publish_progress(entry.spec, entry.record.attempt, progress)

    def _interrupted(self, error: BaseException) -> None:
        """A KeyboardInterrupt landed in a body: it is on record, and now goes on its way."""
        if self._interrupt is None:
            self._interrupt = error
        self._outer.cancel_scope.cancel("KeyboardInterrupt in a job")

    # --- the ladder -----------------------------------------------------------------------------

    @enable_ki_protection
    def stop(
        self,
        entry: Entry,
        request: Request,
        *,
        grace_given: bool = False,
        successor: JobSpec | None = None,
    ) -> CancelOutcome:
        """Take one request to stop a live job; its effect has begun when this returns."""
        outcome, input = classify_cancel(
            entry.record, request, grace_given=grace_given, successor=successor
        )
        if input is not None:
            self._swap(entry, advance(entry.spec, entry.record, input), request.at.wall)
            if request.force or not isinstance(input, Join):
                self._act(entry)
        return outcome

    def _act(self, entry: Entry) -> None:
        """Do what the record that was just saved calls for."""
        record, running = entry.record, entry.running
        if isinstance(record, Final):
            self._pending.pop(entry.spec.id, None)
            self._forget(entry)
            return
        assert running is not None
        if isinstance(record, Stuck):
            running.kill()
        elif isinstance(record, Cancelling):
            entry.tell_cancel_requested()
            self._take_rung(entry, record)

    def _take_rung(self, entry: Entry, record: Cancelling) -> None:
        running, stop = entry.running, record.stop
        assert running is not None
        if stop.rung is Rung.CANCEL:
            running.cancel(stop.first.reason)
        elif stop.rung is Rung.FORCE:
            running.kill()
            self._climb(entry, Rung.VERIFY)
            return
        if entry.timer is not None:
            entry.timer.cancel()
        entry.timer = self._timers.call_at(stop.rung_ends, entry)

    def _on_time(self, entry: Entry) -> None:
        """A running job's deadline has come, or the end of a stopping one's rung."""
        if isinstance(entry.record, Cancelling):
            self._rung_over(entry, entry.record)
        elif entry.record.state is JobState.RUNNING:
            self._deadline_passed(entry)

    def _rung_over(self, entry: Entry, record: Cancelling) -> None:
        assert entry.running is not None
        following = next_rung(entry.spec, record.stop)
        if following is not None:
            self._climb(entry, following)
            return
        now = self.now()
        input = Resist(entry.running.survivors(), now)
        self._swap(entry, advance(entry.spec, record, input), now.wall)
        entry.wake_waiters()

    def _climb(self, entry: Entry, rung: Rung) -> None:
        now = self.now()
        self._swap(entry, advance(entry.spec, entry.record, Climb(rung, now)), now.wall)
        assert isinstance(entry.record, Cancelling)
        self._take_rung(entry, entry.record)

    def _deadline_passed(self, entry: Entry) -> None:
        reason = f"it ran longer than its timeout of {entry.spec.timeout:g} s"
        request = Request(
            "supervisor", reason, Cause.DEADLINE, self.now(), entry.spec.grace, False
        )
        self.stop(entry, request)

    # --- shutdown ---------------------------------------------------------------------------------

    @enable_ki_protection
    def close(self, mode: str, grace: float | None = None) -> None:
        """Take no new jobs; "cancel" those there are, or "drain". A cancel overrides a drain."""
        if self.closing != "cancel":
            self.closing = mode
        if grace is not None:
            self._closing_limit = min(self._closing_limit, trio.current_time() + grace)
        if self.closing == "cancel":
            self.stopping.set()
            self._cancel_asked.set()
        if not self.live:
            self.drained.set()

    @enable_ki_protection
    async def _cancel_all_when_asked(self) -> None:
        """Every job is asked to stop, in chunks, with one deadline; again if asked again."""
        while True:
            await self._cancel_asked.wait()
            self._cancel_asked = trio.Event()
            with set_aside(len(self.live)) as set_aside_more:
                await self._cancel_all(set_aside_more)

    async def _cancel_all(self, after_chunk: Callable[[], None]) -> None:
        for number, job_id in enumerate(tuple(self.live)):
            if number % CHUNK == 0:
                await trio.lowlevel.checkpoint()
                after_chunk()
            entry = self.live.get(job_id)
            if entry is not None:
                self._stop_for_shutdown(entry)

    def _stop_for_shutdown(self, entry: Entry) -> None:
        request = Request(
            "supervisor",
            "the supervisor shuts down",
            Cause.SHUTDOWN,
            self.now(),
            entry.spec.grace,
            False,
            self._closing_limit,
        )
        self.stop(entry, request)

    # --- lifetime -------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Be open. Leaving the block, or its cancellation from outside, is the staged shutdown.

        What the block raises comes out as it is, not in a group.
        """
        raised: BaseException | None = None
        try:
            async with trio.open_nursery() as self._outer:
                try:
                    await self._open_under_shield()
                    self._outer.start_soon(self._notice_outer_cancel)
                    yield
                except BaseException as exc:  # noqa: ASYNC103 - raised again below
                    raised = exc
                drain = self.closing == "drain" and raised is None
                self.close("drain" if drain else "cancel")
                with trio.CancelScope(shield=True):
                    await self.drained.wait()
                self._outer.cancel_scope.cancel("the supervisor is closed")
        except BaseExceptionGroup as group:
            _, rest = group.split(trio.Cancelled)
            if rest is not None or (raised is None and self._interrupt is None):
                raise
        if self._interrupt is not None:
            raise self._interrupt
        if raised is not None:
            raise raised

    async def _open_under_shield(self) -> None:
        """Return once jobs can live; not `nursery.start`, which a cancelled caller cannot leave."""
        failed: list[Exception] = []
        ready = trio.Event()
        self._outer.start_soon(self._live_under_shield, ready, failed)
        with trio.CancelScope(shield=True):
            await ready.wait()
        if failed:
            raise failed[0]

    @enable_ki_protection
    async def _live_under_shield(self, ready: trio.Event, failed: list[Exception]) -> None:
        """Jobs live here; no cancellation from outside reaches them but through the ladder."""
        # Bound to the clock itself: it is read three times for every job.
        self._trio_time = trio.lowlevel.current_clock().current_time
        with trio.CancelScope(shield=True):
            async with AsyncExitStack() as stack:
                try:
                    await stack.enter_async_context(self.store.open())
                    for launcher in self.launchers:
                        await stack.enter_async_context(launcher.open())
                except Exception as exc:
                    failed.append(exc)
                    ready.set()
                    return
                try:
                    async with trio.open_nursery() as self._jobs:
                        self._jobs.start_soon(self._timers.serve)
                        self._jobs.start_soon(self._cancel_all_when_asked)
                        ready.set()
                        await self.drained.wait()
                        self._jobs.cancel_scope.cancel("the last job is gone")
                finally:
                    # Also if a bug of ours ended the nursery: then the block must not wait, but
                    # raise.
                    self.closing = self.closing or "cancel"
                    self.drained.set()
                    self.watchers.close()

    @enable_ki_protection
    async def _notice_outer_cancel(self) -> None:
        """Turns a cancellation from outside into the staged shutdown, even if the block is busy."""
        try:
            await trio.sleep_forever()
        finally:
            self.close("cancel")

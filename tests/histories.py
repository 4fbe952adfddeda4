"""Random lives of a few jobs, and the invariants that hold after every step.

The commands of an example are drawn before the run, and so is the schedule: nothing is drawn inside
Trio's loop. They run against any `JobControl`: `Link` says how one is opened and reconnected. What
is true is learned from three sides that know nothing of each other: the records, the events, and
the works themselves, which know whether they are alive.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from typing import Any, NamedTuple

import trio
import trio.testing
from controls import SECRET, open_client
from fakes import PROOF, FakeLauncher, open_sup
from hypothesis import strategies as st

import supervisor
from supervisor import Auth, ConnectionLost, Limits, Token
from supervisor._errors import (
    JobIdConflict,
    JobNotFound,
    Overloaded,
    ShuttingDown,
    SupervisorError,
)
from supervisor._model import (
    CancelOutcome,
    CancelReply,
    Job,
    JobErrorInfo,
    JobEvent,
    JobState,
    LogEntry,
)
from supervisor._records import Exit, Exited, JobSpec, NeverStarted
from supervisor._registry import Registry
from supervisor._server import open_server
from supervisor._supervisor import Supervisor
from supervisor.abc import JobControl, JobHandle, JobSink, RunningJob
from supervisor.launchers.function import FunctionLauncher
from supervisor.stores.memory import MemoryStore

IDS = ("a", "b", "c")
TOMBSTONES = 2
HOLDS_A_SLOT = (JobState.STARTING, JobState.RUNNING, JobState.CANCELLING, JobState.STUCK)
LATER = {
    state: rank
    for rank, states in enumerate(
        (
            {JobState.PENDING},
            {JobState.STARTING},
            {JobState.RUNNING},
            {JobState.CANCELLING},
            {JobState.STUCK},
            {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT},
        )
    )
    for state in states
}


# --- commands ---------------------------------------------------------------------------------


class Manner(NamedTuple):
    """How a work behaves; drawn with the start."""

    killable: bool = False
    swallows: bool = False
    shielded: bool = False
    dies: bool = True
    fails: bool = False
    spawn: float = 0.0
    spawn_fails: bool = False
    leaving: float = 0.0


class Start(NamedTuple):
    job_id: str
    manner: Manner = Manner()
    conflict: str = "use_existing"
    reuse: str = "use_existing"
    remembered: str = "cancel"
    same: bool = False
    notice: float = 0.0
    timeout: float | None = None


class Cancel(NamedTuple):
    job_id: str
    grace: float | None = None
    force: bool = False
    attempt: int | None = None
    if_unknown: str = "error"
    wait: bool = False
    twice: bool = False


class CancelAll(NamedTuple):
    grace: float | None = None


class Wait(NamedTuple):
    """Somebody waits for the end, until the end."""

    job_id: str


class End(NamedTuple):
    """The work ends by itself (or a shielded or stubborn one at last)."""

    job_id: str


class Speak(NamedTuple):
    job_id: str


class Pass(NamedTuple):
    """The clock jumps; what was due in between is due together."""

    seconds: float


class Sleep(NamedTuple):
    """Time goes by, and everybody does what there is to do."""

    seconds: float


class Ticks(NamedTuple):
    count: int


class Settle(NamedTuple):
    pass


class Reconnect(NamedTuple):
    """The connection ends and comes back (nothing in-process)."""


class Shutdown(NamedTuple):
    mode: str
    grace: float | None


Command = (
    Start
    | Cancel
    | CancelAll
    | Wait
    | End
    | Speak
    | Pass
    | Sleep
    | Ticks
    | Settle
    | Reconnect
    | Shutdown
)


class History(NamedTuple):
    slots: int | None
    commands: list[Command]


def _or_none(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


MANNERS = st.builds(
    Manner,
    killable=st.booleans(),
    swallows=st.booleans(),
    shielded=st.sampled_from([False, False, True]),
    dies=st.sampled_from([True, True, False]),
    fails=st.booleans(),
    spawn=st.sampled_from([0.0, 0.0, 2.0, 30.0]),
    spawn_fails=st.sampled_from([False, False, True]),
    leaving=st.sampled_from([0.0, 3.0]),
)
GRACES = st.sampled_from([0.0, 1.0, 4.0, 50.0])
STARTS = st.builds(
    Start,
    job_id=st.sampled_from(IDS),
    manner=MANNERS,
    conflict=st.sampled_from(["use_existing", "fail", "replace", "replace"]),
    reuse=st.sampled_from(["use_existing", "allow", "allow", "allow_failed_only", "reject"]),
    remembered=st.sampled_from(["cancel", "cancel", "run"]),
    same=st.booleans(),
    notice=st.sampled_from([0.0, 0.0, 2.0]),
    timeout=_or_none(st.sampled_from([1.0, 5.0])),
)
CANCELS = st.builds(
    Cancel,
    job_id=st.sampled_from(IDS),
    grace=_or_none(GRACES),
    force=st.sampled_from([False, False, True]),
    attempt=_or_none(st.sampled_from([1, 2])),
    if_unknown=st.sampled_from(["error", "remember"]),
    wait=st.booleans(),
    twice=st.booleans(),
)
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.just(Settle()),
    STARTS,
    CANCELS,
    st.builds(Sleep, st.sampled_from([0.5, 1.0, 5.0, 20.0])),
    st.builds(End, st.sampled_from(IDS)),
    STARTS,
    CANCELS,
    st.builds(Sleep, st.sampled_from([5.0, 20.0, 60.0])),
    st.builds(Ticks, st.integers(1, 4)),
    st.builds(Wait, st.sampled_from(IDS)),
    st.builds(Pass, st.sampled_from([0.0, 0.5, 1.0, 5.0, 20.0, 700.0])),
    st.builds(Speak, st.sampled_from(IDS)),
    st.builds(CancelAll, grace=_or_none(GRACES)),
    st.just(Reconnect()),
)
ENDINGS: st.SearchStrategy[list[Command]] = st.one_of(
    st.just([]),
    st.builds(
        lambda mode, grace, rest: [Shutdown(mode, grace), *rest],
        st.sampled_from(["cancel", "drain"]),
        _or_none(GRACES),
        st.lists(COMMANDS, max_size=3),
    ),
)


def histories(least: int = 8, most: int = 16) -> st.SearchStrategy[History]:
    """Histories of one start and `least` to `most` commands more; some end with a shutdown."""
    return st.builds(
        lambda slots, first, commands, ending: History(slots, [first, *commands, *ending]),
        st.sampled_from([None, None, 1, 2]),
        STARTS,
        st.lists(COMMANDS, min_size=least, max_size=most),
        ENDINGS,
    )


# --- works that know whether they are alive ---------------------------------------------------

Attempt = tuple[str, int]


class Ground:
    """What is really so: who is alive, who was ever entered. The works write, the checks read."""

    def __init__(self) -> None:
        self.alive: dict[Attempt, int] = defaultdict(int)
        self.entered: dict[Attempt, int] = defaultdict(int)
        self.won: set[Attempt] = set()
        """Attempts that a cancel reached before they began."""
        self.works: list[Work] = []
        self.words = itertools.count(1)
        self.violations: list[str] = []
        """What a body saw: raised there, it would only be the failure of a job."""

    def enter(self, attempt: Attempt) -> None:
        if attempt in self.won:
            self.violations.append(f"I2: {attempt} entered after its cancel had won")
        if self.entered[attempt]:
            self.violations.append(f"{attempt} entered twice")
        self.entered[attempt] += 1
        self.alive[attempt] += 1

    def leave(self, attempt: Attempt) -> None:
        self.alive[attempt] -= 1


class Work:
    """One thing that was asked to be run, under one manner."""

    def __init__(self, ground: Ground, manner: Manner) -> None:
        self.ground = ground
        self.manner = manner
        self.over = trio.Event()
        self.sinks: list[Any] = []
        self.yields = False
        ground.works.append(self)

    def end(self) -> None:
        self.over.set()

    def speak(self) -> None:
        for sink in self.sinks:
            sink.log_line("stdout", f"word {next(self.ground.words)}")

    def yield_at_last(self) -> None:
        self.yields = True
        self.over.set()


class AsyncWork(Work):
    async def __call__(self) -> str:
        job = supervisor.current_job()
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
        if self.manner.fails:
            raise ValueError("as drawn")
        return "done"


class KillableWork(Work):
    """Run by `WorkLauncher`."""


class ByName:
    """Works as registered jobs, for whoever cannot hand over a callable: by their number."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.works: list[Work] = []
        self.registry.job(self.async_work)
        self.registry.job(self.killable_work)

    async def async_work(self, number: int) -> str:
        work = self.works[number]
        assert isinstance(work, AsyncWork)
        return await work()

    async def killable_work(self, number: int) -> None:
        raise AssertionError("the launcher of works runs this one itself")

    def call(self, work: Work) -> tuple[str, dict[str, int]]:
        """The name and the arguments to start a work by."""
        if work not in self.works:
            self.works.append(work)
        name = "killable_work" if isinstance(work, KillableWork) else "async_work"
        return name, {"number": self.works.index(work)}


class WorkLauncher(FakeLauncher):
    """Runs works that can be killed; must come before the launcher of functions."""

    def __init__(self, named: ByName) -> None:
        super().__init__()
        self._named = named

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
        manner = self.work.manner
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._own_end)
            while True:
                await self._moved.wait()
                self._moved = trio.Event()
                if self.killed and manner.dies:
                    signal = 9
                elif self.asked and not manner.swallows and not self.killed:
                    with trio.move_on_after(manner.leaving):
                        await self._moved.wait()
                        continue
                    signal = 15
                elif self.work.over.is_set():
                    signal = 0
                else:
                    continue
                break
            nursery.cancel_scope.cancel()
        return Exited(None if signal else int(manner.fails), signal or None, PROOF)

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


# --- how a supervisor is reached --------------------------------------------------------------


class Link:
    """A supervisor in this process.

    A link over the wire overrides `open` and `reconnect`, and derives from `NamedLink`. The checks
    always look at `sup` itself.
    """

    def __init__(self, slots: int | None) -> None:
        self.slots = slots
        self.named = ByName()
        self.store = MemoryStore(tombstones_kept=TOMBSTONES)
        self.sup: Supervisor

    @asynccontextmanager
    async def open(self) -> AsyncIterator[JobControl]:
        async with open_sup(
            slots=self.slots,
            store=self.store,
            registry=self.named.registry,
            launchers=(WorkLauncher(self.named), FunctionLauncher()),
        ) as self.sup:
            yield self.sup

    def what(self, work: Work) -> tuple[Any, dict[str, int] | None]:
        """What to pass to `start` as the work, and as its `args`."""
        return work, None

    async def reconnect(self) -> JobControl:
        return self.sup

    def watch(self) -> AbstractAsyncContextManager[Any]:
        return self.sup.watch(since=0, logs=True, progress=True)


class NamedLink(Link):
    """Starts works by name."""

    def what(self, work: Work) -> tuple[Any, dict[str, int] | None]:
        return self.named.call(work)


class WireLink(NamedLink):
    """Through a client and a server, over a memory stream that can be cut and made anew."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[JobControl]:
        patient = Limits(heartbeat_seconds=1e6, write_seconds=1e6, linger_seconds=1e6)
        async with (
            super().open(),
            open_server(self.sup, auth=Auth([Token("tester", SECRET)]), limits=patient) as server,
            AsyncExitStack() as self.connection,
        ):
            self.server = server
            yield await self.connect()

    async def connect(self) -> JobControl:
        return await self.connection.enter_async_context(open_client(self.server))

    async def reconnect(self) -> JobControl:
        await self.connection.aclose()
        return await self.connect()


# --- running and checking ---------------------------------------------------------------------


class Player:
    """Plays one history and checks the invariants after every command."""

    LONG = 1000.0
    """Seconds in which everything ends that can."""

    def __init__(self, history: History, make_link: Callable[[int | None], Link] = Link) -> None:
        self.history = history
        self.link = make_link(history.slots)
        self.ground = Ground()
        self.latest: dict[str, Work] = {}
        self.control: JobControl
        self.asked = 0
        self.answers = 0
        self.waiting: dict[str, int] = defaultdict(int)
        self.created: dict[str, int] = defaultdict(int)
        self.remembered: dict[str, float] = {}
        self.finals: dict[Attempt, Job] = {}
        self.kill_at: dict[Attempt, float] = {}
        self.seen_seq = 0
        self.replayed: dict[str, JobEvent] = {}
        self.published: list[JobEvent] = []
        self.finished: set[Attempt] = set()

    async def play(self) -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        async with trio.open_nursery() as self.waiters, self.link.open() as self.control:
            try:
                async with self.link.watch() as self.events:
                    await self.begin()
                    for command in self.history.commands:
                        await self.do(command)
                        self.check()
                    await self.close()
                    await self.finish()
            finally:
                for work in self.ground.works:
                    work.yield_at_last()
        self.check_end()
        assert trio.lowlevel.current_statistics().tasks_living == before, "I8: tasks left"

    async def begin(self) -> None:
        """Before the first command."""

    async def finish(self) -> None:
        """After the last job has ended, and before the link is closed."""

    async def close(self) -> None:
        """Whoever resists the shutdown is let go later; what is left then has no excuse."""
        self.link.sup.shutdown_nowait("cancel")
        await trio.testing.wait_all_tasks_blocked()
        self.check()
        await trio.sleep(self.LONG)
        self.check()
        for work in self.ground.works:
            work.yield_at_last()
        await self.link.sup.drained.wait()
        self.check()

    # --- doing ------------------------------------------------------------------------------

    async def do(self, command: Command) -> None:
        match command:
            case Start():
                await self.answered(self.start, command)
            case Cancel(wait=True):
                self.asked += 1
                self.waiters.start_soon(self.cancel_and_wait, command)
            case Cancel():
                await self.answered(self.cancel, command)
            case CancelAll(grace=grace):
                await self.answered(self.cancel_all, grace)
            case Wait(job_id=job_id):
                self.asked += 1
                self.waiters.start_soon(self.wait, job_id)
            case End(job_id=job_id) if job_id in self.latest:
                self.latest[job_id].end()
            case Speak(job_id=job_id):
                for work in self.ground.works:  # the dead too: nobody must hear them
                    work.speak()
            case Pass(seconds=seconds):
                clock = trio.lowlevel.current_clock()
                assert isinstance(clock, trio.testing.MockClock)
                clock.jump(seconds)
                await trio.lowlevel.checkpoint()
            case Sleep(seconds=seconds):
                await trio.sleep(seconds)
            case Ticks(count=count):
                for _ in range(count):
                    await trio.lowlevel.checkpoint()
            case Settle():
                await trio.testing.wait_all_tasks_blocked()
                self.check_waiting()
            case Reconnect():
                self.control = await self.link.reconnect()
            case Shutdown(mode=mode, grace=grace):
                await self.control.shutdown(mode, grace=grace)

    async def answered(self, async_fn: Callable[..., Awaitable[None]], *args: Any) -> None:
        self.asked += 1
        await async_fn(*args)
        self.answers += 1

    def work_for(self, command: Start) -> Work:
        known = self.latest.get(command.job_id)
        if command.same and known is not None:
            return known
        make = KillableWork if command.manner.killable else AsyncWork
        return make(self.ground, command.manner)

    async def start(self, command: Start) -> None:
        job_id, work = command.job_id, self.work_for(command)
        before = self.link.store.get(job_id)
        expires = self.remembered.get(job_id, 0.0)
        buried = before is None and expires > trio.current_time()
        was_live = before is not None and not before.record.state.is_final
        what, args = self.link.what(work)
        try:
            handle = await self.ask_to_start(command, what, args)
        except (JobIdConflict, ShuttingDown):
            return
        if not handle.created:
            return
        self.created[job_id] += 1
        self.remembered.pop(job_id, None)
        self.latest[job_id] = work
        left = [tombstone.job_id for tombstone in self.link.sup.tombstones()]
        assert job_id not in left, "I9: not used up"
        job = await self.control.get(job_id)
        if buried and command.remembered == "cancel":
            assert (job.state, job.how, job.attempt) == ("cancelled", "never_started", 1), "I9"
            self.ground.won.add((job_id, 1))
        elif not was_live and job.state is JobState.CANCELLED:
            assert job.cancel_requested, f"I9: {job} was born cancelled without a reason"

    async def ask_to_start(self, command: Start, what: Any, args: Any) -> JobHandle:
        return await self.control.start(
            what,
            args=args,
            job_id=command.job_id,
            grace=4.0,
            notice=command.notice,
            timeout=command.timeout,
            id_conflict_policy=command.conflict,
            id_reuse_policy=command.reuse,
            if_remembered=command.remembered,
        )

    async def cancel(self, command: Cancel) -> None:
        first = await self.cancel_once(command)
        if first is None or not command.twice:
            return
        second = await self.cancel_once(command)
        if second is not None:
            check_repeat(first, second)

    async def cancel_once(self, command: Cancel) -> CancelReply | None:
        try:
            reply = await self.control.cancel(
                command.job_id,
                grace=command.grace,
                force=command.force,
                attempt=command.attempt,
                if_unknown=command.if_unknown,
            )
        except JobNotFound:
            assert command.if_unknown == "error"
            return None
        except Overloaded:
            self.check_full(command)
            return None
        if command.attempt is not None and reply.job is not None:
            stale = reply.job.attempt != command.attempt
            assert stale == (reply.outcome is CancelOutcome.STALE_ATTEMPT)
        self.note(reply)
        return reply

    def check_full(self, command: Cancel) -> None:
        """There was no room to remember this cancel."""
        assert len(self.living_tombstones()) >= TOMBSTONES, "I9"

    def living_tombstones(self) -> list[str]:
        now = trio.current_time()
        return [job_id for job_id, expires in self.remembered.items() if expires > now]

    def note(self, reply: CancelReply) -> None:
        if reply.outcome is CancelOutcome.RECORDED:
            self.remembered[reply.job_id] = trio.current_time() + 600.0
            return
        assert reply.job is not None
        attempt = (reply.job_id, reply.job.attempt)
        begun = reply.outcome in ("cancelled", "cancelling")
        if begun and not self.ground.entered[attempt] and reply.job.started_at is None:
            self.ground.won.add(attempt)
        if reply.outcome is CancelOutcome.CANCELLED:
            assert reply.job.state in ("cancelled", "timed_out")
            assert reply.certificate is not None
        if reply.outcome in ("already_cancelled", "already_finished"):
            assert reply.job.state.is_final

    async def cancel_and_wait(self, command: Cancel) -> None:
        self.waiting[command.job_id] += 1
        try:
            reply = await self.control.cancel(
                command.job_id,
                grace=command.grace,
                force=command.force,
                attempt=command.attempt,
                if_unknown=command.if_unknown,
                wait="finished",
            )
        except SupervisorError as exc:
            self.check_refusal(exc)
        else:
            if reply.outcome is CancelOutcome.RECORDED:
                self.remembered.setdefault(reply.job_id, trio.current_time() + 600.0)
            elif reply.outcome is not CancelOutcome.STALE_ATTEMPT:
                assert reply.job is not None
                assert reply.job.state.is_final or reply.job.state is JobState.STUCK
        self.waiting[command.job_id] -= 1
        self.answers += 1

    async def cancel_all(self, grace: float | None) -> None:
        replies = await self.control.cancel_many(supervisor.JobFilter(), grace=grace)
        for reply in replies:
            assert isinstance(reply, CancelReply)
            self.note(reply)

    async def wait(self, job_id: str) -> None:
        try:
            job = await self.control.wait(job_id)
        except (JobNotFound, ConnectionLost) as exc:
            self.check_refusal(exc)
        else:
            assert job.state.is_final
        self.answers += 1

    def check_refusal(self, error: SupervisorError) -> None:
        """Somebody who waited was told this instead."""

    # --- checking ---------------------------------------------------------------------------

    def check(self) -> None:
        assert not self.ground.violations
        self.read_events()
        jobs = self.link.sup.list_nowait(limit=1000)
        for job in jobs:
            self.check_job(job)
        self.check_slots()
        for job_id in IDS:
            alive = {
                attempt: count
                for attempt, count in self.ground.alive.items()
                if attempt[0] == job_id and count
            }
            assert sum(alive.values()) <= 1, f"I6: {alive}"
        assert len(self.link.sup.tombstones()) <= TOMBSTONES, "I9"

    def check_waiting(self) -> None:
        """Nobody who waits for an end waits on when it has come, or cannot come."""
        for job in self.link.sup.list_nowait(limit=1000):
            if job.state.is_final or job.state is JobState.STUCK:
                assert not self.waiting[job.id], f"I15: {job.id} is {job.state}"

    def check_job(self, job: Job) -> None:
        attempt = (job.id, job.attempt)
        assert job.attempt <= self.created[job.id] + 1, f"I10: {attempt}"
        event = self.replayed.get(job.id)
        assert event is not None, f"I12: no event of {job.id}"
        assert (event.attempt, event.state) == (job.attempt, job.state), f"I12: {event} {job}"
        if job.state.is_final:
            known = self.finals.setdefault(attempt, job)
            assert known == job, f"I1: {known} became {job}"
            assert not self.ground.alive[attempt], f"I3: {attempt} is alive"
            assert job.cancel_requested == (job.certificate is not None)
            if job.state in ("cancelled", "timed_out"):
                assert job.cancel_requested
        else:
            assert attempt not in self.finals, f"I1: {attempt} came back"
        if job.kill_in is not None:
            kill_at = trio.current_time() + job.kill_in
            # Once it is due the record says 0, and "now" goes on.
            assert not job.kill_in or kill_at <= self.kill_at.get(attempt, kill_at) + 1e-6, "I5"
            self.kill_at[attempt] = min(kill_at, self.kill_at.get(attempt, kill_at))

    def check_slots(self) -> None:
        statistics = self.link.sup.statistics_nowait()
        holding = sum(statistics.jobs[state] for state in HOLDS_A_SLOT)
        assert statistics.slots_used == holding, "I11"
        if self.history.slots is not None:
            assert holding <= self.history.slots, "I11"
            if statistics.jobs["pending"] and statistics.accepting:
                assert holding == self.history.slots, "I11: a slot is free, and somebody waits"

    def read_events(self) -> None:
        while (item := self.events.take_nowait()) is not None:
            if isinstance(item, JobEvent):
                assert item.seq == self.seen_seq + 1, f"I12: {item.seq} after {self.seen_seq}"
                self.seen_seq = item.seq
                self.read_event(item)
            else:
                attempt = (item.job_id, item.attempt)
                assert attempt not in self.finished, f"I14: {item}"
                if isinstance(item, LogEntry):
                    assert self.ground.entered[attempt], f"{item} of nobody"

    def read_event(self, event: JobEvent) -> None:
        attempt = (event.job_id, event.attempt)
        assert attempt not in self.finished, f"I14: {event}"
        known = self.replayed.get(event.job_id)
        if known is not None and known.attempt == event.attempt:
            assert LATER[event.state] >= LATER[known.state], f"{event} after {known}"
        elif known is not None:
            assert known.state.is_final, f"I6: {event} while {known}"
            assert event.attempt == known.attempt + 1
        self.replayed[event.job_id] = event
        self.published.append(event)
        if event.type == "job.finished":
            self.finished.add(attempt)

    def check_end(self) -> None:
        statistics = self.link.sup.statistics_nowait()
        live = {
            state: n for state, n in statistics.jobs.items() if n and not JobState(state).is_final
        }
        assert not live, f"I8: {live}"
        assert (statistics.slots_used, statistics.watchers) == (0, 0), "I8"
        assert not self.ground.violations
        assert not any(self.ground.alive.values()), f"I3: {dict(self.ground.alive)}"
        assert self.answers == self.asked, f"I13, I15: {self.answers} answers to {self.asked}"
        for job_id, count in self.created.items():
            self.check_attempts(job_id, count)

    def check_attempts(self, job_id: str, started: int) -> None:
        stored = self.link.store.get(job_id)
        assert stored is not None
        assert stored.record.attempt <= started, f"I10: {job_id}"


def check_repeat(first: CancelReply, second: CancelReply) -> None:
    """I4: a repeated request changes nothing and is answered with an equal or later state."""
    if first.job is None or second.job is None or first.job.attempt != second.job.attempt:
        return
    assert LATER[second.job.state] >= LATER[first.job.state], "I4"
    if first.outcome in ("cancelled", "cancelling", "joined", "escalated", "stuck"):
        assert second.outcome in ("joined", "stuck", "already_cancelled", "already_finished"), (
            f"I4: {first.outcome}, then {second.outcome}"
        )
    if first.outcome in ("already_cancelled", "already_finished"):
        assert second.job == first.job, "I4"

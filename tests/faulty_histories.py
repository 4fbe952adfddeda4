"""The histories of `histories`, played by a client on a faulty link.

The client reconnects by itself. When the faults are spent and the jobs have ended, it must have
heard exactly what the supervisor published, and every request must have been answered, as if the
link had been clean. What is true is learned from the supervisor itself and from the works.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
import trio.testing
from controls import SECRET
from faulty import Double, Fault, Faults, FaultyStream
from histories import Attempt, Cancel, Command, History, NamedLink, Player, Reconnect, Start

from supervisor import Auth, ConnectionLost, Limits, Token
from supervisor._client.client import Client
from supervisor._client.connect import connect_with
from supervisor._errors import JobIdConflict, ShuttingDown, SupervisorError
from supervisor._model import (
    CancelReply,
    Job,
    JobEvent,
    JobFilter,
    JobState,
    LogEntry,
    LogsLagged,
)
from supervisor._server import open_server
from supervisor.abc import JobControl, WatchItem

HEARTBEAT = 60.0
LIMITS = Limits(heartbeat_seconds=HEARTBEAT, bookmark_seconds=45.0, write_seconds=1e6)
"""What is lost without a sign is missed at the next heartbeat; more of them only take time."""

PATIENCE = 5000.0
"""Seconds, of a clock that jumps, after which everything has come that will ever come."""

AFTERMATH = 2 * HEARTBEAT + 5
"""Seconds in which nothing must come any more."""

SOME = JobFilter(job_ids=("a", "c"))


class FaultyLink(NamedLink):
    """Through a client that reconnects, over connections on which faults happen."""

    def __init__(self, slots: int | None, faults: Iterable[Fault] = ()) -> None:
        super().__init__(slots)
        self.faults = Faults(faults)
        self.patience = len([*faults]) + 1
        self.streams: list[FaultyStream] = []
        self.changes: list[object] = []
        self.client: Client

    @asynccontextmanager
    async def open(self) -> AsyncIterator[JobControl]:
        auth = Auth([Token("tester", SECRET)])
        async with (
            super().open(),
            open_server(self.sup, auth=auth, limits=LIMITS) as self.server,
            AsyncExitStack() as stack,
        ):
            self.client = await self._connect(stack)
            yield self.client

    async def _connect(self, stack: AsyncExitStack) -> Client:
        """The first connection is made once; whoever wants it tries again."""
        while True:
            opened = connect_with(
                self.dial,
                token=SECRET,
                connect_timeout=10.0,
                reconnect_timeout=float("inf"),
                on_change=self.changes.append,
                jitter=lambda: 0.5,
            )
            try:
                return await stack.enter_async_context(opened)
            except ConnectionLost:
                self.patience -= 1
                assert self.patience, "a clean link does not connect either"

    async def dial(self) -> FaultyStream:
        """A new connection."""
        ours, theirs = trio.testing.memory_stream_pair()
        self.server.nursery.start_soon(self.server.serve_stream, theirs)
        self.streams.append(FaultyStream(ours, self.faults))
        await trio.lowlevel.checkpoint()
        return self.streams[-1]

    async def reconnect(self) -> JobControl:
        """The connection is cut; who comes back is the client."""
        self.streams[-1].cut()
        return self.client


def is_safe(command: Start) -> bool:
    """Whether repeating it cannot start anything twice, nor be answered wrongly."""
    return command.conflict == command.reuse == "use_existing"


class Listener:
    """One watch through the client, and everything it has brought."""

    def __init__(self, filter: JobFilter | None) -> None:
        self.filter = filter
        self.heard: list[WatchItem] = []
        self.listening = trio.CancelScope()

    @property
    def events(self) -> list[JobEvent]:
        return [item for item in self.heard if isinstance(item, JobEvent)]

    def expected(self, published: Sequence[JobEvent]) -> list[JobEvent]:
        """What of it this listener wants to hear."""
        ids = None if self.filter is None else self.filter.job_ids
        return [event for event in published if ids is None or event.job_id in ids]


class FaultyPlayer(Player):
    """Plays over a link on which faults happen; answers may come later than what they tell."""

    LONG = 200.0

    link: FaultyLink

    def __init__(self, history: History, faults: Iterable[Fault] = ()) -> None:
        super().__init__(history, partial(FaultyLink, faults=faults))
        self.listeners = [Listener(None), Listener(SOME)]
        self.moved = trio.Event()
        self.starts: Counter[int] = Counter()
        self.unsafe: set[int] = set()
        self.accepted: set[Attempt] = set()
        self.followed: list[tuple[str, list[LogEntry]]] = []
        self.following: set[str] = set()
        self.counted = 0

    # --- listening ----------------------------------------------------------------------------

    async def begin(self) -> None:
        for listener in self.listeners:
            self.waiters.start_soon(self.listen, listener)

    async def listen(self, listener: Listener) -> None:
        with listener.listening:
            async with self.control.watch(since=0, filter=listener.filter, logs=True) as events:
                async for item in events:
                    listener.heard.append(item)
                    self.moved.set()

    async def follow(self, job_id: str) -> None:
        """Every line of the job, to its end; the answer is that it ends."""
        lines: list[LogEntry] = []
        self.followed.append((job_id, lines))
        async with self.control.follow_logs(job_id) as following:
            async for item in following:
                assert isinstance(item, LogEntry), f"{item}: no line was too many"
                lines.append(item)
        self.following.remove(job_id)
        self.answers += 1
        self.moved.set()

    def is_complete(self) -> bool:
        """Whether everybody has heard and been answered what there is."""
        return self.answers >= self.asked and all(
            len(listener.events) >= len(listener.expected(self.published))
            for listener in self.listeners
        )

    async def close(self) -> None:
        """A cancel that was answered takes effect, also without the shutdown that follows."""
        await trio.sleep(self.LONG)
        for job in self.link.sup.list_nowait(limit=1000):
            if (job.id, job.attempt) in self.accepted:
                assert job.state.is_final or job.state is JobState.STUCK, f"not cancelled: {job}"
        await super().close()

    async def finish(self) -> None:
        with trio.move_on_after(PATIENCE):
            while not self.is_complete():
                self.moved = trio.Event()
                await self.moved.wait()
        await trio.sleep(AFTERMATH)
        for listener in self.listeners:
            listener.listening.cancel()
        self.check_heard()
        assert self.answers == self.asked, f"I13, I15: {self.answers} answers to {self.asked}"

    # --- doing --------------------------------------------------------------------------------

    async def do(self, command: Command) -> None:
        with trio.fail_after(PATIENCE):
            if isinstance(command, Reconnect):
                await self.link.reconnect()
            else:
                await super().do(command)

    async def start(self, command: Start) -> None:
        job_id, work = command.job_id, self.work_for(command)
        what, args = self.link.what(work)
        assert args is not None
        number = args["number"]
        self.starts[number] += 1
        if not is_safe(command):
            self.unsafe.add(number)
        before = self.times_accepted(number)
        created: bool | None = None
        try:
            handle = await self.ask_to_start(command, what, args)
            created = handle.created
        except ConnectionLost:
            assert not is_safe(command), "a start that can be repeated was not"
        except (JobIdConflict, ShuttingDown) as exc:
            took_effect = self.times_accepted(number) - before
            # With an earlier start of the same work it may have been that one's turn now.
            assert not took_effect or self.starts[number] > 1 or self.was_doubled(number), (
                f"{exc!r}"
            )
            created = False
        took_effect = self.times_accepted(number) - before
        if created is not False or took_effect:
            self.created[job_id] += 1
            self.remembered.pop(job_id, None)
            self.latest[job_id] = work
        if created:
            left = [tombstone.job_id for tombstone in self.link.sup.tombstones()]
            assert job_id not in left, "I9: not used up"
        if took_effect and job_id not in self.following:
            self.following.add(job_id)
            self.asked += 1
            self.waiters.start_soon(self.follow, job_id)

    def times_accepted(self, number: int) -> int:
        """How many attempts of this work were ever put on record."""
        return len(
            {
                (spec.id, record.attempt)
                for _, _, _, spec, record in self.link.store.events(0)
                if spec.work.keywords["number"] == number
            }
        )

    def doubled(self) -> list[dict[str, Any]]:
        """The starts that the link has doubled."""
        said = [each.said for each in self.link.faults.happened if isinstance(each.fault, Double)]
        return [
            item["params"] for item in said if "params" in item and item["method"] == "job.start"
        ]

    def was_doubled(self, number: int) -> bool:
        return any(params["args"]["number"] == number for params in self.doubled())

    def check_full(self, command: Cancel) -> None:
        # What an answer that was lost has left there is not known.
        assert command.if_unknown == "remember", "I9"

    async def cancel_all(self, grace: float | None) -> None:
        # By a filter, which may meet other jobs the second time: it is not repeated.
        with suppress(ConnectionLost):
            await super().cancel_all(grace)

    def note(self, reply: CancelReply) -> None:
        super().note(reply)
        if reply.outcome in ("cancelled", "cancelling", "joined", "escalated", "stuck"):
            assert reply.job is not None
            self.accepted.add((reply.job_id, reply.job.attempt))

    # --- checking -----------------------------------------------------------------------------

    def check(self) -> None:
        for params in self.doubled()[self.counted :]:
            self.counted += 1
            self.created[params["job_id"]] += 1
        super().check()

    def check_waiting(self) -> None:
        """Over such a link an answer takes its time."""

    def check_refusal(self, error: SupervisorError) -> None:
        assert not isinstance(error, ConnectionLost), f"{error!r}: this could have been repeated"

    def check_job(self, job: Job) -> None:
        super().check_job(job)
        if job.how == "never_started":
            assert not self.ground.entered[(job.id, job.attempt)], f"I2: {job}"

    def check_heard(self) -> None:
        """What came over the wire is the supervisor's history."""
        assert [event.seq for event in self.published] == [
            seq for seq, *_ in self.link.store.events(0)
        ]
        for listener in self.listeners:
            check_same(listener.events, listener.expected(self.published))
            self.check_lines(listener)
        for job_id, lines in self.followed:
            self.check_followed(job_id, lines)

    def check_lines(self, listener: Listener) -> None:
        """Lines are not replayed; those that come are right, in order, once, and in time."""
        finished: set[Attempt] = set()
        last: Counter[str] = Counter()
        for item in listener.heard:
            if isinstance(item, LogEntry):
                assert (item.job_id, item.attempt) not in finished, f"I14: {item}"
                assert item.n > last[item.job_id], f"{item} after line {last[item.job_id]}"
                assert item == self.lines_of(item.job_id)[item.n - 1]
                last[item.job_id] = item.n
            elif isinstance(item, JobEvent):
                if item.type == "job.finished":
                    finished.add((item.job_id, item.attempt))
            else:
                assert isinstance(item, LogsLagged), f"{item}: nothing was lost"

    def lines_of(self, job_id: str) -> Sequence[LogEntry]:
        return self.link.store.logs(job_id, 0, 100_000)[0]

    def check_followed(self, job_id: str, lines: list[LogEntry]) -> None:
        """All lines of whole attempts, from the first."""
        kept = self.lines_of(job_id)
        assert lines == [*kept[: len(lines)]], f"{job_id}: {lines}\n{kept}"
        if len(lines) < len(kept):
            behind = lines[-1].attempt if lines else 1
            assert kept[len(lines)].attempt > behind, f"{job_id}: lines are missing"

    def check_end(self) -> None:
        super().check_end()
        self.check_starts()
        for attempt in self.accepted:
            if attempt in self.finals:
                assert self.finals[attempt].cancel_requested, f"{attempt}: its cancel was lost"
        states = [type(change).__name__ for change in self.link.changes]
        assert states == ["Connected", "Disconnected"] * (len(states) // 2) + states[-1:] * (
            len(states) % 2
        )

    def check_attempts(self, job_id: str, started: int) -> None:
        if self.link.store.get(job_id) is not None:  # else every start of it was lost
            super().check_attempts(job_id, started)

    def check_starts(self) -> None:
        """No work was begun more often than somebody asked for it."""
        doubled = Counter(params["args"]["number"] for params in self.doubled())
        for number, asked in self.starts.items():
            allowed = asked + (doubled[number] if number in self.unsafe else 0)
            assert self.times_accepted(number) <= allowed, f"work {number} was started again"


def check_same(heard: Sequence[JobEvent], published: Sequence[JobEvent]) -> None:
    """Exactly these events, in this order."""
    seqs = [event.seq for event in heard]
    assert seqs == [event.seq for event in published], f"heard {seqs}"
    assert [*heard] == [*published]

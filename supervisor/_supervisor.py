"""The supervisor in this process: what one can ask of it, and what one is told.

The methods that end in `_nowait` decide at once and never block; the async ones are these plus the
waiting. What they decide, the engine does.
"""

from __future__ import annotations

import itertools
import math
import secrets
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, overload

import msgspec
import trio
from msgspec.structs import astuple

from ._collector import set_aside
from ._engine import CHUNK, Engine
from ._entry import Entry
from ._errors import (
    InvalidArguments,
    JobIdConflict,
    JobNotFound,
    ReplayGone,
    ShuttingDown,
    SupervisorError,
)
from ._ledger import Ledger
from ._lifecycle import classify_cancel
from ._model import (
    CancelOutcome,
    CancelReply,
    Cause,
    Command,
    ConflictPolicy,
    Job,
    JobFilter,
    JobPage,
    JobRequest,
    JobState,
    LogPage,
    ReusePolicy,
    Statistics,
    Tombstone,
)
from ._options import (
    check_choice,
    check_count,
    check_flag,
    check_job_id,
    check_seconds,
    check_text,
)
from ._policy import IdDecision, decide_conflict, decide_reuse, same_request
from ._records import Final, JobSpec, Record, Request, Stuck
from ._registry import Registry
from ._specs import spec_of
from ._view import stop_of, when
from ._watch import Watch
from .abc import JobControl, JobHandle, Launcher, Store, Stored

__all__ = ["LocalHandle", "SuccessorHandle", "Supervisor"]

TOMBSTONE_SECONDS = 600.0
"""How long a cancel that came before its job is remembered."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What one cancel request did, and the record that it is answered with.

    Records never change, so the wide reply can be made when somebody reads it: in a bulk cancel
    that is most of the cost.
    """

    outcome: CancelOutcome
    known: Stored
    record: Record
    seq: int
    successor_dropped: bool = False


class BulkReplies(Sequence[CancelReply | SupervisorError]):
    """The answers to a bulk cancel, each assembled when it is read."""

    def __init__(self, ledger: Ledger, asked: Sequence[Asked | SupervisorError]) -> None:
        self._ledger = ledger
        self._asked = asked

    def __len__(self) -> int:
        return len(self._asked)

    @overload
    def __getitem__(self, index: int) -> CancelReply | SupervisorError: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[CancelReply | SupervisorError]: ...

    def __getitem__(
        self, index: int | slice
    ) -> CancelReply | SupervisorError | Sequence[CancelReply | SupervisorError]:
        if isinstance(index, slice):
            return BulkReplies(self._ledger, self._asked[index])
        asked = self._asked[index]
        return self._ledger.reply(*astuple(asked)) if isinstance(asked, Asked) else asked


class LocalHandle(JobHandle):
    """A job of this process."""

    __slots__ = ("_entry", "_owner", "created")

    def __init__(self, owner: Supervisor, entry: Entry, created: bool) -> None:
        self._owner = owner
        self._entry = entry
        self.created = created

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}: {self.state}>"

    @property
    def id(self) -> str:
        return self._entry.spec.id

    @property
    def state(self) -> JobState:
        return self._entry.record.state

    @property
    def record(self) -> Job:
        return self._owner._ledger.view(self._entry)

    async def cancel(
        self,
        *,
        reason: str | None = None,
        grace: float | None = None,
        force: bool = False,
        wait: str = "accepted",
        timeout: float | None = None,
    ) -> CancelReply:
        return await self._owner._cancel_entry(
            self._entry,
            reason=reason,
            grace=grace,
            force=force,
            wait=wait,
            timeout=timeout,
        )

    async def wait(self, timeout: float | None = None) -> Job:
        return await self._owner._wait_final(self._entry, timeout)

    def _exception(self) -> BaseException | None:
        return self._entry.exception


class SuccessorHandle(LocalHandle):
    """A job that waits for the end of the one it replaces; if it was dropped, that one."""

    __slots__ = ("_predecessor", "_spec")

    def __init__(self, owner: Supervisor, predecessor: Entry, spec: JobSpec) -> None:
        self._owner = owner
        self._predecessor = predecessor
        self._spec = spec
        self.created = True

    @property
    def _entry(self) -> Entry:  # type: ignore[override]
        entry = self._predecessor.successor
        return entry if entry is not None and entry.spec is self._spec else self._predecessor

    async def wait(self, timeout: float | None = None) -> Job:
        with trio.fail_after(_or_forever(timeout)):
            await super().wait()
            return await super().wait()


class Supervisor(JobControl):
    """Runs jobs, and lets anyone who may cancel them. Made by `open_supervisor`.

    Attributes:
        registry: the jobs that can be started by name.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        store: Store,
        launchers: Sequence[Launcher],
        slots: int | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.registry = registry
        self._engine = Engine(store, launchers, slots=slots, wall=wall)
        self._ledger = Ledger(self._engine)
        self._id_prefix = f"j{secrets.token_hex(2)}-"
        self._id_numbers = itertools.count(1)

    def __repr__(self) -> str:
        state = "open" if self.accepting else "closing"
        return f"<Supervisor {self.instance} {state}: {len(self._engine.live)} live jobs>"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Supervisor]:
        """The supervisor's lifetime; see `open_supervisor`."""
        async with self._engine.open():
            yield self

    @property
    def instance(self) -> str:
        """Names the history that `seq` counts in."""
        return self._engine.store.instance

    @property
    def head_seq(self) -> int:
        """The number of the newest event."""
        return self._engine.store.head_seq

    @property
    def accepting(self) -> bool:
        """Whether new jobs are taken."""
        return self._engine.closing is None

    @property
    def stopping(self) -> trio.Event:
        """Set once all jobs are to be cancelled: by `shutdown`, or by the end of the block."""
        return self._engine.stopping

    @property
    def drained(self) -> trio.Event:
        """Set once a shutdown was asked for and the last job is gone."""
        return self._engine.drained

    # --- start ---------------------------------------------------------------------------------

    async def start(
        self,
        work: str | Command | Callable[..., Awaitable[Any]],
        /,
        *arguments: Any,
        args: Mapping[str, Any] | None = None,
        job_id: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        grace: float | None = None,
        notice: float | None = None,
        timeout: float | None = None,
        on_disconnect: str | None = None,
        id_conflict_policy: str = "use_existing",
        id_reuse_policy: str = "use_existing",
        if_remembered: str = "cancel",
        requester: str = "local",
    ) -> LocalHandle:
        await trio.lowlevel.checkpoint_if_cancelled()
        request = JobRequest(
            work,
            arguments,
            args=args,
            job_id=job_id,
            name=name,
            labels=labels,
            grace=grace,
            notice=notice,
            timeout=timeout,
            on_disconnect=on_disconnect,
            id_conflict_policy=id_conflict_policy,
            id_reuse_policy=id_reuse_policy,
            if_remembered=if_remembered,
        )
        handle = self.start_nowait(request, requester=requester)
        # Shielded: a caller that is cancelled now has started the job, and shall hold it.
        await trio.lowlevel.cancel_shielded_checkpoint()
        await self._kept()
        return handle

    async def _kept(self) -> None:
        """Answers wait for the store; what they tell of does not."""
        store = self._engine.store
        if not store.synchronous:
            with trio.CancelScope(shield=True):
                await store.saved(store.head_seq)

    async def start_many(
        self, requests: Iterable[JobRequest], *, requester: str = "local"
    ) -> Sequence[JobHandle | SupervisorError]:
        await trio.lowlevel.checkpoint()
        answers: list[JobHandle | SupervisorError] = []
        # Shielded: a caller that is cancelled in the middle shall hold what it has started.
        with trio.CancelScope(shield=True):
            for number, request in enumerate(requests, 1):
                try:
                    answers.append(self.start_nowait(request, requester=requester))
                except SupervisorError as exc:
                    answers.append(exc)
                if number % CHUNK == 0:
                    await trio.lowlevel.checkpoint()
            await self._kept()
        return answers

    def start_nowait(self, request: JobRequest, *, requester: str = "local") -> LocalHandle:
        """Register a job; it can be cancelled from now on.

        Raises:
            What `JobControl.start` raises.
        """
        engine = self._engine
        if engine.closing is not None:
            raise ShuttingDown("the supervisor is shutting down and takes no new jobs")
        spec = spec_of(
            request,
            job_id=f"{self._id_prefix}{next(self._id_numbers)}",
            registry=self.registry,
            launchers=engine.launchers,
            requester=requester,
            now=engine.now(),
        )
        conflict, reuse = _check_policies(request)
        _check_word("if_remembered", request.if_remembered, "cancel", "run")
        if request.job_id is None and engine.store.get(spec.id) is None:
            return LocalHandle(self, engine.admit(spec), True)
        return self._start_known(spec, request, conflict, reuse)

    def _start_known(
        self, spec: JobSpec, request: JobRequest, conflict: ConflictPolicy, reuse: ReusePolicy
    ) -> LocalHandle:
        """A start with an id of the caller's: it may be known already, as a job or a tombstone."""
        live = self._engine.live.get(spec.id)
        if live is not None:
            return self._start_over_live(live, spec, conflict)
        ended = self._engine.store.get(spec.id)
        if ended is None:
            return self._start_new(spec, 1, None, request)
        match decide_reuse(reuse, ended.record.state, same=same_request(ended.spec, spec)):
            case IdDecision.USE_EXISTING:
                return LocalHandle(self, self._finished_entry(ended), False)
            case IdDecision.NEXT_ATTEMPT:
                return self._start_new(spec, ended.record.attempt + 1, ended.record, request)
        raise JobIdConflict(
            f"job {spec.id} has ended ({ended.record.state}){_unlike(ended.spec, spec)}; "
            "choose another id, or start with id_reuse_policy='allow'",
            job_id=spec.id,
            state=ended.record.state,
        )

    def _start_over_live(self, live: Entry, spec: JobSpec, policy: ConflictPolicy) -> LocalHandle:
        match decide_conflict(policy, same=same_request(live.spec, spec)):
            case IdDecision.USE_EXISTING:
                return LocalHandle(self, live, False)
            case IdDecision.REPLACE:
                return self._replace(live, spec)
        raise JobIdConflict(
            f"job {spec.id} is {live.record.state}{_unlike(live.spec, spec)}; "
            "choose another id, cancel it first, or start with id_conflict_policy='replace'",
            job_id=spec.id,
            state=live.record.state,
        )

    def _replace(self, live: Entry, successor: JobSpec) -> LocalHandle:
        """The successor is a field of the live record, and starts after its confirmed death."""
        request = Request(
            successor.requester,
            "replaced by a new start",
            Cause.REPLACED,
            successor.created,
            live.spec.grace,
            False,
        )
        self._engine.stop(live, request, successor=successor)
        return SuccessorHandle(self, live, successor)

    def _start_new(
        self, spec: JobSpec, attempt: int, previous: Record | None, request: JobRequest
    ) -> LocalHandle:
        engine = self._engine
        tombstone = engine.store.take(spec.id, spec.created.wall)
        if tombstone is None or request.if_remembered == "run":
            return LocalHandle(self, engine.admit(spec, attempt, previous), True)
        return LocalHandle(self, engine.bury(spec, attempt, previous, tombstone), True)

    def _finished_entry(self, stored: Stored) -> Entry:
        entry = Entry(self._engine, stored.spec, stored.record)
        entry.seq = stored.seq
        return entry

    # --- cancel --------------------------------------------------------------------------------

    async def cancel(
        self,
        job_id: str,
        *,
        reason: str | None = None,
        grace: float | None = None,
        force: bool = False,
        attempt: int | None = None,
        wait: str = "accepted",
        timeout: float | None = None,
        if_unknown: str = "error",
        requester: str = "local",
    ) -> CancelReply:
        await trio.lowlevel.checkpoint_if_cancelled()
        seconds = _check_wait(wait, timeout)
        asked = self._ask(job_id, reason, grace, force, attempt, if_unknown, requester)
        if isinstance(asked, CancelReply):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return asked
        return await self._answer(asked, wait, seconds)

    async def _cancel_entry(
        self,
        entry: Entry,
        *,
        reason: str | None,
        grace: float | None,
        force: bool,
        wait: str,
        timeout: float | None,
    ) -> CancelReply:
        """Cancel just this attempt, whatever has taken its id meanwhile."""
        await trio.lowlevel.checkpoint_if_cancelled()
        seconds = _check_wait(wait, timeout)
        _check_request(reason, grace, force)
        asked = self._ask_known(
            entry,
            self._request(entry, reason, grace, force, "local"),
            grace_given=grace is not None,
        )
        return await self._answer(asked, wait, seconds)

    async def _answer(self, asked: Asked, wait: str, seconds: float) -> CancelReply:
        # The job goes first: it was made runnable just now, in one batch with this task, and the
        # reply can be put together after it has run.
        await trio.lowlevel.cancel_shielded_checkpoint()
        await trio.lowlevel.cancel_shielded_checkpoint()
        if wait == "finished" and asked.outcome is not CancelOutcome.STALE_ATTEMPT:
            await trio.lowlevel.checkpoint_if_cancelled()
            asked = await self._when_gone(asked, trio.current_time() + seconds)
        await self._kept()
        return self._ledger.reply(*astuple(asked))

    async def _when_gone(self, asked: Asked, deadline: float) -> Asked:
        """The answer once the job is final or stuck, or at `deadline` on Trio's clock."""
        entry = asked.known
        if isinstance(entry, Entry) and not isinstance(entry.record, (Final, Stuck)):
            with trio.CancelScope(deadline=deadline):
                while not isinstance(entry.record, (Final, Stuck)):
                    await entry.wait_changed()
        return Asked(asked.outcome, entry, entry.record, asked.seq, asked.successor_dropped)

    def when_gone(
        self, reply: CancelReply, timeout: float | None = None
    ) -> Callable[[], Awaitable[CancelReply]]:
        """Waits until the job of a reply given just now is final or stuck, at most `timeout` s.

        Looked up at once: when the waiting begins, another attempt may have the id.
        """
        known = self._ledger.stored(reply.job_id)
        asked = Asked(reply.outcome, known, known.record, reply.seq, reply.successor_dropped)
        return partial(self._answer, asked, "finished", _or_forever(timeout))

    def cancel_nowait(
        self,
        job_id: str,
        *,
        reason: str | None = None,
        grace: float | None = None,
        force: bool = False,
        attempt: int | None = None,
        if_unknown: str = "error",
        requester: str = "local",
        cause: Cause = Cause.USER,
    ) -> CancelReply:
        """Take a cancel request; its effect has begun when this returns.

        Raises:
            What `JobControl.cancel` raises.
        """
        asked = self._ask(job_id, reason, grace, force, attempt, if_unknown, requester, cause)
        return asked if isinstance(asked, CancelReply) else self._ledger.reply(*astuple(asked))

    def _ask(
        self,
        job_id: str,
        reason: str | None,
        grace: float | None,
        force: bool,
        attempt: int | None,
        if_unknown: str,
        requester: str,
        cause: Cause = Cause.USER,
    ) -> Asked | CancelReply:
        _check_request(reason, grace, force)
        if attempt is not None:
            check_count("attempt", attempt)
        _check_word("if_unknown", if_unknown, "error", "remember")
        known = self._ledger.find(job_id)
        if known is None:
            return self._cancel_unknown(job_id, reason, if_unknown, requester)
        if attempt is not None and attempt != known.record.attempt:
            return Asked(CancelOutcome.STALE_ATTEMPT, known, known.record, self.head_seq)
        request = self._request(known, reason, grace, force, requester, cause)
        return self._ask_known(known, request, grace_given=grace is not None)

    def _request(
        self,
        known: Stored,
        reason: str | None,
        grace: float | None,
        force: bool,
        requester: str,
        cause: Cause = Cause.USER,
    ) -> Request:
        effective = known.spec.grace if grace is None else check_seconds("grace", grace)
        return Request(requester, reason, cause, self._engine.now(), effective, force)

    def _ask_known(self, known: Stored, request: Request, *, grace_given: bool) -> Asked:
        if isinstance(known.record, Final):
            outcome, _ = classify_cancel(known.record, request, grace_given=False)
            return Asked(outcome, known, known.record, self.head_seq)
        assert isinstance(known, Entry)
        stop = stop_of(known.record)
        outcome = self._engine.stop(known, request, grace_given=grace_given)
        dropped = stop is not None and stop.successor is not None
        return Asked(outcome, known, known.record, self.head_seq, dropped)

    def _cancel_unknown(
        self, job_id: str, reason: str | None, if_unknown: str, requester: str
    ) -> CancelReply:
        check_job_id(job_id)
        if if_unknown == "error":
            raise self._ledger.not_found(job_id)
        now = self._engine.wall()
        tombstone = Tombstone(
            job_id=job_id,
            reason=reason,
            requester=requester,
            recorded_at=when(now),
            expires_at=when(now + TOMBSTONE_SECONDS),
        )
        self._engine.store.remember(tombstone, now)
        return CancelReply(outcome=CancelOutcome.RECORDED, job_id=job_id, seq=self.head_seq)

    async def cancel_many(
        self,
        filter: JobFilter,
        *,
        reason: str | None = None,
        grace: float | None = None,
        force: bool = False,
        wait: str = "accepted",
        timeout: float | None = None,
        requester: str = "local",
    ) -> Sequence[CancelReply | SupervisorError]:
        await trio.lowlevel.checkpoint()
        _check_wait(wait, timeout)
        steps = self.cancel_steps(
            filter, reason=reason, grace=grace, force=force, requester=requester
        )
        asked: list[Asked | SupervisorError] = []
        # Shielded: that its caller is cancelled in the middle saves none of the jobs it named.
        with trio.CancelScope(shield=True):
            for number, answer in enumerate(steps, 1):
                if answer is not None:
                    asked.append(answer)
                if number % CHUNK == 0:
                    await trio.lowlevel.checkpoint()
        return await self.cancelled(asked, wait=wait, timeout=timeout)

    def cancel_steps(
        self,
        filter: JobFilter,
        *,
        reason: str | None = None,
        grace: float | None = None,
        force: bool = False,
        requester: str = "local",
    ) -> Generator[Asked | SupervisorError | None, None, None]:
        """Ask all jobs that are meant to stop, one at each step: what each was told.

        None: a pause, because those looked at last are not meant.
        For callers who want to pause in between; `cancelled` makes the replies.
        """
        _check_request(reason, grace, force)
        request: Request | None = None
        with set_aside(len(self._engine.live)) as set_aside_more:
            for number, job_id in enumerate(self._ledger.meant(filter), 1):
                if job_id is None:
                    yield None
                    continue
                try:
                    known = self._ledger.stored(job_id)
                except JobNotFound as exc:
                    yield exc
                    continue
                # Jobs of one chunk share the request, unless their own graces differ.
                if request is None or (grace is None and request.grace != known.spec.grace):
                    request = self._request(known, reason, grace, force, requester)
                yield self._ask_known(known, request, grace_given=grace is not None)
                if number % CHUNK == 0:
                    set_aside_more()
                    request = None

    async def cancelled(
        self,
        asked: list[Asked | SupervisorError],
        *,
        wait: str = "accepted",
        timeout: float | None = None,
    ) -> BulkReplies:
        """The replies to what `cancel_steps` did: at once, or when the jobs are gone."""
        deadline = trio.current_time() + _check_wait(wait, timeout)
        if wait == "finished":
            with trio.CancelScope(shield=True), set_aside(len(self._engine.live)) as more:
                await self._note_the_gone(asked, more)
            for place, answer in enumerate(asked):
                if isinstance(answer, Asked) and not isinstance(answer.record, Final):
                    asked[place] = await self._when_gone(answer, deadline)
        await self._kept()
        return BulkReplies(self._ledger, asked)

    async def _note_the_gone(
        self, asked: list[Asked | SupervisorError], after_chunk: Callable[[], None]
    ) -> None:
        """Most jobs of a bulk cancel are gone by now, and need not be waited for."""
        for place, answer in enumerate(asked):
            if isinstance(answer, Asked) and isinstance(answer.known.record, Final):
                asked[place] = Asked(
                    answer.outcome,
                    answer.known,
                    answer.known.record,
                    answer.seq,
                    answer.successor_dropped,
                )
            if place % CHUNK == 0:
                await trio.lowlevel.checkpoint()
                after_chunk()

    # --- look and wait ---------------------------------------------------------------------------

    async def get(self, job_id: str) -> Job:
        await trio.lowlevel.checkpoint()
        return self.get_nowait(job_id)

    def get_nowait(self, job_id: str) -> Job:
        """The job with this id.

        Raises:
            JobNotFound: nobody knows it.
        """
        return self._ledger.view(self._ledger.stored(job_id))

    async def list(
        self, filter: JobFilter | None = None, *, limit: int = 100, cursor: str | None = None
    ) -> JobPage:
        await trio.lowlevel.checkpoint()
        return self.list_nowait(filter, limit=limit, cursor=cursor)

    def list_steps(
        self,
        filter: JobFilter | None = None,
        *,
        limit: int = 100,
        cursor: str | None = None,
        fits: Callable[[Job], bool] = lambda job: True,
    ) -> Generator[None, None, JobPage]:
        """As `list_nowait`, with a pause at every job; the page ends before one that fits not."""
        return self._ledger.page_steps(filter, limit, cursor, fits)

    def list_nowait(
        self, filter: JobFilter | None = None, *, limit: int = 100, cursor: str | None = None
    ) -> JobPage:
        """A page of jobs in order of acceptance; what `JobControl.list` returns and raises."""
        return self._ledger.page(filter, limit, cursor)

    async def logs(self, job_id: str, *, since: int = 0, limit: int = 1000) -> LogPage:
        await trio.lowlevel.checkpoint()
        return self.logs_nowait(job_id, since=since, limit=limit)

    def logs_nowait(self, job_id: str, *, since: int = 0, limit: int = 1000) -> LogPage:
        """Lines of the job's log; what `JobControl.logs` returns and raises."""
        return self._ledger.log_page(job_id, since, limit)

    async def statistics(self) -> Statistics:
        await trio.lowlevel.checkpoint()
        return self.statistics_nowait()

    def statistics_nowait(self) -> Statistics:
        """Counters, and the position."""
        return self._ledger.statistics()

    def statistics_steps(self) -> Generator[None, None, Statistics]:
        """As `statistics_nowait`, with a pause at every job."""
        return self._ledger.statistics_steps()

    def tombstones(self) -> Sequence[Tombstone]:
        """The cancels that wait for their jobs, oldest first."""
        return self._engine.store.tombstones(self._engine.wall())

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:
        known = self._ledger.stored(job_id)
        if isinstance(known, Entry):
            return await self._wait_final(known, timeout)
        _or_forever(timeout)
        await trio.lowlevel.checkpoint()
        return self._ledger.view(known)

    async def _wait_final(self, entry: Entry, timeout: float | None) -> Job:
        seconds = _or_forever(timeout)
        if isinstance(entry.record, Final):
            await trio.lowlevel.checkpoint()
        else:
            with trio.fail_after(seconds):
                while not isinstance(entry.record, Final):
                    await entry.wait_changed()
        return self._ledger.view(entry)

    def watch(
        self,
        since: int | None = None,
        *,
        instance: str | None = None,
        filter: JobFilter | None = None,
        logs: bool = False,
        progress: bool = False,
    ) -> AbstractAsyncContextManager[Watch]:
        @asynccontextmanager
        async def watching() -> AsyncIterator[Watch]:
            await trio.lowlevel.checkpoint()
            from_seq = self.head_seq if since is None else since
            if since is not None and instance not in (None, self.instance):
                raise ReplayGone(
                    f"position {since} counts in the history {instance!r}; this one is "
                    f"{self.instance!r}: list again, and watch from there",
                    instance=self.instance,
                    head_seq=self.head_seq,
                )
            with self._engine.watchers.open(
                self._engine.store.events(from_seq),
                instance=self.instance,
                from_seq=from_seq,
                filter=filter,
                logs=logs,
                progress=progress,
            ) as watch:
                yield watch

        return watching()

    # --- shutdown --------------------------------------------------------------------------------

    async def shutdown(self, mode: str = "cancel", *, grace: float | None = None) -> None:
        self.shutdown_nowait(mode, grace=grace)
        await trio.lowlevel.checkpoint()

    def shutdown_nowait(self, mode: str = "cancel", *, grace: float | None = None) -> None:
        """Take no new jobs; "cancel" those there are, or "drain": let them end by themselves.

        A later "cancel" overrides an earlier "drain". `drained` is set when the last job is gone.

        Raises:
            InvalidArguments: the mode or grace is wrong.
        """
        _check_word("mode", mode, "cancel", "drain")
        self._engine.close(mode, None if grace is None else check_seconds("grace", grace))


def _unlike(known: JobSpec, asked: JobSpec) -> str:
    """Why a job of the same id is not simply the one that was asked for."""
    return "" if same_request(known, asked) else ", and other work or arguments are asked for now"


def _check_policies(request: JobRequest) -> tuple[ConflictPolicy, ReusePolicy]:
    conflict, reuse = request.id_conflict_policy, request.id_reuse_policy
    if conflict == reuse == "use_existing":  # nearly always
        return ConflictPolicy.USE_EXISTING, ReusePolicy.USE_EXISTING
    return (
        check_choice("id_conflict_policy", ConflictPolicy, conflict),
        check_choice("id_reuse_policy", ReusePolicy, reuse),
    )


def _check_request(reason: str | None, grace: float | None, force: bool) -> None:
    if reason is not None:
        check_text("reason", reason)
    if grace is not None:
        check_seconds("grace", grace)
    check_flag("force", force)


def _check_wait(wait: str, timeout: float | None) -> float:
    _check_word("wait", wait, "accepted", "finished")
    return _or_forever(timeout)


def _check_word(name: str, value: str, *words: str) -> None:
    if value not in words:
        listed = " or ".join(repr(word) for word in words)
        raise InvalidArguments(f"{name} must be {listed}, not {value!r}", path=f"$.{name}")


def _or_forever(timeout: float | None) -> float:
    return math.inf if timeout is None else check_seconds("timeout", timeout)

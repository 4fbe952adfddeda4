"""A control for a job that starts others: a supervisor whose children follow a script.

It is the real supervisor over launchers that only pretend, so that ids, policies, outcomes, waits,
watches and errors are those that the job will meet.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, ClassVar, Protocol

import attrs
import msgspec
import trio

from ..._errors import InvalidArguments
from ..._failure import error_info
from ..._lifecycle import NEVER_STARTED
from ..._model import CancelOutcome, CancelReply, Cause, Command, Job, JobRequest, Proof
from ..._records import (
    Exit,
    Exited,
    Instant,
    JobSpec,
    LetThrough,
    NeverStarted,
    Raised,
    Request,
    Returned,
)
from ..._registry import RegisteredJob, Registry
from ..._supervisor import Asked, LocalHandle, Supervisor
from ...abc import JobSink, Launcher, RunningJob, Stored
from ...launchers.function import FunctionLauncher
from ...stores.memory import MemoryStore
from .children import Fails, Outcome, Script, Succeeds

__all__ = ["ChildCancel", "StubControl"]

SCRIPTED = Proof("scripted", detail="a child that follows a script is gone")
TERMINATED, KILLED = 15, 9


@attrs.frozen
class ChildCancel:
    """One cancel of a child, as it was accepted.

    Args:
        job_id: whose.
        reason: what the job said.
        grace: seconds between `cancel` and `force`.
        force: whether it was to be killed at once.
    """

    job_id: str
    reason: str | None
    grace: float
    force: bool


class Own(Protocol):
    """The job that has the control: a stub, too."""

    @property
    def id(self) -> str: ...

    @property
    def record(self) -> Job: ...

    def now(self) -> Instant: ...

    def cancel(
        self, *, reason: str | None = None, grace: float | None = None, force: bool = False
    ) -> CancelOutcome: ...


class StubControl(Supervisor):
    """The `JobControl` that a test hands to its job; see `stub_job(children=...)`.

    Attributes:
        starts: the starts that made a job, in their order, each with its id.
        cancels: the cancels of known children, in their order.
        left: ids of children that were alive when the job ended; they are ended then.
    """

    def __init__(self, script: Script, registry: Registry | None, own: Own) -> None:
        super().__init__(
            registry=_AnyName() if registry is None else registry,
            store=MemoryStore(clock=trio.current_time),
            launchers=(_Functions(script), _Commands(script)),
            wall=lambda: own.now().wall,
        )
        self._id_prefix = "child-"
        self._script = script
        self.starts: list[JobRequest] = []
        self.cancels: list[ChildCancel] = []
        self.left: tuple[str, ...] = ()
        self._own = own

    @asynccontextmanager
    async def open(self) -> AsyncIterator[StubControl]:
        """Children can be started in this block; those that are left at its end are ended."""
        async with super().open():
            try:
                yield self
            finally:
                live = tuple(self._engine.live.values())
                self.left = tuple(entry.spec.id for entry in live)
                for entry in live:
                    if isinstance(entry.running, _RunningChild):
                        entry.running.end()

    def start_nowait(self, request: JobRequest, *, requester: str = "local") -> LocalHandle:
        if self.accepting and self._is_work(request.work):
            self._script.check(request)
        handle = super().start_nowait(request, requester=requester)
        if handle.created:
            self.starts.append(attrs.evolve(request, job_id=handle.id))
        return handle

    def _is_work(self, work: object) -> bool:
        """Whether a supervisor would run it; if not, its own error tells why."""
        if isinstance(work, str):
            return isinstance(self.registry, _AnyName) or work in {
                job.name for job in self.registry
            }
        return any(launcher.accepts(work) for launcher in self._engine.launchers)

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
        own = self._own
        if job_id != own.id:
            return super()._ask(job_id, reason, grace, force, attempt, if_unknown, requester, cause)
        outcome = own.cancel(reason=reason, grace=grace, force=force)
        return CancelReply(outcome=outcome, job_id=job_id, seq=self.head_seq, job=own.record)

    def _ask_known(self, known: Stored, request: Request, *, grace_given: bool) -> Asked:
        asked = super()._ask_known(known, request, grace_given=grace_given)
        self.cancels.append(
            ChildCancel(known.spec.id, request.reason, request.grace, request.force)
        )
        return asked

    def get_nowait(self, job_id: str) -> Job:
        own = self._own
        return own.record if own.id == job_id else super().get_nowait(job_id)


# --- names ----------------------------------------------------------------------------------------


class _AnyName(Registry):
    """Takes every name for that of a registered job, and any arguments."""

    def get(self, name: str) -> RegisteredJob:
        return _AnyArguments(name=name, function=_never_called, params=msgspec.Struct, doc="")


class _AnyArguments(RegisteredJob):
    def bind(self, args: Mapping[str, Any] | None) -> Callable[[], Awaitable[Any]]:
        if args is not None and not isinstance(args, Mapping):
            raise InvalidArguments(
                f"args of job {self.name!r} must be names and values, not {type(args).__name__}",
                path="$.args",
            )
        return _never_called


async def _never_called() -> None:
    """In the place of a registered function."""


# --- children -------------------------------------------------------------------------------------


class _Functions(FunctionLauncher):
    """Accepts what runs as a function, and runs the script instead."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        return _RunningFunction(self._script.next_for(spec), sink)


class _Commands(Launcher):
    """Accepts commands, and runs the script instead."""

    kind: ClassVar[str] = "command"
    can_force: ClassVar[bool] = True

    def __init__(self, script: Script) -> None:
        self._script = script

    def accepts(self, work: object) -> bool:
        return isinstance(work, Command)

    def open(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        return _RunningCommand(self._script.next_for(spec), sink)


class _RunningChild(RunningJob):
    """One attempt of a child: its outcome, played on Trio's clock."""

    __slots__ = ("_asked", "_ended", "_outcome", "_sink", "exception")

    stream: ClassVar[str]

    def __init__(self, outcome: Outcome, sink: JobSink) -> None:
        self._outcome = outcome
        self._sink = sink
        self._asked = trio.CancelScope()
        self._ended = trio.CancelScope()
        self.exception = None

    async def run(self) -> Exit:
        if self._asked.cancel_called or self._ended.cancel_called:
            return NeverStarted(None, NEVER_STARTED)
        self._sink.started()
        for line in self._outcome.logs:
            self._sink.log_line(self.stream, line)
        with self._asked:
            await trio.sleep(getattr(self._outcome, "after", math.inf))
            return self._by_itself()
        with self._ended:
            await trio.sleep(getattr(self._outcome, "leaving", 0.0))
        return self._stopped(forced=self._ended.cancelled_caught)

    def _by_itself(self) -> Exit:
        raise NotImplementedError

    def _stopped(self, *, forced: bool) -> Exit:
        raise NotImplementedError

    def cancel(self, reason: str | None) -> None:
        self._asked.cancel(reason)

    def end(self) -> None:
        """The test is over: it leaves, whatever its script says."""
        self._asked.cancel("the job under test has ended")
        self._ended.cancel("the job under test has ended")

    def survivors(self) -> tuple[str, ...]:
        return ("a scripted child that does not leave",)


class _RunningFunction(_RunningChild):
    __slots__ = ()

    stream: ClassVar[str] = "log"

    def _by_itself(self) -> Exit:
        if isinstance(self._outcome, Fails):
            self.exception = self._outcome.error
            return Raised(error_info(self._outcome.error), SCRIPTED)
        assert isinstance(self._outcome, Succeeds)
        return Returned(self._outcome.result, SCRIPTED)

    def _stopped(self, *, forced: bool) -> Exit:
        return LetThrough(SCRIPTED)

    def kill(self) -> None:
        self._asked.cancel("force")


class _RunningCommand(_RunningChild):
    __slots__ = ()

    stream: ClassVar[str] = "stdout"

    def _by_itself(self) -> Exit:
        if isinstance(self._outcome, Fails):
            self._sink.log_line("stderr", str(self._outcome.error))
            return Exited(self._outcome.exit_code, None, SCRIPTED)
        return Exited(0, None, SCRIPTED)

    def _stopped(self, *, forced: bool) -> Exit:
        return Exited(None, KILLED if forced else TERMINATED, SCRIPTED)

    def kill(self) -> None:
        self._asked.cancel("force")
        self._ended.cancel("force")

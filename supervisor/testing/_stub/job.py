"""A job function on its own: what its body sees is real, and what it says is kept for the test.

The body's `current_job()` is the very object that it sees under a supervisor, and the table of
`_lifecycle` says what a cancellation means; only the engine behind them is replaced, by lists.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import trio
from msgspec.structs import replace

from ..._context import CURRENT
from ..._entry import Entry
from ..._errors import InvalidArguments
from ..._failure import error_info
from ..._lifecycle import (
    NEVER_STARTED,
    Cancel,
    Climb,
    Ended,
    Escalate,
    Input,
    Resist,
    Started,
    advance,
    classify_cancel,
    next_rung,
)
from ..._model import CancelOutcome, Cause, DisconnectPolicy, Job, JobState, Progress, Rung
from ..._options import (
    check_count,
    check_flag,
    check_job_id,
    check_labels,
    check_seconds,
    check_text,
)
from ..._policy import DEFAULT_GRACE
from ..._records import (
    Cancelling,
    Exit,
    Final,
    Instant,
    JobSpec,
    NeverStarted,
    Raised,
    Request,
    Returned,
    Starting,
)
from ..._registry import Registry
from ..._timers import Timers
from ..._view import describe_work, job_view
from ...abc import result_of
from ...launchers.function import LET_THROUGH, TASK_EXITED
from ...stores._logs import LogRings
from .._schedules.run import run_once
from .._schedules.scenario import check_scenario
from .._schedules.where import where
from ..errors import InsideTrio
from .children import Outcome, Script
from .control import StubControl

if TYPE_CHECKING:
    from ..._engine import Engine

__all__ = ["StubJob", "stub_job"]

EPOCH = 1_704_067_200.0
"""The time of day at which a stub job begins, so that its record is the same each time."""

CANCEL_NOW = "the scripted cancellation"
TIMED_OUT = "the end of the timeout"
RUNG_OVER = "the end of a rung"


class StubJob:
    """One attempt of a job, from the test's side; made by `stub_job`.

    Attributes:
        progress_made: what the body said of its progress, in order.
        logs: the lines that it wrote, as a supervisor keeps them.
    """

    def __init__(
        self,
        spec: JobSpec,
        attempt: int,
        *,
        named: bool,
        cancel_after_progress: int | None,
        cancel_at: float | None,
        reason: str | None,
        script: Script | None,
        registry: Registry | None,
    ) -> None:
        self.progress_made: list[Progress] = []
        self.logs: list[str] = []
        # Whatever the body calls on its entry arrives at `on_started`, `on_log` and `on_progress`.
        self._entry = Entry(cast("Engine", self), spec, Starting(attempt, 1))
        self._cancel_after_progress = cancel_after_progress
        self._cancel_at = cancel_at
        self._reason = reason
        self._control = None if script is None else StubControl(script, registry, self)
        self._lines = LogRings()
        self._scope = trio.CancelScope()
        self._task: trio.lowlevel.Task | None = None
        self._timers: Timers[str] | None = None
        self._timekeeping = trio.CancelScope()
        self._began = self._last = 0.0
        self._named = named
        self._used = False
        self._value: Any = None
        self._block: AbstractContextManager[StubJob] | None = None
        self._async_block: AbstractAsyncContextManager[StubJob] | None = None

    def __repr__(self) -> str:
        return f"<stub job {self.id} attempt {self.attempt}: {self._entry.record.state}>"

    # --- what the test looks at -------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The job's id."""
        return self._entry.id

    @property
    def attempt(self) -> int:
        """Which execution this is, from 1."""
        return self._entry.attempt

    @property
    def cancel_requested(self) -> bool:
        """Whether the job was asked to stop."""
        return self._entry.cancel_requested

    @property
    def reason(self) -> str | None:
        """What the one who asked first said."""
        return self._entry.reason

    @property
    def record(self) -> Job:
        """The record that a supervisor would have of the job now; after its end, the final one."""
        entry = self._entry
        return job_view(
            entry.spec,
            entry.record,
            0,
            now=self.now().mono,
            progress=entry.latest_progress,
            log_lines=len(self.logs),
        )

    @property
    def control(self) -> StubControl:
        """The scripted control to hand to the job, and the record of what the job did with it.

        Raises:
            RuntimeError: there is no script for children.
        """
        if self._control is None:
            raise RuntimeError(
                "this stub job has no control, since no children are scripted; write "
                'stub_job(children={"name": Succeeds(...)}), or children={} for none'
            )
        return self._control

    # --- what the test does -----------------------------------------------------------------------

    def cancel(
        self, *, reason: str | None = None, grace: float | None = None, force: bool = False
    ) -> CancelOutcome:
        """Ask the job to stop, as `JobHandle.cancel` does; returns what this request did.

        With `notice=` the body only sees `cancel_requested` until the notice is over. May be called
        from the test, from a task beside the body, or from what the body calls.

        Args:
            reason: why; the body sees it as `current_job().reason`.
            grace: seconds until a job that stays is called stuck.
            force: no notice.

        Raises:
            InvalidArguments: an argument is wrong.
        """
        if reason is not None:
            check_text("reason", reason)
        check_flag("force", force)
        seconds = self._entry.spec.grace if grace is None else check_seconds("grace", grace)
        request = Request("local", reason, Cause.USER, self.now(), seconds, force)
        return self._ask(request, grace_given=grace is not None)

    def _ask(self, request: Request, *, grace_given: bool = False) -> CancelOutcome:
        outcome, input = classify_cancel(self._entry.record, request, grace_given=grace_given)
        if input is not None:
            self._move(input)
            if isinstance(input, (Cancel, Escalate)):
                self._entry.tell_cancel_requested()
                self._take_rung()
        return outcome

    def run(self, async_fn: Callable[..., Awaitable[Any]], /, *args: Any) -> Any:
        """Run the job function once, deterministically, and return what it returns.

        For plain (sync) tests: it makes a Trio run of its own, on a clock that jumps when every
        task waits. In an async test write `with stub_job(...) as job: await async_fn(...)`.

        Args:
            async_fn: the job function.
            args: its arguments; `self.control` may be one.

        Raises:
            JobCancelled: it let the cancellation through.
            JobTimedOut: it did so after its timeout.
            BadScenario: it is not an async function, or not with these arguments.
            InsideTrio: called in an async test.
            Deadlock: it waits for what will never happen.
            BaseException: whatever the job function raised.
        """
        check_scenario(async_fn, args, who="stub_job(...).run")
        if trio.lowlevel.in_trio_run():
            raise InsideTrio(
                "stub_job(...).run makes a Trio run of its own and was called inside one; here "
                f"write `{self._how_to_open()}`, and in it await the job function"
            )
        return run_once(self._run, async_fn, args)

    async def _run(self, async_fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        entry = self._entry
        name = entry.spec.name if self._named else describe_work(async_fn)
        entry.spec = replace(entry.spec, name=name, work=async_fn, arguments=args)
        if isinstance(entry.record, Cancelling):  # before it began: it is never entered
            self._used = True
            self._on_ended(NeverStarted(None, NEVER_STARTED))
        else:
            async with self:
                self._value = await async_fn(*args)
        return result_of(self.record)

    # --- the block --------------------------------------------------------------------------------

    def __enter__(self) -> StubJob:
        if self._control is not None:
            raise RuntimeError(
                "scripted children are tasks, and need a block that waits for them: write "
                "`async with stub_job(children=...) as job`"
            )
        self._block = self._body()
        return self._block.__enter__()

    def __exit__(
        self,
        type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._block is not None
        return self._block.__exit__(type, error, traceback)

    async def __aenter__(self) -> StubJob:
        self._async_block = self._body_with_children()
        return await self._async_block.__aenter__()

    async def __aexit__(
        self,
        type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._async_block is not None
        return await self._async_block.__aexit__(type, error, traceback)  # noqa: ASYNC102

    @asynccontextmanager
    async def _body_with_children(self) -> AsyncIterator[StubJob]:
        async with nullcontext() if self._control is None else self._control.open():
            with self._body():
                yield self

    @contextmanager
    def _body(self) -> Iterator[StubJob]:
        """The block is the body: a cancellation ends it, as a cancel scope does."""
        in_trio = self._enter()
        exit: Exit = LET_THROUGH
        token = CURRENT.set(self._entry)
        try:
            with self._scope if in_trio else nullcontext():
                self._entry.started()
                yield self
                exit = Returned(self._value, TASK_EXITED)
        except BaseException as exc:
            exit = Raised(error_info(exc), TASK_EXITED)
            raise
        finally:
            CURRENT.reset(token)
            self._timekeeping.cancel("the stub job has ended")
            self._on_ended(exit)

    def _enter(self) -> bool:
        """Begin the attempt; returns whether there is a Trio run around."""
        if self._used:
            raise RuntimeError(
                f"{self!r} has been used; a stub job is one attempt, so make another: "
                f"stub_job(attempt={self.attempt + 1})"
            )
        if self.cancel_requested:
            raise RuntimeError(
                "this stub job was cancelled before it began, and a supervisor does not enter the "
                "body of such a job; cancel it in the block, or use stub_job(...).run"
            )
        in_trio = trio.lowlevel.in_trio_task()
        if not in_trio and (self._cancel_at is not None or self._entry.spec.timeout is not None):
            raise RuntimeError(
                "cancel_at= and timeout= count on Trio's clock, and this block is in no Trio task; "
                "use stub_job(...).run, or an async test"
            )
        self._used = True
        if in_trio:
            self._task = trio.lowlevel.current_task()
            self._began = trio.current_time()
        return in_trio

    def _how_to_open(self) -> str:
        return f"{'' if self._control is None else 'async '}with stub_job(...) as job:"

    # --- in the engine's place --------------------------------------------------------------------

    def now(self) -> Instant:
        """This moment, on Trio's clock and in the time of day that goes with it."""
        mono = trio.current_time() if self._task and trio.lowlevel.in_trio_run() else self._last
        self._last = mono
        return Instant(mono, EPOCH + mono - self._began)

    def _move(self, input: Input) -> None:
        entry = self._entry
        entry.record, _ = advance(entry.spec, entry.record, input)

    def on_started(self, entry: Entry) -> None:
        """The body is entered."""
        self._move(Started(self.now()))
        if self._cancel_at is not None:
            self._call_at(self._began + self._cancel_at, CANCEL_NOW)
        if entry.spec.timeout is not None:
            self._call_at(self._began + entry.spec.timeout, TIMED_OUT)

    def on_log(self, entry: Entry, stream: str, data: str | bytes) -> None:
        """One line of the body's log."""
        if not isinstance(entry.record, Final):
            wall = self.now().wall
            kept = self._lines.append(self.id, self.attempt, stream, data, wall)
            self.logs.append(kept.text)

    def on_progress(self, entry: Entry, progress: Progress) -> None:
        """What the body says of its progress."""
        if isinstance(entry.record, Final):
            return
        entry.latest_progress = progress
        self.progress_made.append(progress)
        if len(self.progress_made) == self._cancel_after_progress:
            self.cancel(reason=self._reason)

    def _on_ended(self, exit: Exit) -> None:
        self._move(Ended(exit, self.now(), None, self._entry.latest_progress))
        self._task = None

    def _take_rung(self) -> None:
        """Do what the record that was just made calls for."""
        record = self._entry.record
        if not isinstance(record, Cancelling):
            return
        stop = record.stop
        if stop.rung is Rung.CANCEL:
            self._scope.cancel(stop.first.reason)
        elif stop.rung is Rung.FORCE:
            self._scope.cancel("force")
            self._move(Climb(Rung.VERIFY, self.now()))
            self._take_rung()
            return
        self._call_at(stop.rung_ends, RUNG_OVER)

    def _call_at(self, when: float, what: str) -> None:
        """In a system task, since there is no nursery; it ends with the block."""
        if self._task is None:
            return
        if self._timers is None:
            self._timers = Timers(self._on_time)
            trio.lowlevel.spawn_system_task(self._keep_time, self._timers)
        self._timers.call_at(when, what)

    async def _keep_time(self, timers: Timers[str]) -> None:
        with self._timekeeping:
            await timers.serve()

    def _on_time(self, what: str) -> None:
        if what == CANCEL_NOW:
            self.cancel(reason=self._reason)
        elif what == RUNG_OVER:
            self._rung_over()
        elif self._entry.record.state is JobState.RUNNING:
            spec = self._entry.spec
            reason = f"it ran longer than its timeout of {spec.timeout:g} s"
            self._ask(Request("supervisor", reason, Cause.DEADLINE, self.now(), spec.grace, False))

    def _rung_over(self) -> None:
        record, now = self._entry.record, self.now()
        if not isinstance(record, Cancelling) or record.stop.rung_ends > now.mono:
            return  # shortened meanwhile, or past
        following = next_rung(self._entry.spec, record.stop)
        if following is None:
            place = () if self._task is None else (str(where(self._task)),)
            self._move(Resist(place, now))
        else:
            self._move(Climb(following, now))
            self._take_rung()


def stub_job(
    *,
    id: str = "stub",
    attempt: int = 1,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    grace: float | None = None,
    notice: float | None = None,
    timeout: float | None = None,
    cancel_after_progress: int | None = None,
    cancel_at: float | None = None,
    reason: str | None = None,
    children: Mapping[str, Outcome | Sequence[Outcome]] | None = None,
    registry: Registry | None = None,
) -> StubJob:
    """A job without a supervisor, to test a job function with: `stub_job().run(function, ...)`.

    In an async test: `with stub_job() as job: await function(...)`; a cancellation ends the block.
    In both, the body finds its job as `current_job()`, and the test finds on the stub what the body
    said, and the record that a supervisor would have of it.

    Args:
        id: the job's id.
        attempt: which execution this is, from 1.
        name: what it is called; by default as the function that is run.
        labels: those on its record.
        grace: seconds between `cancel` and being called stuck.
        notice: seconds in which the body only sees `cancel_requested`.
        timeout: seconds that it may run; then it is asked to stop.
        cancel_after_progress: cancel the job as soon as it has told its progress so often.
        cancel_at: cancel it so many seconds after its beginning, on Trio's clock.
        reason: of that cancellation.
        children: what the jobs do that this one starts: `{"crawl": Succeeds(3), "build":
            Fails("no disk"), "slow": Hangs()}`, by id, name, or that of the function or program; a
            list has an outcome for each start. Hand `job.control` to the function. An async test
            then needs `async with`.
        registry: by default every name in `children` is that of a registered job; with a registry
            only those it has, and their arguments are checked.

    Raises:
        InvalidArguments: an argument is wrong.
    """
    if reason is not None and cancel_after_progress is None and cancel_at is None:
        raise InvalidArguments(
            "reason= is that of a scripted cancellation; give cancel_after_progress= or "
            "cancel_at= too, or call job.cancel(reason=...)",
            path="$.reason",
        )
    if registry is not None and children is None:
        raise InvalidArguments(
            "registry= is for the children that the job starts; give children={...} too",
            path="$.registry",
        )
    spec = JobSpec(
        check_job_id(id),
        "job" if name is None else check_text("name", name),
        "async",
        None,
        (),
        None,
        DEFAULT_GRACE if grace is None else check_seconds("grace", grace),
        0.0 if notice is None else check_seconds("notice", notice),
        None if timeout is None else check_seconds("timeout", timeout),
        False,
        {} if labels is None else check_labels(labels),
        DisconnectPolicy.KEEP,
        "local",
        Instant(0.0, EPOCH),
    )
    return StubJob(
        spec,
        check_count("attempt", attempt),
        named=name is not None,
        cancel_after_progress=None
        if cancel_after_progress is None
        else check_count("cancel_after_progress", cancel_after_progress),
        cancel_at=None if cancel_at is None else check_seconds("cancel_at", cancel_at),
        reason=None if reason is None else check_text("reason", reason),
        script=None if children is None else Script(children),
        registry=registry,
    )

"""The interfaces: what a store, a launcher and a control surface must hold.

They speak of jobs, not of tables, processes or messages. Ours and yours are held to the same
conformance suites.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ._errors import JobCancelled, JobFailed, JobTimedOut, SupervisorError
from ._follow import LogFollow
from ._model import (
    CancelReply,
    Command,
    EventsLost,
    Job,
    JobEvent,
    JobFilter,
    JobPage,
    JobRequest,
    JobState,
    LogEntry,
    LogPage,
    LogsLagged,
    ProgressEvent,
    Statistics,
    Tombstone,
)

if TYPE_CHECKING:
    from ._records import Exit, JobSpec, Published, Record

__all__ = [
    "JobControl",
    "JobHandle",
    "JobSink",
    "JobWatch",
    "Launcher",
    "RunningJob",
    "Store",
    "Stored",
    "WatchItem",
]

WatchItem = JobEvent | LogEntry | ProgressEvent | LogsLagged | EventsLost
"""What a watch gives. `EventsLost` comes only from a watch over the wire that had to reconnect."""


# --- launchers -----------------------------------------------------------------------------------


class JobSink(Protocol):
    """What a running job tells the supervisor. All of it is synchronous and never blocks."""

    def started(self) -> None:
        """The body begins now. Called at most once, by the launcher."""

    def log_line(self, stream: str, data: str | bytes) -> None:
        """One line of output, without its line end; `stream` is "stdout", "stderr" or "log"."""


class RunningJob(ABC):
    """One attempt, from before it acquires anything until nothing of it is left.

    Attributes:
        exception: what the body raised, for whoever holds the job in this process; never kept.
    """

    __slots__ = ()

    exception: BaseException | None = None

    @abstractmethod
    async def run(self) -> Exit:
        """Acquire, run, clean up.

        Returns only when nothing of the attempt is alive, with the proof of that in the exit; as
        long as something is alive it does not return. A failure of the job, or to launch it, is
        an exit, not an exception. Must notice a `cancel` or `kill` that came before it was called,
        or while it acquires something, and then does not enter the body: `NeverStarted`, without an
        error. If its own task is cancelled, it ends the attempt and lets the cancellation through.
        """

    @abstractmethod
    def cancel(self, reason: str | None) -> None:
        """Ask the body to leave: cancel its scope, send SIGTERM to its whole tree. Idempotent.

        This, `kill` and `survivors` may be called before `run` and after its end.
        """

    @abstractmethod
    def kill(self) -> None:
        """End it by force, the whole tree. May be called again, to try again. Idempotent.

        A launcher that cannot force (`can_force` False) does what `cancel` does.
        """

    @abstractmethod
    def survivors(self) -> tuple[str, ...]:
        """What is alive and where it hangs, one line each; for the record of a stuck job."""


class Launcher(ABC):
    """Runs one kind of work.

    Attributes:
        kind: the kind's name on the record.
        can_force: whether `kill` can end what does not want to end.
    """

    kind: ClassVar[str]
    can_force: ClassVar[bool]

    @abstractmethod
    def accepts(self, work: object) -> bool:
        """Whether this launcher runs such work. Never raises."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[None]:
        """The launcher's own lifetime; entered before the first job and left after the last.

        Every task, process and file that the launcher keeps for several jobs belongs to it.
        """

    @abstractmethod
    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        """Make the attempt's handle. No effect outside the process, and no checkpoint."""


# --- stores --------------------------------------------------------------------------------------


class Stored(Protocol):
    """A job as a store keeps it; `seq` is the number of its last event."""

    @property
    def spec(self) -> JobSpec: ...

    @property
    def record(self) -> Record: ...

    @property
    def seq(self) -> int: ...


class Store(ABC):
    """Keeps jobs, their events and logs, and the cancels that came before their jobs.

    `swap` decides in memory, at once; `saved` waits until what was decided is kept. A store in
    memory has nothing to wait for, and says so with `synchronous`.
    """

    instance: str
    synchronous: ClassVar[bool]

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[None]:
        """The store's lifetime."""

    @property
    @abstractmethod
    def head_seq(self) -> int:
        """The number of the newest event; 0 before the first."""

    @abstractmethod
    def swap(
        self,
        spec: JobSpec,
        expected: Record | None,
        record: Record,
        events: tuple[str, ...],
        wall: float,
    ) -> int:
        """Put `record` in the place of `expected` (None: a new job) and number its events.

        Returns the number of the newest event. A refused swap changes nothing; one without events
        numbers none. The wall time may go back.

        Args:
            spec: the job.
            expected: the record that the decision was made from.
            record: the next one.
            events: the types of the events that tell of it.
            wall: the time, in seconds of the Unix epoch.

        Raises:
            RuntimeError: another record is in that place (somebody else decided first).
        """

    @abstractmethod
    async def saved(self, seq: int) -> None:
        """Return once everything up to event `seq` is kept.

        Any number of tasks may wait; one that is cancelled does no harm.
        """

    @abstractmethod
    def get(self, job_id: str) -> Stored | None:
        """The job with exactly this id, live or finished.

        Finished jobs may be dropped, the oldest first; live ones never are.
        """

    @abstractmethod
    def scan(self, after: int = 0) -> Iterable[tuple[int, Stored]]:
        """All jobs in order of acceptance, with their place in it, from place `after` + 1 on.

        Jobs may come, change and end while somebody goes through it. Places only grow; a job begun
        anew gets a new one at the end.
        """

    @abstractmethod
    def events(self, since: int) -> Sequence[Published]:
        """The events after `since`, oldest first.

        Raises:
            ReplayGone: some of them are no longer kept, or `since` lies in the future. Its `data`
                has `instance`, `oldest_seq` (of the oldest event kept; `head_seq` + 1 if none is)
                and `head_seq`. What the last `swap` numbered can be replayed right after it.
        """

    @abstractmethod
    def append_log(
        self, job_id: str, attempt: int, stream: str, data: str | bytes, wall: float
    ) -> LogEntry:
        """Keep one line; the oldest lines give way when a bound is reached, and are counted.

        Lines are numbered from 1 for each job, on through its attempts. Bytes that are not UTF-8
        are kept in `base64`; text can always be sent as UTF-8.
        """

    @property
    @abstractmethod
    def log_bytes(self) -> int:
        """What all kept lines cost together."""

    @abstractmethod
    def logs(self, job_id: str, since: int, limit: int) -> tuple[Sequence[LogEntry], int, int]:
        """Up to `limit` lines numbered above `since`; how many there were; how many are gone.

        A limit of 0 only counts; a job that nobody knows has none.
        """

    @abstractmethod
    def remember(self, tombstone: Tombstone, now: float) -> Tombstone:
        """Keep a cancel that came before its job.

        A repeat keeps the first's reason and requester, lasts until its own `expires_at` and needs
        no room. From `expires_at` on a tombstone is neither taken nor listed.

        Raises:
            Overloaded: as many as may be are kept already; its `data` has `retry_after`.
        """

    @abstractmethod
    def take(self, job_id: str, now: float) -> Tombstone | None:
        """Take the tombstone for this id away and return it; a tombstone serves once."""

    @abstractmethod
    def tombstones(self, now: float) -> Sequence[Tombstone]:
        """Those that are kept, oldest first."""


# --- control -------------------------------------------------------------------------------------


class JobHandle(ABC):
    """One job, as whoever started it or asked for it holds it.

    Attributes:
        created: False if the start found the job already there.
    """

    __slots__ = ()

    created: bool

    @property
    @abstractmethod
    def id(self) -> str:
        """The job's id."""

    @property
    @abstractmethod
    def record(self) -> Job:
        """The job as last seen: in-process as it is now, over the wire as last told."""

    @property
    def state(self) -> JobState:
        """`record.state`."""
        return self.record.state

    @abstractmethod
    async def cancel(
        self,
        *,
        reason: str | None = None,
        grace: float | None = None,
        force: bool = False,
        wait: str = "accepted",
        timeout: float | None = None,
    ) -> CancelReply:
        """Ask the job to stop; see `JobControl.cancel`."""

    @abstractmethod
    async def wait(self, timeout: float | None = None) -> Job:
        """Wait for the final record, however the job ends. See `JobControl.wait`."""

    async def result(self) -> Any:
        """Wait for the end and return what the job returned.

        Raises:
            JobFailed: it raised (in-process with the exception as `__cause__`), or exited otherwise
                than with 0, or could not be launched.
            JobCancelled: it was cancelled.
            JobTimedOut: it passed its deadline.
        """
        return result_of(await self.wait(), self._exception())

    def _exception(self) -> BaseException | None:
        return None


def result_of(job: Job, exception: BaseException | None = None) -> Any:
    """The result of a final record, or the exception that tells why there is none."""
    match job.state:
        case JobState.SUCCEEDED:
            return job.result
        case JobState.CANCELLED:
            reason = f": {job.reason}" if job.reason else ""
            raise JobCancelled(f"job {job.id} was cancelled ({job.cause}){reason}", job)
        case JobState.TIMED_OUT:
            raise JobTimedOut(f"job {job.id} passed its timeout of {job.timeout} s", job)
    raise JobFailed(f"job {job.id} failed: {describe_failure(job)}", job) from exception


def describe_failure(job: Job) -> str:
    """Why a failed job failed, in a few words."""
    if job.error is not None:
        return f"{job.error.type}: {job.error.message}"
    if job.signal is not None:
        return f"ended by signal {job.signal}"
    return f"exit code {job.exit_code}"


class JobWatch(ABC):
    """An open watch: an async iterator over events, in their order.

    Attributes:
        from_seq: the position it began after.
    """

    from_seq: int

    def __aiter__(self) -> JobWatch:
        return self

    @abstractmethod
    async def __anext__(self) -> WatchItem: ...


class JobControl(ABC):
    """Everything one can ask of a supervisor, in-process and over the wire alike."""

    @abstractmethod
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
    ) -> JobHandle:
        """Start a job; returns once it is registered and can be cancelled.

        Args are those of `JobRequest`.

        Raises:
            InvalidArguments: an argument or option is wrong.
            UnknownJobName: no such job is registered.
            JobIdConflict: the id is taken and the policies do not allow it.
            ShuttingDown: no new jobs are taken.
        """

    @abstractmethod
    async def start_many(
        self, requests: Iterable[JobRequest]
    ) -> Sequence[JobHandle | SupervisorError]:
        """Start many jobs; one answer each, in their order: a handle, or why not."""

    @abstractmethod
    async def get(self, job_id: str) -> Job:
        """The job with this id.

        Raises:
            JobNotFound: nobody knows it.
        """

    @abstractmethod
    async def list(
        self, filter: JobFilter | None = None, *, limit: int = 100, cursor: str | None = None
    ) -> JobPage:
        """Jobs in order of acceptance, a page of `limit` (1 to 1,000) at a time."""

    @abstractmethod
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
    ) -> CancelReply:
        """Ask a job to stop.

        Args:
            job_id: which.
            reason: why; kept on the record.
            grace: seconds between `cancel` and `force`; a later, smaller one shortens the
                deadline, a larger one is ignored.
            force: go straight to `force`.
            attempt: only this attempt; another one is left alone (`stale_attempt`).
            wait: "accepted" answers at once; "finished" answers when the job is gone, when it is
                stuck, or after `timeout`.
            timeout: seconds to wait at most, with `wait="finished"`.
            if_unknown: "remember" keeps the cancel for a job that has yet to start.

        Raises:
            JobNotFound: nobody knows the id (and it was not to be remembered).
            InvalidArguments: an argument is wrong.
        """

    @abstractmethod
    async def cancel_many(
        self,
        filter: JobFilter,
        *,
        reason: str | None = None,
        grace: float | None = None,
        force: bool = False,
        wait: str = "accepted",
        timeout: float | None = None,
    ) -> Sequence[CancelReply | SupervisorError]:
        """Cancel every live job that the filter means, and every id it names; one answer each.

        Over the wire, more than 1000 answers come without `job`, `first_request` and `certificate`;
        with `wait="finished"` a job that has not ended keeps a short `job`.
        """

    @abstractmethod
    async def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Wait for the job's final record. Never touches the job.

        Raises:
            JobNotFound: nobody knows the id.
            trio.TooSlowError: it had not ended after `timeout` seconds.
        """

    @abstractmethod
    def watch(
        self,
        since: int | None = None,
        *,
        instance: str | None = None,
        filter: JobFilter | None = None,
        logs: bool = False,
        progress: bool = False,
    ) -> AbstractAsyncContextManager[JobWatch]:
        """`async with control.watch(...) as events: async for event in events: ...`

        Args:
            since: replay what came after this position first; None begins now.
            instance: the history that `since` counts in, such as a page's; None: the present one.
            filter: only these jobs; with `state`, only the changes that lead to one of these
                states (lines and progress come whatever the state).
            logs: log lines too; always before the job's `job.finished`.
            progress: progress too.

        Raises:
            ReplayGone: `since` cannot be replayed, or counts in another history, or the watcher
                fell behind too far.
        """

    @abstractmethod
    async def logs(self, job_id: str, *, since: int = 0, limit: int = 1000) -> LogPage:
        """Lines of the job's log numbered above `since`.

        Raises:
            JobNotFound: nobody knows the id.
        """

    def follow_logs(
        self, job_id: str, *, since: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[LogEntry | LogsLagged]]:
        """`async with control.follow_logs(job_id) as lines: async for line in lines: ...`

        Every line numbered above `since`, those that are there already and those to come, in order
        and none twice. `LogsLagged` stands in the place of lines that the log no longer has. Ends
        when the job has ended (this attempt of it) and its last line was given.

        Raises:
            JobNotFound: nobody knows the id.
        """
        return LogFollow.open(self, job_id, since)

    @abstractmethod
    async def statistics(self) -> Statistics:
        """Counters, and the position."""

    @abstractmethod
    async def shutdown(self, mode: str = "cancel", *, grace: float | None = None) -> None:
        """Take no new jobs; "cancel" those there are, or "drain": let them end by themselves."""

"""What the methods of the control channel take.

Parameters are decoded straight into these classes, and everything that can be checked by looking
at them alone is checked there: types, ranges, choices. The docstrings are the words of the
protocol's reference.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import attrs
from msgspec import Meta

from ._errors import InvalidArguments
from ._model import (
    Command,
    ConflictPolicy,
    DisconnectPolicy,
    JobFilter,
    JobRequest,
    JobState,
    ReusePolicy,
)

__all__ = [
    "JOB_ID_PATTERN",
    "NO_PARAMS",
    "CancelManyParams",
    "CancelParams",
    "CancelRequestParams",
    "CommandParams",
    "FilterParams",
    "GetParams",
    "HelloParams",
    "ListParams",
    "LogsParams",
    "NoParams",
    "Position",
    "ShutdownParams",
    "StartManyParams",
    "StartParams",
    "SubscribeParams",
    "UnsubscribeParams",
    "WaitParams",
]

JOB_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$(?!\n)"

JobId = Annotated[str, Meta(pattern=JOB_ID_PATTERN)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
LabelText = Annotated[str, Meta(max_length=4096)]
Labels = Annotated[dict[LabelText, LabelText], Meta(max_length=64)]
Argv = Annotated[list[str], Meta(min_length=1, max_length=10_000)]
Token = Annotated[str, Meta(min_length=1, max_length=1024)]


@attrs.frozen(kw_only=True)
class NoParams:
    """Of a method that takes none."""


NO_PARAMS: Final = NoParams()


@attrs.frozen(kw_only=True)
class HelloParams:
    """Who the client is.

    Args:
        client: what it says of itself, for the server's log; never taken for who it is.
        token: the secret to get in with, where no header could carry it.
        resume_token: that of an earlier connection of this client, to take its lingering jobs back.
    """

    client: Annotated[str, Meta(max_length=256)] | None = None
    token: Token | None = attrs.field(default=None, repr=False)
    resume_token: Token | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class CommandParams:
    """A program, and where and how to run it.

    Args:
        argv: the program and its arguments; a name without a slash is looked up in PATH.
        cwd: the directory to run in; the server's own if left out.
        env: the whole environment; the server's own (without its token) if left out.
    """

    argv: Argv
    cwd: Text | None = None
    env: dict[str, str] | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class StartParams:
    """A job to start: a registered one by `name`, or a program by `command`.

    Args:
        name: the registered job; with `command`, what to call the job.
        command: the program and its arguments, or an object that says where to run it, too.
        args: arguments of the registered job, by name; `server.info` has their schema.
        job_id: the job's id; the server chooses one if left out. To say it makes a start safe to
            repeat.
        labels: free text to filter by.
        timeout: seconds an attempt may run.
        grace: seconds between being asked to stop and being killed.
        notice: seconds before that, in which the job only sees that it was asked.
        on_disconnect: what becomes of it when this connection ends; `keep` for `job.start`,
            `linger` for `job.run` if left out.
        id_conflict_policy: what to do if the id is that of a live job.
        id_reuse_policy: what to do if the id is that of a job that has ended.
        if_remembered: `cancel` honours a cancel that came before the job; `run` drops it.
    """

    name: Name | None = None
    command: Argv | CommandParams | None = None
    args: dict[str, Any] | None = None
    job_id: JobId | None = None
    labels: Labels | None = None
    timeout: Seconds | None = None
    grace: Seconds | None = None
    notice: Seconds | None = None
    on_disconnect: DisconnectPolicy | None = None
    id_conflict_policy: ConflictPolicy = ConflictPolicy.USE_EXISTING
    id_reuse_policy: ReusePolicy = ReusePolicy.USE_EXISTING
    if_remembered: Literal["cancel", "run"] = "cancel"

    def to_request(self, default_on_disconnect: DisconnectPolicy) -> JobRequest:
        """What to start.

        Raises:
            InvalidArguments: the parameters contradict each other, or name no runnable command.
        """
        return JobRequest(
            self._work(),
            args=self.args,
            job_id=self.job_id,
            name=self.name if self.command is not None else None,
            labels=self.labels,
            grace=self.grace,
            notice=self.notice,
            timeout=self.timeout,
            on_disconnect=self.on_disconnect or default_on_disconnect,
            id_conflict_policy=self.id_conflict_policy,
            id_reuse_policy=self.id_reuse_policy,
            if_remembered=self.if_remembered,
        )

    def _work(self) -> str | Command:
        if self.command is None:
            if self.name is None:
                raise InvalidArguments(
                    "give name (a registered job) or command (a program)", path="$.name"
                )
            return self.name
        if self.args is not None:
            raise InvalidArguments(
                "args go with the name of a registered job; a command has them in its argv",
                path="$.args",
            )
        given = self.command
        try:
            if not isinstance(given, CommandParams):
                return Command(given)
            env: dict[str | bytes, str | bytes] | None = None
            if given.env is not None:
                env = dict(given.env.items())
            return Command(given.argv, given.cwd, env)
        except (TypeError, ValueError) as exc:
            raise InvalidArguments(str(exc), path="$.command") from exc


@attrs.frozen(kw_only=True)
class StartManyParams:
    """Many jobs to start, each as if by `job.start`.

    Args:
        jobs: what to start, in this order.
    """

    jobs: Annotated[list[StartParams], Meta(max_length=10_000)]


@attrs.frozen(kw_only=True)
class CancelParams:
    """Which job to stop, and how.

    Args:
        job_id: the job.
        reason: why, for the record.
        grace: seconds between being asked to stop and being killed; the job's own if left out.
        force: kill it at once.
        attempt: only if it is in this attempt still.
        wait: `accepted` answers as soon as the request has taken effect, `finished` when the job is
            gone, or stuck, or after `timeout`.
        timeout: seconds to wait, with `wait: "finished"`.
        if_unknown: `remember` keeps the request for a job that has yet to come; `error` refuses.
    """

    job_id: JobId
    reason: Text | None = None
    grace: Seconds | None = None
    force: bool = False
    attempt: Annotated[int, Meta(ge=1)] | None = None
    wait: Literal["accepted", "finished"] = "accepted"
    timeout: Seconds | None = None
    if_unknown: Literal["error", "remember"] = "error"


@attrs.frozen(kw_only=True)
class FilterParams:
    """Which jobs are meant: those for which all of this holds. `{}` means all jobs.

    Args:
        job_ids: these ids.
        state: this state, or one of these.
        name: this name.
        labels: all of these labels.
        parent_id: children of this job.
    """

    job_ids: Annotated[list[JobId], Meta(max_length=10_000)] | None = None
    state: JobState | Annotated[list[JobState], Meta(max_length=16)] | None = None
    name: Name | None = None
    labels: Labels | None = None
    parent_id: JobId | None = None

    def to_filter(self) -> JobFilter:
        """The filter that was meant."""
        state = (self.state,) if isinstance(self.state, JobState) else self.state
        return JobFilter(
            job_ids=None if self.job_ids is None else tuple(self.job_ids),
            state=None if state is None else tuple(state),
            name=self.name,
            labels=self.labels,
            parent_id=self.parent_id,
        )


@attrs.frozen(kw_only=True)
class CancelManyParams:
    """Which jobs to stop, and how.

    Args:
        filter: the jobs; `{}` means all of them.
        reason: why, for the record.
        grace: seconds between being asked to stop and being killed; each job's own if left out.
        force: kill them at once.
        wait: `accepted` answers as soon as the request has taken effect, `finished` when the jobs
            are gone, or stuck, or after `timeout`.
        timeout: seconds to wait, with `wait: "finished"`.
    """

    filter: FilterParams
    reason: Text | None = None
    grace: Seconds | None = None
    force: bool = False
    wait: Literal["accepted", "finished"] = "accepted"
    timeout: Seconds | None = None


@attrs.frozen(kw_only=True)
class GetParams:
    """Which job.

    Args:
        job_id: the job.
    """

    job_id: JobId


@attrs.frozen(kw_only=True)
class WaitParams:
    """Which job, and for how long.

    Args:
        job_id: the job.
        timeout: seconds after which to answer `wait_timeout`; never if left out.
    """

    job_id: JobId
    timeout: Seconds | None = None


@attrs.frozen(kw_only=True)
class ListParams(FilterParams):
    """Which jobs, and how many at a time.

    Args:
        limit: jobs on a page, at most.
        cursor: `next_cursor` of the page before.
    """

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Text | None = None


@attrs.frozen(kw_only=True)
class LogsParams:
    """Which lines.

    Args:
        job_id: the job.
        since: lines after this number; 0 begins at the first.
        limit: lines in one answer, at most.
    """

    job_id: JobId
    since: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000


@attrs.frozen(kw_only=True)
class Position:
    """A place in a history of events.

    Args:
        instance: whose history, as a list, a hello or an event says.
        seq: the last event that is known already.
    """

    instance: Name
    seq: Annotated[int, Meta(ge=0)]


@attrs.frozen(kw_only=True)
class SubscribeParams:
    """What to be told.

    Args:
        since: replay what came after this; begin now if left out.
        filter: only these jobs; with `state`, only the changes that lead to one of these states
            (lines and progress come whatever the state).
        logs: their log lines, too.
        progress: what they say of their progress, too.
    """

    since: Position | None = None
    filter: FilterParams | None = None
    logs: bool = False
    progress: bool = False


@attrs.frozen(kw_only=True)
class UnsubscribeParams:
    """Which subscription.

    Args:
        subscription_id: as `events.subscribe` answered.
    """

    subscription_id: Name


@attrs.frozen(kw_only=True)
class ShutdownParams:
    """How to end.

    Args:
        mode: `cancel` stops all jobs, `drain` lets them end; none is started any more.
        grace: seconds between being asked to stop and being killed; each job's own if left out.
    """

    mode: Literal["cancel", "drain"] = "cancel"
    grace: Seconds | None = None


@attrs.frozen(kw_only=True)
class CancelRequestParams:
    """Which request.

    Args:
        id: its `id`, as it was sent on this connection.
    """

    id: int | Annotated[str, Meta(max_length=256)]

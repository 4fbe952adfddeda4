"""The client: the same methods as the supervisor in this process, over one websocket at a time.

Requests of all tasks share the connection. A caller that is cancelled while it waits tells the
server so; nothing it asked for is undone. When the connection ends, another one takes its place
(see `keeper`): what is not answered is asked again, as far as that is safe, and watches go on
where they were. When there is none to be had, every open request and watch is told with
`ConnectionLost`, and the caller's own tasks are left alone.
"""

from __future__ import annotations

import itertools
import math
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final, TypeVar

import attrs
import trio

from .._errors import InvalidArguments, ProtocolError, SupervisorError
from .._methods import HelloResult, JobResult, ServerInfo, StartResult
from .._model import (
    CancelReply,
    Command,
    ConflictPolicy,
    Job,
    JobFilter,
    JobPage,
    JobRequest,
    LogPage,
    ReusePolicy,
    Statistics,
)
from .._options import check_seconds
from .._wire import json_bytes
from .._wire_records import (
    entries_from_wire,
    filter_to_wire,
    from_wire,
    request_to_wire,
)
from ..abc import JobControl, JobHandle
from .channel import Channel
from .remote_watch import RemoteWatch

__all__ = ["Client", "RemoteHandle"]

T = TypeVar("T")

START_MANY_AT_ONCE: Final = 1000

ENVELOPE: Final = 1024
"""Bytes of a message that are not its list of jobs, and some to spare."""


class RemoteHandle(JobHandle):
    """A job of a supervisor elsewhere; `record` is what it was last told."""

    __slots__ = ("_client", "_job", "created")

    def __init__(self, client: Client, job: Job, created: bool) -> None:
        self._client = client
        self._job = job
        self.created = created

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}: {self.state} as last told>"

    @property
    def id(self) -> str:
        return self._job.id

    @property
    def record(self) -> Job:
        return self._job

    async def cancel(
        self,
        *,
        reason: str | None = None,
        grace: float | None = None,
        force: bool = False,
        wait: str = "accepted",
        timeout: float | None = None,
    ) -> CancelReply:
        reply = await self._client.cancel(
            self.id, reason=reason, grace=grace, force=force, wait=wait, timeout=timeout
        )
        if reply.job is not None:
            self._job = reply.job
        return reply

    async def wait(self, timeout: float | None = None) -> Job:
        self._job = await self._client.wait(self.id, timeout)
        return self._job


@attrs.frozen
class _Start:
    """One job of a `start_many`: its params, the bytes they make, and whether we named it."""

    params: dict[str, Any]
    size: int
    ours: bool


class Client(JobControl):
    """A connection to a supervisor, made anew when it breaks. Made by `connect` (in `connect`)."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._id_prefix = f"c{secrets.token_hex(8)}-"
        self._id_numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Client {self._channel!r}>"

    @property
    def hello(self) -> HelloResult:
        """What the server said of itself on the newest connection."""
        return self._channel.hello

    @property
    def instance(self) -> str:
        """Names the history that `seq` counts in; another one when the server was replaced."""
        return self.hello.instance

    @property
    def resume_token(self) -> str:
        """With this a later client takes the jobs that linger after this one."""
        return self.hello.resume_token

    # --- requests -------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Any], T],
        *,
        deadline: float | None = None,
    ) -> T:
        """Ask, wait, and read the answer with `read` (in the order in which answers come).

        Args:
            method: what is asked.
            params: with what, as JSON values.
            read: makes something of the result; may raise `ProtocolError`.
            deadline: when the parameter `timeout` is over, on Trio's clock, so that a repeated
                request waits for no longer.

        Raises:
            SupervisorError: what the server answered.
            ConnectionLost: the connection ended first, and there was no other, or the request is
                none that may be repeated.
        """
        return await self._channel.request(method, params, read, deadline=deadline)

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
    ) -> RemoteHandle:
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
        params = self._named(request_to_wire(request))
        read = partial(self._read_handle, request.job_id is None)
        return await self.request("job.start", params, read)

    def _named(self, params: dict[str, Any]) -> dict[str, Any]:
        """With an id, so that the request can be repeated.

        Nobody else has the id, so what to do if somebody had is without meaning; a repeat that
        found its own job would take it to heart.
        """
        if "job_id" in params:
            return params
        params["job_id"] = f"{self._id_prefix}{next(self._id_numbers)}"
        for name, policies in (
            ("id_conflict_policy", ConflictPolicy),
            ("id_reuse_policy", ReusePolicy),
        ):
            if params.get(name) in [policy.value for policy in policies]:
                params[name] = "use_existing"
        return params

    def _read_handle(self, ours: bool, value: Any) -> RemoteHandle:
        """With an id of ours the job is ours, too: a repeat has found what the first one did."""
        started = from_wire(StartResult, value)
        return RemoteHandle(self, started.job, started.created or ours)

    async def start_many(
        self, requests: Iterable[JobRequest]
    ) -> Sequence[JobHandle | SupervisorError]:
        room = self._channel.message_bytes - ENVELOPE
        # All of them before the first is sent: a job that cannot go over the wire is answered here.
        wanted = [self._prepared(request, room) for request in requests]
        answers: list[JobHandle | SupervisorError] = []
        for part in _parts([it for it in wanted if isinstance(it, _Start)], room):
            reads = [partial(self._read_handle, it.ours) for it in part]
            answers += await self.request(
                "job.start_many",
                {"jobs": [it.params for it in part]},
                partial(_read_entries, reads),
            )
        there = iter(answers)
        return [next(there) if isinstance(it, _Start) else it for it in wanted]

    def _prepared(self, request: JobRequest, room: float) -> _Start | SupervisorError:
        try:
            params = self._named(request_to_wire(request))
        except SupervisorError as exc:
            return exc
        size = len(json_bytes(params)) + 1
        if size > room:
            return InvalidArguments(
                f"the job makes {size} bytes of a message; the server takes up to {room:g}"
            )
        return _Start(params, size, ours=request.job_id is None)

    async def get(self, job_id: str) -> Job:
        return await self.request("job.get", {"job_id": job_id}, _read_job)

    async def list(
        self, filter: JobFilter | None = None, *, limit: int = 100, cursor: str | None = None
    ) -> JobPage:
        params = {} if filter is None else filter_to_wire(filter)
        params |= _given(limit=limit, cursor=cursor)
        return await self.request("job.list", params, partial(from_wire, JobPage))

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
        params = _given(
            job_id=job_id,
            reason=reason,
            grace=_finite("grace", grace),
            force=force,
            attempt=attempt,
            wait=wait,
            timeout=_finite("timeout", timeout),
            if_unknown=if_unknown,
        )
        read = partial(from_wire, CancelReply)
        return await self.request("job.cancel", params, read, deadline=_deadline(params))

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
        params = _given(
            filter=filter_to_wire(filter),
            reason=reason,
            grace=_finite("grace", grace),
            force=force,
            wait=wait,
            timeout=_finite("timeout", timeout),
        )
        read = partial(_read_entries, itertools.repeat(partial(from_wire, CancelReply)))
        return await self.request("job.cancel_many", params, read, deadline=_deadline(params))

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:
        # The deadline is kept here: it holds even if the server does not answer any more.
        seconds = math.inf if timeout is None else check_seconds("timeout", timeout)
        with trio.fail_after(seconds):
            return await self.request("job.wait", {"job_id": job_id}, _read_job)

    async def logs(self, job_id: str, *, since: int = 0, limit: int = 1000) -> LogPage:
        params = {"job_id": job_id, "since": since, "limit": limit}
        return await self.request("job.logs", params, partial(from_wire, LogPage))

    async def statistics(self) -> Statistics:
        return (await self.server_info()).statistics

    async def server_info(self) -> ServerInfo:
        """The server's counters, and the jobs that are registered with it."""
        return await self.request("server.info", {}, partial(from_wire, ServerInfo))

    async def shutdown(self, mode: str = "cancel", *, grace: float | None = None) -> None:
        params = _given(mode=mode, grace=_finite("grace", grace))
        await self.request("server.shutdown", params, lambda _: None)

    # --- watching -------------------------------------------------------------------------------

    def watch(
        self,
        since: int | None = None,
        *,
        instance: str | None = None,
        filter: JobFilter | None = None,
        logs: bool = False,
        progress: bool = False,
    ) -> AbstractAsyncContextManager[RemoteWatch]:
        return self._channel.watching(since, instance, filter, logs, progress)


def _read_job(value: Any) -> Job:
    return from_wire(JobResult, value).job


def _read_entries(reads: Iterable[Callable[[Any], T]], value: Any) -> list[T | SupervisorError]:
    entries = value.get("results") if isinstance(value, Mapping) else None
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ProtocolError("the peer sent no proper list of results")
    if isinstance(reads, Sequence) and len(reads) != len(entries):
        raise ProtocolError(f"the peer sent {len(entries)} results instead of {len(reads)}")
    return [
        answer
        for entry, read in zip(entries, reads, strict=False)
        for answer in entries_from_wire([entry], read)
    ]


def _parts(starts: Sequence[_Start], bytes_at_once: float) -> Iterator[Sequence[_Start]]:
    """The jobs in as few messages as may be; each of them fits into one."""
    part: list[_Start] = []
    room = bytes_at_once
    for start in starts:
        if part and (start.size > room or len(part) == START_MANY_AT_ONCE):
            yield part
            part, room = [], bytes_at_once
        part.append(start)
        room -= start.size
    if part:
        yield part


def _deadline(params: Mapping[str, Any]) -> float | None:
    """When the request's timeout is over, if it has one."""
    timeout = params.get("timeout")
    return None if timeout is None else trio.current_time() + float(timeout)


def _given(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def _finite(name: str, seconds: float | None) -> float | None:
    """Checked here because JSON has no infinity: the wire would lose it."""
    return None if seconds is None else check_seconds(name, seconds)

"""The client: the same methods as the supervisor in this process, over one websocket.

One task reads, one writes; requests of all tasks share the connection. A caller that is cancelled
while it waits tells the server so; nothing it asked for is undone. When the connection ends, every
open request and watch is told with `ConnectionLost`, and the caller's own tasks are left alone.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import trio
import trio_websocket

from ._errors import (
    ConnectionLost,
    ProtocolError,
    SupervisorError,
)
from ._methods import HelloResult, JobResult, ServerInfo, StartResult, SubscribeResult
from ._model import (
    CancelReply,
    Command,
    Job,
    JobEvent,
    JobFilter,
    JobPage,
    JobRequest,
    LogEntry,
    LogPage,
    LogsLagged,
    ProgressEvent,
    Statistics,
)
from ._options import check_seconds
from ._watch import Watch
from ._wire import (
    Batch,
    ErrorReply,
    Notification,
    Result,
    decode,
    encode_notification,
    encode_request,
    exception_of,
)
from ._wire_records import (
    entries_from_wire,
    filter_to_wire,
    from_wire,
    item_from_wire,
    request_to_wire,
)
from .abc import JobControl, JobHandle

__all__ = ["Client", "RemoteHandle"]

T = TypeVar("T")

START_MANY_AT_ONCE = 1000
WHAT_NEXT = "; whether it took effect is unknown: connect again and look, or repeat it by its id"


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


class _Call:
    """A request that waits for its answer."""

    __slots__ = ("answer", "done", "read")

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read = read
        self.done = trio.Event()
        self.answer: Any = None

    def finish(self, answer: Any) -> None:
        self.answer = answer
        self.done.set()


class Client(JobControl):
    """A connection to a supervisor. Made by `connect` (in `_connect`).

    Attributes:
        hello: what the server said of itself.
    """

    hello: HelloResult

    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self._calls: dict[int, _Call] = {}
        self._watches: dict[str, Watch] = {}
        self._outbox: deque[bytes] = deque()
        self._outbox_filled = trio.Event()
        self._lost: ConnectionLost | None = None

    def __repr__(self) -> str:
        state = "connected" if self._lost is None else "lost"
        return f"<Client {state}: {len(self._calls)} requests, {len(self._watches)} watches>"

    @property
    def instance(self) -> str:
        """Names the history that `seq` counts in."""
        return self.hello.instance

    @property
    def resume_token(self) -> str:
        """With this a later connection takes the jobs that linger after this one."""
        return self.hello.resume_token

    # --- the connection -------------------------------------------------------------------------

    async def serve(self) -> None:
        """Read and write until the connection ends; whatever ends it is told to the callers."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read()
                nursery.cancel_scope.cancel()
        except* (trio_websocket.ConnectionClosed, OSError, trio.BrokenResourceError):
            pass  # told by `_lose`
        finally:
            self._lose()

    async def _read(self) -> None:
        while True:
            try:
                message = await self._connection.get_message()
            except trio_websocket.ConnectionClosed:
                return
            self._dispatch(message)

    async def _write(self) -> None:
        # The only task that sends: a send that is cancelled midway would corrupt the stream.
        while True:
            await self._outbox_filled.wait()
            self._outbox_filled = trio.Event()
            while self._outbox:
                await self._connection.send_message(self._outbox.popleft().decode())

    def _send(self, message: bytes) -> None:
        self._outbox.append(message)
        self._outbox_filled.set()

    def _lose(self) -> None:
        closed = self._connection.closed
        why = f" ({closed.code} {closed.reason or closed.name})" if closed else ""
        self._lost = ConnectionLost(f"the connection to the supervisor has ended{why}")
        for call in self._calls.values():
            call.finish(ConnectionLost(f"{self._lost}{WHAT_NEXT}"))
        self._calls.clear()
        for watch in self._watches.values():
            watch.close(ConnectionLost(f"{self._lost}; connect again and watch from `since`"))
        self._watches.clear()

    def _dispatch(self, message: str | bytes) -> None:
        event = decode(message)
        for item in event.items if isinstance(event, Batch) else (event,):
            match item:
                case Result(id=id, result=result):
                    self._finish(id, result)
                case ErrorReply(id=id) if id is not None:
                    self._fail(id, exception_of(item.code, item.message, item.data))
                case Notification(method=method, params=params):
                    self._notified(method, params)
                case _:
                    pass  # a peer's nonsense; its requests are not ours to answer

    def _finish(self, id: object, result: Any) -> None:
        call = self._calls.pop(id, None) if isinstance(id, int) else None
        if call is None:
            return  # its caller has left
        try:
            call.finish(call.read(result))
        except ProtocolError as exc:
            call.finish(exc)

    def _fail(self, id: object, error: SupervisorError) -> None:
        call = self._calls.pop(id, None) if isinstance(id, int) else None
        if call is not None:
            call.finish(error)

    def _notified(self, method: str, params: Mapping[str, Any]) -> None:
        watch = self._watches.get(str(params.get("subscription_id")))
        if watch is None:
            return
        try:
            item = item_from_wire(method, params)
        except ProtocolError as exc:
            watch.close(exc)
            return
        match item:
            case JobEvent():
                watch.offer_event(item)
            case LogEntry():
                watch.offer_line(item)
            case LogsLagged():
                watch.offer_lag(item)
            case ProgressEvent():
                watch.offer_progress(item)

    # --- requests -------------------------------------------------------------------------------

    async def request(
        self, method: str, params: Mapping[str, Any], read: Callable[[Any], T]
    ) -> T:
        """Ask, wait, and read the answer with `read` (in the order in which answers come).

        Raises:
            SupervisorError: what the server answered.
            ConnectionLost: the connection ended first.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._lost is not None:
            raise ConnectionLost(str(self._lost))
        id = next(self._ids)
        call = self._calls[id] = _Call(read)
        self._send(encode_request(id, method, params))
        try:
            await call.done.wait()
        except trio.Cancelled:
            if self._calls.pop(id, None) is not None:
                self._send(encode_notification("$/cancelRequest", {"id": id}))
            raise
        if isinstance(call.answer, BaseException):
            raise call.answer
        answer: T = call.answer
        return answer

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
        return await self.request("job.start", request_to_wire(request), self._read_handle)

    def _read_handle(self, value: Any) -> RemoteHandle:
        started = from_wire(StartResult, value)
        return RemoteHandle(self, started.job, started.created)

    async def start_many(
        self, requests: Iterable[JobRequest]
    ) -> Sequence[JobHandle | SupervisorError]:
        params = [request_to_wire(request) for request in requests]
        answers: list[JobHandle | SupervisorError] = []
        for first in range(0, len(params), START_MANY_AT_ONCE):
            jobs = params[first : first + START_MANY_AT_ONCE]
            read = partial(_read_entries, self._read_handle)
            answers += await self.request("job.start_many", {"jobs": jobs}, read)
        return answers

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
        return await self.request("job.cancel", params, partial(from_wire, CancelReply))

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
        read = partial(_read_entries, partial(from_wire, CancelReply))
        return await self.request("job.cancel_many", params, read)

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
        filter: JobFilter | None = None,
        logs: bool = False,
        progress: bool = False,
    ) -> AbstractAsyncContextManager[Watch]:
        @asynccontextmanager
        async def watching() -> AsyncIterator[Watch]:
            params = _given(
                since=None if since is None else {"instance": self.instance, "seq": since},
                filter=None if filter is None else filter_to_wire(filter),
                logs=logs,
                progress=progress,
            )
            id, watch = await self.request("events.subscribe", params, self._read_watch)
            try:
                yield watch
            finally:
                if self._watches.pop(id, None) is not None:
                    self._send(
                        encode_request(
                            next(self._ids), "events.unsubscribe", {"subscription_id": id}
                        )
                    )

        return watching()

    def _read_watch(self, value: Any) -> tuple[str, Watch]:
        """Runs when the answer is read, so that the events right behind it find their watch."""
        opened = from_wire(SubscribeResult, value)
        watch = Watch(instance=opened.instance, from_seq=opened.from_seq)
        self._watches[opened.subscription_id] = watch
        return opened.subscription_id, watch


def _read_job(value: Any) -> Job:
    return from_wire(JobResult, value).job


def _read_entries(read: Callable[[Any], T], value: Any) -> list[T | SupervisorError]:
    if not isinstance(value, Mapping) or not isinstance(value.get("results"), list):
        raise ProtocolError("the peer sent no proper list of results")
    return entries_from_wire(value["results"], read)


def _given(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def _finite(name: str, seconds: float | None) -> float | None:
    """Checked here because JSON has no infinity: the wire would lose it."""
    return None if seconds is None else check_seconds(name, seconds)

"""What each method does.

A handler is synchronous: when it returns, the effect of the request has begun, so the requests of a
connection take effect in their order. It returns the result, or a `Later` for what has to wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
import trio

from .._errors import InvalidArguments, Overloaded, ReplayGone, SupervisorError, Unauthenticated
from .._methods import (
    Ack,
    CancelManyParams,
    CancelParams,
    CancelRequestParams,
    GetParams,
    HelloParams,
    HelloResult,
    ListParams,
    LogsParams,
    NoParams,
    Scope,
    ServerInfo,
    ShutdownParams,
    StartManyParams,
    StartParams,
    StartResult,
    SubscribeParams,
    UnsubscribeParams,
    WaitParams,
)
from .._model import CancelReply, DisconnectPolicy, Job, JobState
from .._wire import SUBPROTOCOL, WaitTimedOut, json_bytes
from .._wire_records import entry_to_wire, job_to_wire, page_to_wire, to_wire
from .calls import CONTAINED, Call, Later
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .._supervisor import LocalHandle
    from .session import Session

__all__ = ["EVENTS_FAILED", "HANDLERS", "TOO_SLOW", "rebased"]

log = logging.getLogger("supervisor.server")

CHUNK = 50
"""How many jobs a bulk request touches between two checkpoints."""

PAGE_BYTES = 4 * 1024 * 1024
"""A page of a list is cut short rather than grow larger than this."""

WHOLE_ENTRIES = 1000
"""Up to so many answers of one bulk cancel carry the whole record; beyond, `job.get` has it."""

TOO_SLOW: Final = (1013, "too slow for the events")
EVENTS_FAILED: Final = (1011, "events could not be passed on; the server's log says more")
"""How a connection is closed that cannot be sent its events."""

OK: Final = to_wire(Ack())


def server_name() -> str:
    """Name and version of this server."""
    try:
        return f"trio-supervisor/{metadata.version('trio-supervisor')}"
    except metadata.PackageNotFoundError:
        return "trio-supervisor"


def rebased(error: SupervisorError, base: str = "$.params") -> SupervisorError:
    """Let the path of the fault begin at the message instead of the call."""
    path = error.data.get("path")
    if not isinstance(error, InvalidArguments) or not isinstance(path, str):
        return error
    if not path.startswith("$.params"):
        error.data = {**error.data, "path": base + path.removeprefix("$")}
    return error


# --- session -------------------------------------------------------------------------------------


def session_hello(session: Session, params: HelloParams) -> Any:
    if params.token is not None:
        token = session.server.auth.find(params.token)
        if token is None or session.token not in (None, token):
            raise Unauthenticated("this token is not known here, or not this connection's")
        session.admit(token)
    if session.token is None:
        raise Unauthenticated("session.hello needs the parameter token here")
    resumed = session.resume(params.resume_token) if params.resume_token is not None else 0
    session.client = params.client
    return to_wire(
        HelloResult(
            server=server_name(),
            protocol=SUBPROTOCOL,
            instance=session.sup.instance,
            head_seq=session.sup.head_seq,
            limits=session.server.limits.for_clients(),
            scopes=tuple(sorted(session.token.scopes)),
            session_id=session.id,
            resume_token=session.resume_tokens[0],
            resumed=resumed,
        )
    )


def session_ping(session: Session, params: NoParams) -> Any:
    return {"now": datetime.now(UTC), "head_seq": session.sup.head_seq}  # a `PingResult`


def cancel_request(session: Session, params: CancelRequestParams) -> Any:
    call = session.calls.get(params.id)
    if call is not None:
        call.interrupt()
    return OK


# --- start ---------------------------------------------------------------------------------------


def job_start(session: Session, params: StartParams) -> Any:
    handle, job = _start(session, params, DisconnectPolicy.KEEP)
    return _started(session, handle, job)


def _start(
    session: Session, params: StartParams, on_disconnect: DisconnectPolicy
) -> tuple[LocalHandle, Job]:
    if params.command is not None:
        session.require(Scope.EXEC, "starting a command")
    request = params.to_request(on_disconnect)
    handle = session.sup.start_nowait(request, requester=session.name)
    job = handle.record
    if handle.created:
        session.owned.add(job)
    return handle, job


def _started(session: Session, handle: LocalHandle, job: Job) -> dict[str, Any]:
    return {"job": job_to_wire(job), "created": handle.created, "seq": session.sup.head_seq}


def job_start_many(session: Session, params: StartManyParams) -> Any:
    async def run(call: Call) -> Any:
        entries: list[bytes] = []
        for number, start in enumerate(params.jobs):
            if number % CHUNK == CHUNK - 1:
                await trio.lowlevel.checkpoint()
            entries.append(json_bytes(_start_one(session, start, number)))
        return _entries(entries)

    # A start is not a wait: it is never interrupted half way.
    return Later(run, interrupt=lambda: True)


def _start_one(session: Session, params: StartParams, number: int) -> dict[str, Any]:
    try:
        handle, job = _start(session, params, DisconnectPolicy.KEEP)
    except SupervisorError as exc:
        return entry_to_wire(rebased(exc, f"$.params.jobs[{number}]"))
    return entry_to_wire(StartResult(job=job, created=handle.created, seq=session.sup.head_seq))


def _entries(entries: Sequence[bytes]) -> Mapping[str, Any]:
    return {"results": msgspec.Raw(b"[" + b",".join(entries) + b"]")}


def job_run(session: Session, params: StartParams) -> Any:
    handle, job = _start(session, params, DisconnectPolicy.LINGER)
    if job.state.is_final:
        return {"job": job_to_wire(job)}

    async def run(call: Call) -> Any:
        return {"job": job_to_wire(await handle.wait())}

    asked = False

    def interrupt() -> bool:
        """The first time, cancel the job if this request created it, and wait on."""
        nonlocal asked
        if asked or not handle.created:
            return False
        asked = True
        session.sup.cancel_nowait(
            handle.id, reason="its request was cancelled", requester=session.name
        )
        return True

    return Later(run, interrupt=interrupt)


# --- cancel --------------------------------------------------------------------------------------


def job_cancel(session: Session, params: CancelParams) -> Any:
    reply = session.sup.cancel_nowait(
        params.job_id,
        reason=params.reason,
        grace=params.grace,
        force=params.force,
        attempt=params.attempt,
        if_unknown=params.if_unknown,
        requester=session.name,
    )
    if params.wait == "accepted" or _is_settled(reply.job):
        return to_wire(reply)

    async def run(call: Call) -> Any:
        return to_wire(await session.sup.when_gone(reply, params.timeout))

    return Later(run)


def _is_settled(job: Job | None) -> bool:
    return job is None or job.state.is_final or job.state is JobState.STUCK


def job_cancel_many(session: Session, params: CancelManyParams) -> Any:
    waits = params.wait == "finished"

    async def run(call: Call) -> Any:
        # Only the waiting can be interrupted; that a client leaves saves no job.
        with trio.CancelScope(shield=not waits):
            replies = await session.sup.cancel_many(
                params.filter.to_filter(),
                reason=params.reason,
                grace=params.grace,
                force=params.force,
                wait=params.wait,
                timeout=params.timeout,
                requester=session.name,
            )
        return _entries(await _cancel_entries(replies))

    return Later(run, interrupt=lambda: not waits)


async def _cancel_entries(replies: Sequence[CancelReply | SupervisorError]) -> Sequence[bytes]:
    entries: list[bytes] = []
    whole = len(replies) <= WHOLE_ENTRIES
    for number, reply in enumerate(replies):
        if number % CHUNK == CHUNK - 1:
            await trio.lowlevel.checkpoint()
        if isinstance(reply, CancelReply) and not whole:
            reply = attrs.evolve(reply, job=None, first_request=None, certificate=None)
        entries.append(json_bytes(entry_to_wire(reply)))
    return entries


# --- look ----------------------------------------------------------------------------------------


def job_get(session: Session, params: GetParams) -> Any:
    return {"job": job_to_wire(session.sup.get_nowait(params.job_id))}


def job_wait(session: Session, params: WaitParams) -> Any:
    job = session.sup.get_nowait(params.job_id)
    if job.state.is_final:
        return {"job": job_to_wire(job)}

    async def run(call: Call) -> Any:
        try:
            return {"job": job_to_wire(await session.sup.wait(params.job_id, params.timeout))}
        except trio.TooSlowError:
            now = session.sup.get_nowait(params.job_id)
            raise WaitTimedOut(
                f"job {now.id} was still {now.state} after {params.timeout} s",
                job=job_to_wire(now),
            ) from None

    return Later(run)


def job_list(session: Session, params: ListParams) -> Any:
    filter, limit = params.to_filter(), params.limit
    while True:
        page = session.sup.list_nowait(filter, limit=limit, cursor=params.cursor)
        encoded = json_bytes(page_to_wire(page))
        if len(encoded) <= PAGE_BYTES or len(page) <= 1:
            return msgspec.Raw(encoded)
        limit = len(page) // 2


def job_logs(session: Session, params: LogsParams) -> Any:
    limit = params.limit
    while True:
        page = session.sup.logs_nowait(params.job_id, since=params.since, limit=limit)
        encoded = json_bytes(to_wire(page))
        if len(encoded) <= PAGE_BYTES or len(page.entries) <= 1:
            return msgspec.Raw(encoded)
        limit = len(page.entries) // 2


# --- events --------------------------------------------------------------------------------------


def events_subscribe(session: Session, params: SubscribeParams) -> Any:
    limit = session.server.limits.subscriptions
    if len(session.subscriptions) >= limit:
        raise Overloaded(f"{limit} subscriptions are open on this connection", retry_after=1.0)
    sup = session.sup
    if params.since is not None and params.since.instance != sup.instance:
        raise ReplayGone(
            "this position belongs to another instance; list the jobs again",
            instance=sup.instance,
            head_seq=sup.head_seq,
        )
    from_seq = sup.head_seq if params.since is None else params.since.seq
    subscription = session.new_subscription(params, from_seq)

    async def run(call: Call) -> Any:
        try:
            await subscription.run(sup, session.stream, session.server.events, call.answer_first)
        except ReplayGone:
            if not call.answered:
                raise
            session.close_nowait(*TOO_SLOW)
        except CONTAINED as exc:
            if not call.answered:
                raise
            # The client believes that it hears everything: it must not go on like this.
            log.error("%r: %r failed", session, subscription, exc_info=exc)
            session.close_nowait(*EVENTS_FAILED)
        finally:
            session.subscriptions.pop(subscription.id, None)

    return Later(run, barrier=subscription.entered)


def events_unsubscribe(session: Session, params: UnsubscribeParams) -> Any:
    subscription: Subscription | None = session.subscriptions.pop(params.subscription_id, None)
    if subscription is None:
        raise InvalidArguments(
            f"no subscription {params.subscription_id!r} is open on this connection",
            path="$.params.subscription_id",
            allowed=sorted(session.subscriptions),
        )
    subscription.cancel()
    return OK


# --- server --------------------------------------------------------------------------------------


def server_info(session: Session, params: NoParams) -> Any:
    return to_wire(
        ServerInfo(
            server=server_name(),
            protocol=SUBPROTOCOL,
            sessions=len(session.server.sessions),
            lingering=len(session.server.lingering),
            statistics=session.sup.statistics_nowait(),
            jobs=tuple(session.sup.registry.describe()),
        )
    )


def server_shutdown(session: Session, params: ShutdownParams) -> Any:
    session.sup.shutdown_nowait(params.mode, grace=params.grace)
    return OK


HANDLERS: Final[Mapping[str, Callable[[Session, Any], Any]]] = {
    "session.hello": session_hello,
    "session.ping": session_ping,
    "job.start": job_start,
    "job.start_many": job_start_many,
    "job.run": job_run,
    "job.cancel": job_cancel,
    "job.cancel_many": job_cancel_many,
    "job.get": job_get,
    "job.wait": job_wait,
    "job.list": job_list,
    "job.logs": job_logs,
    "events.subscribe": events_subscribe,
    "events.unsubscribe": events_unsubscribe,
    "server.info": server_info,
    "server.shutdown": server_shutdown,
    "$/cancelRequest": cancel_request,
}

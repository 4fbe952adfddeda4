"""What each method does.

A handler is synchronous: when it returns, the effect of the request has begun, so the requests of a
connection take effect in their order. It returns the result, or a `Later` for what has to wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
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
    JobResult,
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
from .._model import CancelReply, ConflictPolicy, DisconnectPolicy, Job, JobState
from .._openrpc import document_json
from .._wire import SUBPROTOCOL, InvalidRequest, WaitTimedOut, json_bytes
from .._wire_records import RESULT_LIMIT_IN_LISTS, entry_to_wire, job_to_wire, to_wire
from .calls import CONTAINED, Call, Later
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .._supervisor import Asked, LocalHandle
    from .session import Session

__all__ = ["HANDLERS", "rebased"]

log = logging.getLogger("supervisor.server")

Work = Generator[None, None, Any]
"""Bulk work, which pauses wherever it yields; see `Turnstile`."""

SMALL_RESULT = 64 * 1024
"""Characters of a job's result, if it is one piece of text, or bits of a number, that are JSON in
no time."""

PAGE_BYTES = 4 * 1024 * 1024
"""A page of a list is cut short rather than grow larger than this."""

WHOLE_ENTRIES = 1000
"""Up to so many answers of one bulk cancel carry the whole record; beyond, `job.get` has it.

Who waited must still be able to tell what is gone from what is not: of a job that has not ended,
the answer keeps the record, without what may be large.
"""

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


NOTHING_TO_RESUME = (
    "no jobs wait for this resume_token: it is not known here, or its jobs were cancelled when "
    "nobody came back within {:g} s; list the jobs, and start again what is missing"
)


def session_hello(session: Session, params: HelloParams) -> Any:
    if session.greeted:
        raise InvalidRequest(
            "session.hello was said on this connection already; open another one", path="$.method"
        )
    if params.token is not None:
        token = session.server.auth.find(params.token)
        known = None if session.presumed else session.token
        if token is None or known not in (None, token):
            raise Unauthenticated("this token is not known here, or not this connection's")
        session.admit(token)
    if session.token is None:
        raise Unauthenticated("session.hello needs the parameter token here")
    resumed = session.resume(params.resume_token) if params.resume_token is not None else 0
    session.greeted = True
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
            resumed=resumed or 0,
            resume_error=NOTHING_TO_RESUME.format(session.server.limits.linger_seconds)
            if resumed is None
            else None,
        )
    )


def session_ping(session: Session, params: NoParams) -> Any:
    return {  # a `PingResult`
        "now": datetime.now(UTC),
        "head_seq": session.sup.head_seq,
        "received": session.intake.received,
        "sent": session.stream.sent,
    }


def cancel_request(session: Session, params: CancelRequestParams) -> Any:
    call = session.intake.calls.get(params.id)
    if call is not None:
        call.interrupt()
    return OK


# --- start ---------------------------------------------------------------------------------------


def job_start(session: Session, params: StartParams) -> Any:
    handle, job = _start(session, params, DisconnectPolicy.KEEP)
    started = StartResult(job=job, created=handle.created, seq=session.sup.head_seq)
    return _answered(session, started, job)


def _start(
    session: Session, params: StartParams, on_disconnect: DisconnectPolicy
) -> tuple[LocalHandle, Job]:
    if params.command is not None:
        session.require(Scope.EXEC, "starting a command")
    if params.id_conflict_policy is ConflictPolicy.REPLACE:
        session.require(Scope.CANCEL, "id_conflict_policy replace, which cancels a live job")
    request = params.to_request(on_disconnect)
    handle = session.sup.start_nowait(request, requester=session.name)
    job = handle.record
    if handle.created:
        session.owned.add(job)
    return handle, job


def job_start_many(session: Session, params: StartManyParams) -> Any:
    def work() -> Work:
        entries: list[bytes] = []
        for number, start in enumerate(params.jobs):
            entries.append(json_bytes(_start_one(session, start, number)))
            yield
        return _entries(entries)

    async def run(call: Call) -> Any:
        return await session.bulk.do(work())

    # A start is not a wait: it is never interrupted half way.
    return Later(run, barrier=trio.Event(), interrupt=lambda: True)


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
        return _job(session, job)

    async def run(call: Call) -> Any:
        final = await handle.wait()
        return await _answer(session, call, JobResult(job=final), final)

    asked = False

    def interrupt() -> bool:
        """The first time, cancel the job if this request created it, and wait on."""
        nonlocal asked
        if asked or not handle.created:
            return False
        asked = True
        session.sup.cancel_nowait(
            handle.id,
            reason="its request was cancelled",
            attempt=handle.record.attempt,  # another one that has its id now is not ours
            requester=session.name,
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
        return _answered(session, reply, reply.job)
    when_gone = session.sup.when_gone(reply, params.timeout)

    async def run(call: Call) -> Any:
        gone = await when_gone()
        return await _answer(session, call, gone, gone.job)

    return Later(run)


def _is_settled(job: Job | None) -> bool:
    return job is None or job.state.is_final or job.state is JobState.STUCK


def job_cancel_many(session: Session, params: CancelManyParams) -> Any:
    waits = params.wait == "finished"
    bulk, barrier = session.bulk, trio.Event()

    def ask() -> Generator[None, None, list[Asked | SupervisorError]]:
        asked: list[Asked | SupervisorError] = []
        for answer in session.sup.cancel_steps(
            params.filter.to_filter(),
            reason=params.reason,
            grace=params.grace,
            force=params.force,
            requester=session.name,
        ):
            if answer is not None:
                asked.append(answer)
            yield
        return asked

    async def run(call: Call) -> Any:
        # Only the waiting can be interrupted; that a client leaves saves no job.
        with trio.CancelScope(shield=True):
            asked = await bulk.do(ask())
        barrier.set()
        with trio.CancelScope(shield=not waits):
            replies = await session.sup.cancelled(asked, wait=params.wait, timeout=params.timeout)
        return await bulk.do(_cancel_entries(replies, waited=waits))

    return Later(run, barrier=barrier, interrupt=lambda: not waits)


def _cancel_entries(replies: Sequence[CancelReply | SupervisorError], *, waited: bool) -> Work:
    entries: list[bytes] = []
    whole = len(replies) <= WHOLE_ENTRIES
    for reply in replies:
        if isinstance(reply, CancelReply) and not whole:
            job = _in_brief(reply.job) if waited else None
            reply = attrs.evolve(reply, job=job, first_request=None, certificate=None)
        entries.append(json_bytes(entry_to_wire(reply)))
        yield
    return _entries(entries)


def _in_brief(job: Job | None) -> Job | None:
    """Where a job is that has not ended; None if it has."""
    if job is None or job.state.is_final:
        return None
    return attrs.evolve(job, labels={}, command=None, reason=None, progress=None, error=None)


# --- look ----------------------------------------------------------------------------------------


def job_get(session: Session, params: GetParams) -> Any:
    return _job(session, session.sup.get_nowait(params.job_id))


def _job(session: Session, job: Job) -> Any:
    return _answered(session, JobResult(job=job), job)


def _answered(session: Session, result: Any, job: Job | None) -> Any:
    """The result as JSON values, or a `Later` if it holds a job whose own result may be large."""
    if job is None or _is_small(job.result):
        return to_wire(result)

    async def run(call: Call) -> Any:
        return await _answer(session, call, result, job)

    return Later(run)


async def _answer(session: Session, call: Call, result: Any, job: Job | None) -> Any:
    if job is None or _is_small(job.result):
        return to_wire(result)
    async with session.room_for_large():
        async with session.bulk.turn():
            wire = session.server.verdicts.job_to_wire(job)
            raw = msgspec.Raw(json_bytes(to_wire(attrs.evolve(result, job=None)) | {"job": wire}))
        call.answer(raw)
    return None  # it is answered


def _is_small(value: Any) -> bool:
    """Whether this is made into JSON in no time, whatever it is."""
    kind = type(value)
    return value is None or kind in (bool, float) or (kind in (int, str) and _is_short(value))


def _is_short(value: int | str) -> bool:
    size = len(value) if isinstance(value, str) else value.bit_length()
    return size <= SMALL_RESULT


def job_wait(session: Session, params: WaitParams) -> Any:
    job = session.sup.get_nowait(params.job_id)
    if job.state.is_final:
        return _job(session, job)

    async def run(call: Call) -> Any:
        try:
            job = await session.sup.wait(params.job_id, params.timeout)
        except trio.TooSlowError:
            now = session.sup.get_nowait(params.job_id)
            raise WaitTimedOut(
                f"job {now.id} was still {now.state} after {params.timeout} s",
                job=job_to_wire(now),
            ) from None
        return await _answer(session, call, JobResult(job=job), job)

    return Later(run)


def job_list(session: Session, params: ListParams) -> Any:
    jobs = _Pieces()
    verdicts = session.server.verdicts

    def fits(job: Job) -> bool:
        return jobs.add(json_bytes(verdicts.job_to_wire(job, result_limit=RESULT_LIMIT_IN_LISTS)))

    def work() -> Work:
        page = yield from session.sup.list_steps(
            params.to_filter(), limit=params.limit, cursor=params.cursor, fits=fits
        )
        head = to_wire(attrs.evolve(page, jobs=()))
        return head | {"jobs": jobs.joined()}

    return _paged(session, work())


def job_logs(session: Session, params: LogsParams) -> Any:
    def work() -> Work:
        page = session.sup.logs_nowait(params.job_id, since=params.since, limit=params.limit)
        entries = _Pieces()
        last = params.since
        for entry in page.entries:
            if not entries.add(json_bytes(to_wire(entry))):
                page = attrs.evolve(page, next=last, eof=False)
                break
            last = entry.n
            yield
        return to_wire(attrs.evolve(page, entries=())) | {"entries": entries.joined()}

    return _paged(session, work())


def _paged(session: Session, work: Work) -> Later:
    async def run(call: Call) -> Any:
        async with session.room_for_large():
            call.answer(msgspec.Raw(json_bytes(await session.bulk.do(work))))

    return Later(run)


class _Pieces:
    """The items of a page, as JSON; a page is cut short rather than grow too large."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> bool:
        """False: it is the next page's."""
        if self._pieces and self._size + len(piece) > PAGE_BYTES:
            return False
        self._pieces.append(piece)
        self._size += len(piece)
        return True

    def joined(self) -> msgspec.Raw:
        return msgspec.Raw(b"[" + b",".join(self._pieces) + b"]")


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
            await subscription.run(sup, session.server.fanout, session.bulk, call.answer_first)
        except (ReplayGone, *CONTAINED):
            if not call.answered:
                raise
            session.close_nowait(*session.failed(subscription))
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
    def work() -> Work:
        statistics = yield from session.sup.statistics_steps()
        return to_wire(
            ServerInfo(
                server=server_name(),
                protocol=SUBPROTOCOL,
                sessions=len(session.server.sessions),
                lingering=len(session.server.lingering),
                statistics=statistics,
                jobs=tuple(session.sup.registry.describe()),
            )
        )

    return _paged(session, work())


def server_shutdown(session: Session, params: ShutdownParams) -> Any:
    session.sup.shutdown_nowait(params.mode, grace=params.grace)
    return OK


def rpc_discover(session: Session, params: NoParams) -> Any:
    return msgspec.Raw(document_json())


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
    "rpc.discover": rpc_discover,
    "$/cancelRequest": cancel_request,
}

"""The methods of the control channel: what each takes, what it gives, and who may call it.

One table, `METHODS`; what the server sends unasked is in `NOTIFICATIONS`. The classes they name are
in `_params` and `_results`, and can be had from here. How records look on the wire is in
`_wire_records`; `_openrpc` tells all of this to programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import attrs
import msgspec

from ._faults import explained, refuse_unknown
from ._model import CancelReply, JobPage, LogPage
from ._params import (
    JOB_ID_PATTERN,
    NO_PARAMS,
    CancelManyParams,
    CancelParams,
    CancelRequestParams,
    CommandParams,
    FilterParams,
    GetParams,
    HelloParams,
    ListParams,
    LogsParams,
    NoParams,
    Position,
    ShutdownParams,
    StartManyParams,
    StartParams,
    SubscribeParams,
    UnsubscribeParams,
    WaitParams,
)
from ._results import (
    Ack,
    BookmarkNotice,
    CancelEntry,
    CancelManyResult,
    ClosingNotice,
    Discovery,
    EventNotice,
    HelloResult,
    JobResult,
    LaggedNotice,
    LogNotice,
    PingResult,
    ProgressNotice,
    Refusal,
    ServerInfo,
    StartEntry,
    StartManyResult,
    StartResult,
    SubscribeResult,
)
from ._wire import MethodNotFound

__all__ = [
    "JOB_ID_PATTERN",
    "METHODS",
    "NOTIFICATIONS",
    "Ack",
    "BookmarkNotice",
    "CancelEntry",
    "CancelManyParams",
    "CancelManyResult",
    "CancelParams",
    "CancelRequestParams",
    "ClosingNotice",
    "CommandParams",
    "Discovery",
    "EventNotice",
    "FilterParams",
    "GetParams",
    "HelloParams",
    "HelloResult",
    "JobResult",
    "LaggedNotice",
    "ListParams",
    "LogNotice",
    "LogsParams",
    "Method",
    "NoParams",
    "PingResult",
    "Position",
    "ProgressNotice",
    "Refusal",
    "Scope",
    "ServerInfo",
    "ShutdownParams",
    "StartEntry",
    "StartManyParams",
    "StartManyResult",
    "StartParams",
    "StartResult",
    "SubscribeParams",
    "SubscribeResult",
    "UnsubscribeParams",
    "WaitParams",
    "method_named",
    "parse_params",
]


class Scope(StrEnum):
    """What a token may do."""

    OBSERVE = "observe"
    SUBMIT = "submit"
    """Start registered jobs."""
    EXEC = "exec"
    """Start commands: remote execution, so a scope of its own."""
    CANCEL = "cancel"
    ADMIN = "admin"


@attrs.frozen
class Method:
    """One method. `scope` None: no scope is needed, only an authenticated session.

    Args:
        name: of the method.
        params: what it takes.
        result: what it gives.
        scope: what the token must allow.
        summary: what it does.
        errors: the kinds it may answer besides those that any method may.
        more: what else to know about it.
    """

    name: str
    params: type[Any]
    result: type[Any]
    scope: Scope | None
    summary: str
    errors: tuple[str, ...] = ()
    more: str = ""


_START_ERRORS: Final = (
    "unknown_job_name", "job_id_conflict", "unsupported", "shutting_down",
)  # fmt: skip
_COMMANDS: Final = (
    "A `command` needs the scope `exec` as well, the conflict policy `replace` the scope `cancel`."
)


# fmt: off
METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (
        Method(
            "session.hello", HelloParams, HelloResult, None, "Say who you are; resume.",
            more="At most once on a connection. A connection that came without a token begins with "
            "it, in time.",
        ),
        Method(
            "session.ping", NoParams, PingResult, None, "Is anybody there?",
            more="For clients that cannot send a websocket ping. The counts show whether something "
            "in between loses or doubles messages.",
        ),
        Method(
            "job.start", StartParams, StartResult, Scope.SUBMIT, "Start a job.",
            errors=_START_ERRORS,
            more=f"Answered once the job is on record and can be cancelled. {_COMMANDS}",
        ),
        Method(
            "job.start_many", StartManyParams, StartManyResult, Scope.SUBMIT, "Start many jobs.",
            more=f"One that cannot be started does not keep the others. {_COMMANDS}",
        ),
        Method(
            "job.run", StartParams, JobResult, Scope.SUBMIT, "Start a job, wait for its end.",
            errors=_START_ERRORS,
            more="`$/cancelRequest` on it cancels the job, if this request created it, and is "
            f"answered with the final record; otherwise it only ends the wait. {_COMMANDS}",
        ),
        Method(
            "job.cancel", CancelParams, CancelReply, Scope.CANCEL, "Ask a job to stop.",
            errors=("job_not_found",),
            more="Whoever asks later joins the first, and may make it faster, never slower.",
        ),
        Method(
            "job.cancel_many", CancelManyParams, CancelManyResult, Scope.CANCEL, "Stop many jobs.",
        ),
        Method(
            "job.get", GetParams, JobResult, Scope.OBSERVE, "One job as it is now.",
            errors=("job_not_found",),
        ),
        Method(
            "job.wait", WaitParams, JobResult, Scope.OBSERVE, "Wait for a job's end.",
            errors=("job_not_found", "wait_timeout"),
            more="To stop waiting never touches the job.",
        ),
        Method(
            "job.list", ListParams, JobPage, Scope.OBSERVE, "Jobs, a page at a time.",
            more="All pages carry the position of the first: to watch from there misses nothing.",
        ),
        Method(
            "job.logs", LogsParams, LogPage, Scope.OBSERVE, "Lines of a job's log.",
            errors=("job_not_found",),
        ),
        Method(
            "events.subscribe", SubscribeParams, SubscribeResult, Scope.OBSERVE, "Watch.",
            errors=("replay_gone",),
            more="Answered before its first event.",
        ),
        Method(
            "events.unsubscribe", UnsubscribeParams, Ack, Scope.OBSERVE, "Watch no longer.",
            more="Nothing comes for it after the answer.",
        ),
        Method("server.info", NoParams, ServerInfo, Scope.OBSERVE, "Counters, registered jobs."),
        Method(
            "server.shutdown", ShutdownParams, Ack, Scope.ADMIN, "End all jobs, then leave.",
            more="Answered at once; `session.closing` comes when the connection is about to end.",
        ),
        Method(
            "rpc.discover", NoParams, Discovery, None, "This protocol as an OpenRPC document.",
            more="The same as `GET /openrpc.json`.",
        ),
        Method(
            "$/cancelRequest", CancelRequestParams, Ack, None, "End a wait of your own.",
            more="The request is still answered: with `request_cancelled`, or with its result if "
            "that was faster. What it asked for is not undone, and no job is touched, except by "
            "the request of a `job.run`.",
        ),
    )
}
# fmt: on

NOTIFICATIONS: Final[Mapping[str, type[Any]]] = {
    "events.event": EventNotice,
    "events.bookmark": BookmarkNotice,
    "events.log": LogNotice,
    "events.progress": ProgressNotice,
    "events.lagged": LaggedNotice,
    "session.closing": ClosingNotice,
}
"""What the server sends unasked. (`$/cancelRequest`, which clients send, is among `METHODS`.)"""


def method_named(name: str) -> Method:
    """The row of the table.

    Raises:
        MethodNotFound: there is none; `data["known"]` lists those there are.
    """
    method = METHODS.get(name)
    if method is not None:
        return method
    raise MethodNotFound(f"no method named {name[:64]!r}", path="$.method", known=list(METHODS))


def parse_params(method: Method, params: Mapping[str, Any]) -> Any:
    """The parameters as an instance of `method.params`.

    Raises:
        InvalidArguments: a field is unknown, missing, of the wrong type or out of range;
            `data["path"]` says which, `data["allowed"]` what would do where that is a short list.
    """
    if not params and method.params is NoParams:
        return NO_PARAMS
    refuse_unknown(method.params, params, method.name)
    try:
        return msgspec.convert(params, method.params)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise explained(method.params, params, method.name, exc) from None

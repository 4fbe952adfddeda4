"""What the methods of the control channel answer, and what the server says unasked.

Those that are records of the model are in `_model`. What is None is absent on the wire. The
docstrings are the words of the protocol's reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import attrs
from msgspec import Meta

from ._model import (
    CancelReply,
    Job,
    JobEvent,
    LogEntry,
    LogsLagged,
    ProgressEvent,
    Statistics,
)

__all__ = [
    "Ack",
    "BookmarkNotice",
    "CancelEntry",
    "CancelManyResult",
    "ClosingNotice",
    "Discovery",
    "EventNotice",
    "HelloResult",
    "JobResult",
    "LaggedNotice",
    "LogNotice",
    "PingResult",
    "ProgressNotice",
    "Refusal",
    "ServerInfo",
    "StartEntry",
    "StartManyResult",
    "StartResult",
    "SubscribeResult",
]

_REGISTERED: Final = {
    "properties": {
        "name": {"type": "string"},
        "doc": {"type": "string"},
        "schema": {"type": "object"},
    },
    "required": ["name", "doc", "schema"],
}


@attrs.frozen(kw_only=True)
class HelloResult:
    """Who the server is, and where its events stand.

    Args:
        server: its name and version.
        protocol: the subprotocol that is spoken.
        instance: the supervisor behind it; a restarted one has another.
        head_seq: the position of the newest event.
        limits: what it takes of one connection.
        scopes: what the token may do.
        session_id: this session, as the server's log names it.
        resume_token: what a later connection says to get this one's lingering jobs back.
        resumed: how many jobs the `resume_token` of the request brought back.
        resume_error: why that token brought none, and what to do; absent if it was good.
    """

    server: str
    protocol: str
    instance: str
    head_seq: int
    limits: Mapping[str, float]
    scopes: tuple[str, ...]
    session_id: str
    resume_token: str = attrs.field(repr=False)
    resumed: int = 0
    resume_error: str | None = None


@attrs.frozen(kw_only=True)
class PingResult:
    """The server is there; its counts tell a client whether anything got lost on the way.

    Args:
        now: the server's clock.
        head_seq: the position of the newest event.
        received: messages that this connection has received, this one included; a batch is one.
        sent: messages sent on it before this answer; a batch is one, a notification is one.
    """

    now: datetime
    head_seq: int
    received: int
    sent: int


@attrs.frozen(kw_only=True)
class StartResult:
    """A job that was started, or was there already.

    Args:
        job: its record.
        created: whether this request started it.
        seq: the position of the newest event.
    """

    job: Job
    created: bool
    seq: int


@attrs.frozen(kw_only=True)
class JobResult:
    """One job.

    Args:
        job: its record.
    """

    job: Job


@attrs.frozen(kw_only=True)
class Refusal:
    """Why a request was refused: the `error` member of an answer.

    Args:
        code: the number of the kind.
        message: what was wrong, where, and what would do.
        data: `kind`, `retryable`, and what else that kind tells.
    """

    code: int
    message: str
    data: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class StartEntry:
    """What became of one job of a bulk start: one of the two.

    Args:
        result: as `job.start` answers.
        error: why it was not started.
    """

    result: StartResult | None = None
    error: Refusal | None = None


@attrs.frozen(kw_only=True)
class CancelEntry:
    """What became of one job of a bulk cancel: one of the two.

    Args:
        result: as `job.cancel` answers. Where there are more than 1000, without the records; with
            `wait: "finished"`, though, a job that has not ended has its record, without labels,
            command, reason, progress and error.
        error: why it was not cancelled.
    """

    result: CancelReply | None = None
    error: Refusal | None = None


@attrs.frozen(kw_only=True)
class StartManyResult:
    """What became of each job.

    Args:
        results: one entry each, in the order of the request.
    """

    results: tuple[StartEntry, ...]


@attrs.frozen(kw_only=True)
class CancelManyResult:
    """What became of each job.

    Args:
        results: one entry each.
    """

    results: tuple[CancelEntry, ...]


@attrs.frozen(kw_only=True)
class SubscribeResult:
    """A subscription has begun; its first event comes after this.

    Args:
        subscription_id: names it in its notifications.
        instance: the supervisor whose history it is.
        from_seq: the position it begins after.
        head_seq: the position of the newest event; up to there it is a replay.
    """

    subscription_id: str
    instance: str
    from_seq: int
    head_seq: int


@attrs.frozen(kw_only=True)
class ServerInfo:
    """Counters, and what can be started by name.

    Args:
        server: its name and version.
        protocol: the subprotocol that is spoken.
        sessions: open connections.
        lingering: jobs whose client may come back.
        statistics: of the supervisor.
        jobs: name, description and JSON Schema of the arguments of each registered job.
    """

    server: str
    protocol: str
    sessions: int
    lingering: int
    statistics: Statistics
    jobs: tuple[Annotated[Mapping[str, Any], Meta(extra_json_schema=_REGISTERED)], ...]


@attrs.frozen(kw_only=True)
class Ack:
    """Done; there is nothing to say about it.

    Args:
        ok: always true.
    """

    ok: bool = True


@attrs.frozen(kw_only=True)
class Discovery:
    """An OpenRPC document; see https://spec.open-rpc.org.

    Args:
        openrpc: the version of OpenRPC.
        info: what the document describes.
        methods: every method and notification.
        components: the records and errors that they share.
    """

    openrpc: str
    info: Mapping[str, Any]
    methods: tuple[Mapping[str, Any], ...]
    components: Mapping[str, Any]


# --- what the server says unasked -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class EventNotice(JobEvent):
    """A job changed its state.

    Args:
        subscription_id: whose it is.
        prev_seq: the position of this subscription before: the `seq` that it was sent last, or the
            `from_seq` of its beginning. A reader that holds another one has missed something.
    """

    subscription_id: str
    prev_seq: int


@attrs.frozen(kw_only=True)
class BookmarkNotice:
    """There was nothing for this subscription up to `seq`: a position to watch from later.

    Args:
        subscription_id: whose it is.
        number: counts the bookmarks of this subscription, from 1 on.
        prev_seq: the position of this subscription before.
        instance: the supervisor that counts.
        seq: the position now; the same as before if nothing happened at all.
    """

    subscription_id: str
    number: int
    prev_seq: int
    instance: str
    seq: int


@attrs.frozen(kw_only=True)
class LogNotice(LogEntry):
    """A job wrote a line; comes to subscriptions with `logs`, and is not replayed.

    Args:
        subscription_id: whose it is.
    """

    subscription_id: str


@attrs.frozen(kw_only=True)
class ProgressNotice(ProgressEvent):
    """A job told how far it is; comes to subscriptions with `progress`, and is not replayed.

    Args:
        subscription_id: whose it is.
    """

    subscription_id: str


@attrs.frozen(kw_only=True)
class LaggedNotice(LogsLagged):
    """Lines of a log were dropped for a slow reader; `job.logs` may still have them.

    Args:
        subscription_id: whose it is.
    """

    subscription_id: str


@attrs.frozen(kw_only=True)
class ClosingNotice:
    """The server is about to close this connection.

    Args:
        reason: why.
        reconnect_after: seconds after which it is worth while to come back.
    """

    reason: str
    reconnect_after: float

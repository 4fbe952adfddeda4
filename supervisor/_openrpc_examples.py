"""An example of every method and notification, for the OpenRPC document and the pages made from it.

Results are made from the records themselves, so that they look as they do on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import attrs

from ._methods import (
    Ack,
    BookmarkNotice,
    CancelEntry,
    CancelManyResult,
    ClosingNotice,
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
from ._model import (
    CancelOutcome,
    CancelReply,
    CancelRequest,
    Cause,
    Certificate,
    How,
    Job,
    JobPage,
    JobState,
    LogEntry,
    LogPage,
    Progress,
    Proof,
    Rung,
    RungTime,
    Statistics,
)
from ._wire import CODES, SUBPROTOCOL
from ._wire_records import to_wire

__all__ = ["EXAMPLES"]

Example: TypeAlias = tuple[str, Mapping[str, Any], Any]
"""A title, parameters, and the result; None where there is none."""

_INSTANCE: Final = "i4f1c9a"
_AT: Final = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)
_ASKED: Final = _AT + timedelta(seconds=7)
_DEAD: Final = _ASKED + timedelta(seconds=0.25)

_RUNNING: Final = Job(
    id="build", name="make", kind="command", state=JobState.RUNNING, attempt=1, version=2, seq=42,
    created_at=_AT, started_at=_AT, labels={"branch": "main"}, requester="ci", can_force=True,
    grace=5.0, command=("make", "-j8"), log_lines=120,
)  # fmt: skip
_FIRST: Final = CancelRequest(
    requester="ci", cause=Cause.USER, at=_ASKED, grace=5.0, reason="wrong branch"
)
_GONE: Final = attrs.evolve(
    _RUNNING, state=JobState.CANCELLED, version=4, seq=44, ended_at=_DEAD, duration=7.25,
    cancel_requested=True, cause=Cause.USER, reason="wrong branch", how=How.COOPERATIVE, signal=15,
    certificate=Certificate(
        first_request=_FIRST, how=How.COOPERATIVE, request_to_dead=0.25,
        proof=Proof("cgroup_empty"), rungs=(RungTime(Rung.CANCEL, _ASKED),),
    ),
)  # fmt: skip
_DONE: Final = attrs.evolve(
    _RUNNING, state=JobState.SUCCEEDED, version=3, seq=43, ended_at=_DEAD, duration=7.25,
    how=How.EXITED, exit_code=0,
)  # fmt: skip
_NO_JOB: Final = Refusal(
    code=CODES["unknown_job_name"],
    message="no job named 'tset' is registered; registered: test",
    data={"kind": "unknown_job_name", "retryable": False, "known": ["test"]},
)
_STOPPED: Final = CancelReply(
    outcome=CancelOutcome.CANCELLED, job_id="build", seq=44, job=_GONE, first_request=_FIRST,
    certificate=_GONE.certificate,
)  # fmt: skip
_LINE: Final[dict[str, Any]] = {
    "job_id": "build", "attempt": 1, "n": 121, "time": _AT, "stream": "stdout", "text": "cc -c a.c",
}  # fmt: skip
_COMMAND: Final = {"command": ["make", "-j8"], "job_id": "build", "labels": {"branch": "main"}}


def _written(*examples: Example) -> tuple[Example, ...]:
    return tuple(
        (title, params, None if result is None else to_wire(result))
        for title, params, result in examples
    )


_REQUESTS: Final = {
    "session.hello": _written((
        "in a browser, which cannot send the token as a header",
        {"client": "dashboard 3", "token": "THE-TOKEN"},
        HelloResult(
            server="trio-supervisor/0.1.0", protocol=SUBPROTOCOL, instance=_INSTANCE, head_seq=41,
            limits={"message_bytes": 1048576, "batch_items": 100, "pending_requests": 1000},
            scopes=("cancel", "observe"), session_id="s1f2e3d", resume_token="THE-RESUME-TOKEN",
        ),
    )),
    "session.ping": _written(
        ("ping", {}, PingResult(now=_AT, head_seq=41, received=3, sent=2))
    ),
    "job.start": _written(
        ("a program", _COMMAND, StartResult(job=_RUNNING, created=True, seq=42)),
        (
            "a registered job",
            {"name": "test", "args": {"path": "tests"}, "timeout": 600},
            StartResult(
                job=attrs.evolve(
                    _RUNNING, id="j7", name="test", kind="async", command=None, can_force=False
                ),
                created=True,
                seq=42,
            ),
        ),
    ),
    "job.start_many": _written((
        "two jobs, one of which there is not",
        {"jobs": [_COMMAND, {"name": "tset"}]},
        StartManyResult(
            results=(
                StartEntry(result=StartResult(job=_RUNNING, created=True, seq=42)),
                StartEntry(error=_NO_JOB),
            )
        ),
    )),
    "job.run": _written(("run a program to its end", _COMMAND, JobResult(job=_DONE))),
    "job.cancel": _written((
        "cancel, and wait until it is gone",
        {"job_id": "build", "reason": "wrong branch", "wait": "finished"},
        _STOPPED,
    )),
    "job.cancel_many": _written((
        "cancel by label",
        {"filter": {"labels": {"branch": "main"}}, "wait": "finished"},
        CancelManyResult(results=(CancelEntry(result=_STOPPED),)),
    )),
    "job.get": _written(("look", {"job_id": "build"}, JobResult(job=_RUNNING))),
    "job.wait": _written(
        ("wait a minute at most", {"job_id": "build", "timeout": 60}, JobResult(job=_DONE))
    ),
    "job.list": _written((
        "what is running",
        {"state": ["starting", "running"], "limit": 10},
        JobPage((_RUNNING,), _INSTANCE, 42),
    )),
    "job.logs": _written((
        "what came after line 120",
        {"job_id": "build", "since": 120},
        LogPage(entries=(LogEntry(**_LINE),), next=121, eof=False),
    )),
    "events.subscribe": _written((
        "go on after event 41",
        {"since": {"instance": _INSTANCE, "seq": 41}, "logs": True},
        SubscribeResult(subscription_id="e1", instance=_INSTANCE, from_seq=41, head_seq=42),
    )),
    "events.unsubscribe": _written(("enough", {"subscription_id": "e1"}, Ack())),
    "server.info": _written((
        "look",
        {},
        ServerInfo(
            server="trio-supervisor/0.1.0", protocol=SUBPROTOCOL, sessions=1, lingering=0,
            statistics=Statistics(
                instance=_INSTANCE, seq=42, jobs={"running": 1}, slots_used=1, tombstones=0,
                watchers=1, log_bytes=4096, accepting=True,
            ),
            jobs=(
                {
                    "name": "test",
                    "doc": "Run the tests.",
                    "schema": {"type": "object", "properties": {"path": {"type": "string"}}},
                },
            ),
        ),
    )),
    "server.shutdown": _written(("let the jobs end first", {"mode": "drain"}, Ack())),
    "rpc.discover": (
        (
            "the document (shortened)",
            {},
            {
                "openrpc": "1.4.1",
                "info": {"title": "trio-supervisor", "version": "1.0.0"},
                "methods": [],
                "components": {},
            },
        ),
    ),
    "$/cancelRequest": _written(("end the wait of request 7", {"id": 7}, None)),
}  # fmt: skip

_NOTIFICATIONS: Final = {
    "events.event": EventNotice(
        subscription_id="e1", prev_seq=41, instance=_INSTANCE, seq=42, time=_AT, type="job.started",
        job_id="build", attempt=1, state=JobState.RUNNING,
    ),
    "events.bookmark": BookmarkNotice(
        subscription_id="e1", number=3, prev_seq=42, instance=_INSTANCE, seq=57
    ),
    "events.log": LogNotice(subscription_id="e1", **_LINE),
    "events.progress": ProgressNotice(
        subscription_id="e1", job_id="build", attempt=1, progress=Progress(3, 8, "linking")
    ),
    "events.lagged": LaggedNotice(subscription_id="e1", job_id="build", from_n=122, to_n=480),
    "session.closing": ClosingNotice(reason="shutdown", reconnect_after=1.0),
}  # fmt: skip

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {
    **_REQUESTS,
    **{name: (("notification", to_wire(it), None),) for name, it in _NOTIFICATIONS.items()},
}

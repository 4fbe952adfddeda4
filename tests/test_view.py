"""From inner records to what users see."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

import pytest
from fakes import EPOCH, PROOF, at, error, forever, make_request, make_spec, raised

from supervisor._model import Cause, Command, How, JobEvent, JobState, Progress, Rung
from supervisor._records import (
    Backoff,
    Cancelling,
    Exited,
    Final,
    Pending,
    Record,
    Returned,
    Running,
    Starting,
    Stop,
    Stuck,
)
from supervisor._view import certificate_of, describe_work, event_view, job_view, stop_of, when


def make_event(seq: int) -> JobEvent:
    """An event that differs from others by its number only."""
    return JobEvent(
        instance="i",
        seq=seq,
        time=when(EPOCH),
        type="job.pending",
        job_id="a",
        attempt=1,
        state=JobState.PENDING,
    )


STOP = Stop(
    Cause.USER,
    make_request(2.0, reason="why", requester="ann"),
    (make_request(3.0, requester="bob"),),
    5,
    Rung.CANCEL,
    ((Rung.CANCEL, at(2.0)),),
    12.0,
    12.0,
    10.0,
)
RECORDS: dict[str, Record] = {
    "pending": Pending(1, 1),
    "starting": Starting(1, 2),
    "running": Running(1, 3, at(1.0)),
    "cancelling": Cancelling(1, 4, at(1.0), STOP),
    "stuck": Stuck(1, 5, at(1.0), STOP, "why not", ("here",), at(13.0)),
    "backoff": Backoff(1, 4, at(1.0), raised(), How.RAISED, at(9.0)),
    "final": Final(
        JobState.CANCELLED, 1, 6, at(1.0), at(5.0), Exited(None, 15, PROOF), How.COOPERATIVE, STOP
    ),
}


def test_times_are_aware_utc() -> None:
    assert when(EPOCH) == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize("name", RECORDS)
def test_a_view_shows_what_the_spec_says(name: str) -> None:
    spec = make_spec(labels={"a": "b"}, grace=3.0, notice=2.0, timeout=4.0, requester="ann")
    progress = Progress(1, 2)
    job = job_view(spec, RECORDS[name], 9, now=4.0, progress=progress, log_lines=7, log_dropped=2)
    assert (job.id, job.name, job.kind, job.can_force) == ("a", "work", "fake", True)
    assert (job.labels, job.grace, job.notice, job.timeout) == ({"a": "b"}, 3.0, 2.0, 4.0)
    assert (job.seq, job.log_lines, job.log_dropped) == (9, 7, 2)
    assert job.progress == (None if job.state.is_final else progress)
    assert job.requester == "ann"
    assert job.created_at == when(EPOCH)
    assert job.version == RECORDS[name].version


def test_a_view_shows_what_the_state_has() -> None:
    view = {name: job_view(make_spec(), record, 9, now=4.0) for name, record in RECORDS.items()}
    assert view["pending"].started_at is None
    assert view["running"].started_at == when(EPOCH + 1)
    cancelling = view["cancelling"]
    assert (cancelling.rung, cancelling.kill_in) == (Rung.CANCEL, 8.0)
    assert (cancelling.cause, cancelling.reason, cancelling.cancel_requested) == (
        "user",
        "why",
        True,
    )
    stuck = view["stuck"]
    assert (stuck.why, stuck.where, stuck.stuck_since) == ("why not", ("here",), when(EPOCH + 13))
    backoff = view["backoff"]
    assert (backoff.error, backoff.how, backoff.restart_at) == (error(), "raised", when(EPOCH + 9))
    final = view["final"]
    assert (final.duration, final.signal, final.how) == (4.0, 15, "cooperative")
    assert final.ended_at == when(EPOCH + 5)


def test_a_kill_that_is_overdue_is_due_now() -> None:
    assert job_view(make_spec(), RECORDS["cancelling"], 9, now=99.0).kill_in == 0.0


def test_a_result_is_on_the_record() -> None:
    record = Final(
        JobState.SUCCEEDED, 1, 6, None, at(5.0), Returned(7, PROOF), How.RETURNED, result=7
    )
    job = job_view(make_spec(), record, 9, now=5.0)
    assert (job.result, job.duration, job.certificate) == (7, None, None)


def test_a_final_record_has_the_last_progress_itself() -> None:
    exit = Returned(None, PROOF)
    record = Final(
        JobState.SUCCEEDED, 1, 6, None, at(5.0), exit, How.RETURNED, progress=Progress(3)
    )
    assert job_view(make_spec(), record, 9, now=5.0).progress == Progress(3)


def test_only_a_final_record_that_was_asked_to_stop_has_a_certificate() -> None:
    assert [name for name, record in RECORDS.items() if certificate_of(record)] == ["final"]
    certificate = certificate_of(RECORDS["final"])
    assert certificate is not None
    assert certificate.request_to_dead == 3.0
    assert certificate.first_request.requester == "ann"
    assert [each.requester for each in certificate.later_requests] == ["bob"]
    assert (certificate.later_count, certificate.proof) == (5, PROOF)


def test_only_some_states_have_a_stop() -> None:
    assert [name for name, record in RECORDS.items() if stop_of(record)] == [
        "cancelling",
        "stuck",
        "final",
    ]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("pending", {"name", "kind"}),
        ("starting", {"name", "kind"}),
        ("running", set()),
        ("cancelling", {"rung", "cause", "reason", "requester"}),
        ("stuck", {"why", "where", "cause", "reason", "requester"}),
        ("backoff", {"how", "restart_at"}),
        (
            "final",
            {"how", "signal", "cause", "reason", "requester", "request_to_dead", "proof"},
        ),
    ],
)
def test_what_an_event_carries(name: str, keys: set[str]) -> None:
    event = event_view("i", (3, EPOCH, "job.x", make_spec(), RECORDS[name]))
    assert (event.instance, event.seq, event.type, event.job_id) == ("i", 3, "job.x", "a")
    assert event.state == RECORDS[name].state
    assert set(event.data) == keys


def test_an_event_tells_of_an_error_but_not_its_traceback() -> None:
    final = Final(JobState.FAILED, 1, 6, None, at(5.0), raised("boom"), How.RAISED)
    data = event_view("i", (3, EPOCH, "job.finished", make_spec(), final)).data
    assert data["error"] == {"type": "ValueError", "message": "boom"}


class Callable_:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("work", "name"),
    [
        (forever, "forever"),
        (functools.partial(forever), "forever"),
        (Callable_(), "Callable_"),
        (Command(["/usr/bin/make", "-j8"]), "make"),
        (Command(["make"]), "make"),
        (Command([b"/bin/\xff"]), "\ufffd"),
        (Command(["/odd/"]), "/odd/"),
    ],
    ids=repr,
)
def test_work_without_a_name_is_described(work: object, name: str) -> None:
    assert describe_work(work) == name


def test_a_command_is_shown_without_its_environment() -> None:
    command = Command(["env", b"\xff"], env={"TOKEN": "secret"})
    job = job_view(make_spec(work=command), Pending(1, 1), 1, now=0.0)
    assert job.command == ("env", "\ufffd")
    assert "secret" not in repr(job) + repr(command)

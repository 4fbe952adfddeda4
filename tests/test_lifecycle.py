"""The life of a job as a table: every state, every input, every outcome.

The expectations are written from what docs/lifecycle.md promises, not from the code.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fakes import PROOF, at, error, make_request, make_spec, raised
from hypothesis import given
from hypothesis import strategies as st

from supervisor._lifecycle import (
    TRANSITIONS,
    VERIFY_SECONDS,
    Cancel,
    Climb,
    Ended,
    Escalate,
    Input,
    Join,
    Launch,
    Refused,
    Resist,
    Started,
    advance,
    classify_cancel,
    next_rung,
)
from supervisor._model import FINAL_STATES, CancelOutcome, Cause, How, JobState, Progress, Rung
from supervisor._records import (
    Backoff,
    Cancelling,
    Exit,
    Exited,
    Final,
    JobSpec,
    LetThrough,
    NeverStarted,
    Pending,
    Record,
    Request,
    Returned,
    Running,
    Starting,
    Stop,
    Stuck,
    Vanished,
)
from supervisor._view import certificate_of, job_view, when

S = JobState
ASYNC = make_spec(kind="async", can_force=False)
KILLABLE = make_spec(kind="fake", can_force=True)
SUCCESSOR = make_spec(identity="other")
CAN_BE_FOLLOWED = {Cause.SIBLING, Cause.SHUTDOWN, Cause.SUPERVISOR_LOST}

RETURNED = Returned("value", PROOF)
THROUGH = LetThrough(PROOF)
EXITS: tuple[Exit, ...] = (
    RETURNED,
    raised(),
    THROUGH,
    Exited(0, None, PROOF),
    Exited(3, None, PROOF),
    Exited(None, 15, PROOF),
    NeverStarted(None, PROOF),
    NeverStarted(error("no such file"), PROOF),
    Vanished(error("gone"), PROOF),
)


# --- every record and every input there can be, by kind ---------------------------------------


def make_stop(
    cause: Cause = Cause.USER,
    rung: Rung = Rung.CANCEL,
    *,
    kill_at: float = 11.0,
    grace: float = 10.0,
    successor: JobSpec | None = None,
) -> Stop:
    first = make_request(1.0, cause=cause, grace=grace)
    ends = 7.0 if rung is Rung.NOTICE else kill_at
    return Stop(cause, first, (), 0, rung, ((rung, at(1.0)),), ends, kill_at, grace, successor)


def cancelling(stop: Stop | None = None, **kwargs: Any) -> Cancelling:
    return Cancelling(1, 4, at(0.5), make_stop(**kwargs) if stop is None else stop)


def stuck(stop: Stop | None = None, **kwargs: Any) -> Stuck:
    stop = make_stop(**kwargs) if stop is None else stop
    return Stuck(1, 5, at(0.5), stop, "why", ("where",), at(30.0))


BACKOFF = Backoff(2, 6, at(0.5), raised(), How.RAISED, at(9.0))
RUNNING = Running(1, 3, at(0.5))


def final(state: JobState, stop: Stop | None = None) -> Final:
    return Final(state, 1, 7, at(0.5), at(3.0), RETURNED, How.RETURNED, stop)


def records_of(state: JobState) -> Iterator[Record]:
    match state:
        case S.PENDING:
            yield Pending(1, 1)
        case S.STARTING:
            yield Starting(1, 2)
        case S.RUNNING:
            yield RUNNING
        case S.BACKOFF:
            yield BACKOFF
        case S.CANCELLING:
            for cause, rung in itertools.product(Cause, Rung):
                yield cancelling(cause=cause, rung=rung)
                yield Cancelling(1, 4, None, make_stop(cause, rung, successor=SUCCESSOR))
        case S.STUCK:
            for cause in Cause:
                yield stuck(cause=cause, rung=Rung.VERIFY)
                yield Stuck(1, 5, None, make_stop(cause), "why", (), at(30.0))
        case _:
            yield final(state)
            yield final(state, make_stop())


def requests() -> Iterator[Request]:
    for cause, force, grace in itertools.product(Cause, (False, True), (0.0, 2.0, 60.0)):
        yield make_request(5.0, cause=cause, force=force, grace=grace)


def inputs_of(kind: type) -> Iterator[Input]:
    if kind is Launch:
        yield Launch()
    elif kind is Started:
        yield Started(at(6.0))
    elif kind is Ended:
        for exit, restart_at in itertools.product(EXITS, (None, at(9.0))):
            yield Ended(exit, at(6.0), restart_at)
    elif kind is Climb:
        for rung in (Rung.CANCEL, Rung.FORCE, Rung.VERIFY):
            yield Climb(rung, at(6.0))
    elif kind is Resist:
        yield Resist(("body (file.py:1)",), at(6.0))
    else:
        for request, successor in itertools.product(requests(), (None, SUCCESSOR)):
            yield kind(request, successor)


INPUTS = (Launch, Started, Ended, Cancel, Join, Escalate, Climb, Resist)
CELLS = [(state, kind) for state in JobState for kind in INPUTS]
FILLED = [(state, kind) for state, kind in CELLS if kind in TRANSITIONS[state]]
EMPTY = [(state, kind) for state, kind in CELLS if kind not in TRANSITIONS[state]]


def cell_id(value: object) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


# --- the table as a whole ---------------------------------------------------------------------


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(JobState)


ENDS = {S.SUCCEEDED, S.FAILED, S.BACKOFF}
KNOWN: dict[JobState, dict[type, set[JobState]]] = {
    S.PENDING: {Launch: {S.STARTING}, Cancel: {S.CANCELLED, S.TIMED_OUT}},
    S.STARTING: {Started: {S.RUNNING}, Ended: ENDS, Cancel: {S.CANCELLING}},
    S.RUNNING: {Ended: ENDS, Cancel: {S.CANCELLING}},
    S.CANCELLING: {
        **{kind: {S.CANCELLING} for kind in (Started, Join, Escalate, Climb)},
        Resist: {S.STUCK},
        Ended: {*ENDS, S.CANCELLED, S.TIMED_OUT},
    },
    S.STUCK: {
        **{kind: {S.STUCK} for kind in (Started, Join)},
        Ended: {S.CANCELLED, S.TIMED_OUT, S.BACKOFF},
    },
    S.BACKOFF: {Launch: {S.STARTING}, Cancel: {S.CANCELLED, S.TIMED_OUT}},
}


@pytest.mark.parametrize(("state", "kind"), CELLS, ids=cell_id)
def test_which_input_a_state_takes_and_where_it_may_lead(state: JobState, kind: type) -> None:
    row = TRANSITIONS[state].get(kind)
    assert (None if row is None else row.leads_to) == KNOWN.get(state, {}).get(kind)


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_the_row_of_a_final_state_is_empty(state: JobState) -> None:
    assert TRANSITIONS[state] == {}


@pytest.mark.parametrize(("state", "kind"), FILLED, ids=cell_id)
def test_a_cell_leads_exactly_where_the_table_says(state: JobState, kind: type) -> None:
    reached = defaultdict(list)
    for spec, record, input in itertools.product(
        (ASYNC, KILLABLE), records_of(state), inputs_of(kind)
    ):
        reached[advance(spec, record, input).record.state].append((record, input))
    assert set(reached) == TRANSITIONS[state][kind].leads_to


@pytest.mark.parametrize(("state", "kind"), EMPTY, ids=cell_id)
def test_an_empty_cell_refuses_and_names_state_and_input(state: JobState, kind: type) -> None:
    for record, input in itertools.product(records_of(state), inputs_of(kind)):
        with pytest.raises(Refused, match=rf"job a: {kind.__name__} in state {state}"):
            advance(KILLABLE, record, input)


@pytest.mark.parametrize(("state", "kind"), FILLED, ids=cell_id)
def test_a_step_counts_the_version_and_keeps_the_attempt(state: JobState, kind: type) -> None:
    for record, input in itertools.product(records_of(state), inputs_of(kind)):
        moved, _ = advance(KILLABLE, record, input)
        if moved is not record:
            assert moved.version == record.version + 1
        left_backoff = state is S.BACKOFF and kind is Launch
        assert moved.attempt == record.attempt + left_backoff


@pytest.mark.parametrize(("state", "kind"), FILLED, ids=cell_id)
def test_a_change_of_state_is_told_by_an_event_named_for_it(state: JobState, kind: type) -> None:
    last_event = {
        S.STARTING: "job.starting",
        S.RUNNING: "job.started",
        S.CANCELLING: "job.cancelling",
        S.STUCK: "job.stuck",
        S.BACKOFF: "job.backoff",
    }
    for record, input in itertools.product(records_of(state), inputs_of(kind)):
        moved, events = advance(KILLABLE, record, input)
        if moved.state is not state:
            assert events[-1] == last_event.get(moved.state, "job.finished")
        else:
            assert events in ((), ("job.escalated",))


def test_only_the_end_of_an_attempt_that_goes_on_tells_attempt_ended() -> None:
    for (state, kind), record, input in (
        (cell, record, input)
        for cell in FILLED
        for record in records_of(cell[0])
        for input in inputs_of(cell[1])
    ):
        moved, events = advance(KILLABLE, record, input)
        assert ("job.attempt_ended" in events) == (moved.state is S.BACKOFF), (state, kind)


def test_no_input_moves_the_kill_later() -> None:
    for kind, record in itertools.product(TRANSITIONS[S.CANCELLING], records_of(S.CANCELLING)):
        for input in inputs_of(kind):
            moved = advance(KILLABLE, record, input).record
            if isinstance(record, Cancelling) and isinstance(moved, Cancelling):
                assert moved.stop.kill_at <= record.stop.kill_at


# --- cancel, by state -------------------------------------------------------------------------


def cancel(
    spec: JobSpec,
    record: Record,
    request: Request,
    *,
    grace_given: bool = False,
    successor: JobSpec | None = None,
) -> tuple[CancelOutcome, Record]:
    outcome, input = classify_cancel(record, request, grace_given=grace_given, successor=successor)
    return outcome, record if input is None else advance(spec, record, input).record


WAYS = {
    "polite": (make_request(5.0), False),
    "smaller grace": (make_request(5.0, grace=2.0), True),
    "force": (make_request(5.0, force=True), False),
}
BY_STATE = [
    # record, then the outcome of: a cancel, one with a smaller grace, one with force
    (Pending(1, 1), "cancelled", "cancelled", "cancelled"),
    (BACKOFF, "cancelled", "cancelled", "cancelled"),
    (Starting(1, 2), "cancelling", "cancelling", "cancelling"),
    (RUNNING, "cancelling", "cancelling", "cancelling"),
    (cancelling(rung=Rung.NOTICE, kill_at=17.0), "joined", "escalated", "escalated"),
    (cancelling(rung=Rung.CANCEL), "joined", "escalated", "escalated"),
    (cancelling(rung=Rung.FORCE), "joined", "joined", "joined"),
    (cancelling(rung=Rung.VERIFY), "joined", "joined", "joined"),
    (stuck(), "stuck", "stuck", "stuck"),
    (final(S.CANCELLED, make_stop()), *["already_cancelled"] * 3),
    (final(S.SUCCEEDED), *["already_finished"] * 3),
    (final(S.FAILED, make_stop()), *["already_finished"] * 3),
    (final(S.TIMED_OUT, make_stop(Cause.DEADLINE)), *["already_finished"] * 3),
]


@pytest.mark.parametrize(
    ("record", "way", "outcome"),
    [
        pytest.param(record, way, outcome, id=f"{record.state}-{number}-{way}")
        for number, (record, *outcomes) in enumerate(BY_STATE)
        for way, outcome in zip(WAYS, outcomes, strict=True)
    ],
)
@pytest.mark.parametrize("spec", [ASYNC, KILLABLE], ids=["async", "killable"])
def test_the_answer_to_a_cancel_by_state(
    spec: JobSpec, record: Record, way: str, outcome: str
) -> None:
    request, grace_given = WAYS[way]
    answered, moved = cancel(spec, record, request, grace_given=grace_given)
    assert answered == outcome
    if isinstance(record, Final):
        assert moved is record
    elif isinstance(record, Pending | Backoff):
        assert moved.state is S.CANCELLED
    elif isinstance(record, Stuck):
        assert moved.state is S.STUCK
    else:
        assert moved.state is S.CANCELLING


def test_a_pending_job_ends_at_once_and_never_started() -> None:
    _, ended = cancel(KILLABLE, Pending(1, 1), make_request(5.0, reason="not needed"))
    job = job_view(KILLABLE, ended, 9, now=5.0)
    assert (job.state, job.how, job.started_at) == (S.CANCELLED, How.NEVER_STARTED, None)
    assert job.certificate is not None
    assert job.certificate.first_request.reason == "not needed"
    assert job.certificate.request_to_dead == 0.0


def test_a_waiting_restart_ends_at_once_and_keeps_how_the_last_attempt_ended() -> None:
    _, ended = cancel(KILLABLE, BACKOFF, make_request(5.0))
    job = job_view(KILLABLE, ended, 9, now=5.0)
    assert (job.state, job.attempt, job.how) == (S.CANCELLED, 2, How.RAISED)
    assert job.error == error()


def test_a_starting_job_gets_no_notice() -> None:
    spec = make_spec(notice=60.0)
    _, moved = cancel(spec, Starting(1, 2), make_request(5.0))
    assert isinstance(moved, Cancelling)
    assert (moved.stop.rung, moved.stop.kill_at) == (Rung.CANCEL, 15.0)


@pytest.mark.parametrize(
    ("notice", "rung", "ends", "kill_at"),
    [(0.0, Rung.CANCEL, 15.0, 15.0), (60.0, Rung.NOTICE, 65.0, 75.0)],
)
def test_the_ladder_of_a_running_job_begins(
    notice: float, rung: Rung, ends: float, kill_at: float
) -> None:
    _, moved = cancel(make_spec(notice=notice), RUNNING, make_request(5.0))
    assert isinstance(moved, Cancelling)
    stop = moved.stop
    assert (stop.rung, stop.rung_ends, stop.kill_at) == (rung, ends, kill_at)
    assert stop.rungs == ((rung, at(5.0)),)


@pytest.mark.parametrize("record", [Starting(1, 2), RUNNING])
def test_force_begins_at_the_top_of_the_ladder(record: Record) -> None:
    _, moved = cancel(make_spec(notice=60.0), record, make_request(5.0, force=True))
    assert isinstance(moved, Cancelling)
    assert (moved.stop.rung, moved.stop.kill_at) == (Rung.FORCE, 5.0)


def test_a_smaller_grace_ends_notice_but_still_passes_cancel() -> None:
    record = cancelling(rung=Rung.NOTICE, kill_at=71.0)
    outcome, moved = cancel(KILLABLE, record, make_request(5.0, grace=2.0), grace_given=True)
    assert isinstance(moved, Cancelling)
    stop = moved.stop
    assert outcome is CancelOutcome.ESCALATED
    assert (stop.rung, stop.kill_at, stop.rung_ends) == (Rung.CANCEL, 7.0, 7.0)
    assert next_rung(KILLABLE, stop) is Rung.FORCE


def test_a_smaller_grace_that_would_end_later_changes_nothing() -> None:
    record = cancelling(kill_at=11.0, grace=10.0)
    outcome, moved = cancel(KILLABLE, record, make_request(8.0, grace=9.0), grace_given=True)
    assert isinstance(moved, Cancelling)
    assert (outcome, moved.stop.kill_at) == (CancelOutcome.JOINED, 11.0)


def test_a_larger_grace_is_ignored() -> None:
    record = cancelling(kill_at=11.0, grace=10.0)
    outcome, moved = cancel(KILLABLE, record, make_request(2.0, grace=60.0), grace_given=True)
    assert isinstance(moved, Cancelling)
    assert (outcome, moved.stop.kill_at, moved.stop.grace) == (CancelOutcome.JOINED, 11.0, 10.0)


def test_a_default_grace_smaller_than_the_one_under_way_is_no_request_for_less() -> None:
    record = cancelling(kill_at=61.0, grace=60.0)
    outcome, _ = cancel(KILLABLE, record, make_request(2.0, grace=10.0), grace_given=False)
    assert outcome is CancelOutcome.JOINED


def test_force_overtakes_the_ladder_at_once() -> None:
    outcome, moved = cancel(KILLABLE, cancelling(), make_request(5.0, force=True))
    assert isinstance(moved, Cancelling)
    assert outcome is CancelOutcome.ESCALATED
    assert (moved.stop.rung, moved.stop.kill_at) == (Rung.FORCE, 5.0)


def test_counting_never_escalates() -> None:
    _, record = cancel(KILLABLE, RUNNING, make_request(1.0))
    assert isinstance(record, Cancelling)
    first = record.stop
    for now in range(2, 10):
        outcome, record = cancel(
            KILLABLE, record, make_request(float(now), grace=10.0), grace_given=True
        )
        assert outcome is CancelOutcome.JOINED
    assert isinstance(record, Cancelling)
    assert (record.stop.rung, record.stop.kill_at) == (first.rung, first.kill_at)
    assert record.stop.later_count == 8


# --- the requests on record -------------------------------------------------------------------


def test_later_requests_are_kept_up_to_sixteen_and_all_counted() -> None:
    _, record = cancel(KILLABLE, RUNNING, make_request(1.0, requester="first"))
    for number in range(40):
        _, record = cancel(KILLABLE, record, make_request(2.0, requester=f"later {number}"))
    ended = advance(KILLABLE, record, Ended(THROUGH, at(3.0))).record
    certificate = certificate_of(ended)
    assert certificate is not None
    assert certificate.first_request.requester == "first"
    assert [each.requester for each in certificate.later_requests] == [
        f"later {number}" for number in range(16)
    ]
    assert certificate.later_count == 40


@pytest.mark.parametrize("make", [cancelling, stuck])
@pytest.mark.parametrize(("first", "second"), list(itertools.product(Cause, Cause)))
def test_a_cause_that_forbids_another_attempt_overrides_one_that_allows_it(
    make: Any, first: Cause, second: Cause
) -> None:
    _, moved = cancel(KILLABLE, make(cause=first), make_request(5.0, cause=second))
    overridden = first in CAN_BE_FOLLOWED and second not in CAN_BE_FOLLOWED
    assert moved.stop.cause == (second if overridden else first)  # type: ignore[union-attr]
    assert moved.stop.first.cause == first  # type: ignore[union-attr]


def test_an_overriding_cause_counts_when_it_comes_with_force() -> None:
    record = cancelling(cause=Cause.SHUTDOWN)
    _, moved = cancel(KILLABLE, record, make_request(5.0, force=True))
    assert isinstance(moved, Cancelling)
    assert moved.stop.cause is Cause.USER


@pytest.mark.parametrize("record", [Pending(1, 1), BACKOFF, Starting(1, 2), RUNNING])
def test_a_replacement_is_kept_on_the_record_it_replaces(record: Record) -> None:
    request = make_request(5.0, cause=Cause.REPLACED)
    _, moved = cancel(KILLABLE, record, request, successor=SUCCESSOR)
    assert isinstance(moved, Cancelling | Final)
    assert moved.stop is not None
    assert moved.stop.successor is SUCCESSOR


@pytest.mark.parametrize("make", [cancelling, stuck])
@pytest.mark.parametrize("force", [False, True])
def test_a_second_replacement_overwrites_the_first(make: Any, force: bool) -> None:
    second = make_spec(identity="second")
    request = make_request(5.0, cause=Cause.REPLACED, force=force)
    _, moved = cancel(KILLABLE, make(successor=SUCCESSOR), request, successor=second)
    assert moved.stop.successor is second  # type: ignore[union-attr]


@pytest.mark.parametrize("make", [cancelling, stuck])
@pytest.mark.parametrize("way", WAYS)
def test_a_cancel_drops_the_replacement(make: Any, way: str) -> None:
    request, grace_given = WAYS[way]
    _, moved = cancel(KILLABLE, make(successor=SUCCESSOR), request, grace_given=grace_given)
    assert moved.stop.successor is None  # type: ignore[union-attr]


# --- what the outcome is ----------------------------------------------------------------------

COLUMNS: dict[str, Any] = {
    "notice": lambda cause: cancelling(cause=cause, rung=Rung.NOTICE),
    "cancel": lambda cause: cancelling(cause=cause, rung=Rung.CANCEL),
    "force": lambda cause: cancelling(cause=cause, rung=Rung.FORCE),
    "verify": lambda cause: cancelling(cause=cause, rung=Rung.VERIFY),
    "stuck": lambda cause: stuck(cause=cause, rung=Rung.VERIFY),
}
AFTER_FORCE = ("force", "verify", "stuck")
OUTCOMES = [
    # exit, then the outcome: before `cancel` reached it, within grace, after `force` or `stuck`
    ("returned a value", ASYNC, RETURNED, "succeeded", "succeeded", "cancelled"),
    ("raised something else", ASYNC, raised(), "failed", "failed", "cancelled"),
    ("let the cancel through", ASYNC, THROUGH, None, "cancelled", "cancelled"),
    ("exited with 0", KILLABLE, EXITS[3], "succeeded", "cancelled", "cancelled"),
    ("exited with 3", KILLABLE, EXITS[4], "failed", "cancelled", "cancelled"),
    ("ended by a signal", KILLABLE, EXITS[5], "failed", "cancelled", "cancelled"),
    ("was found dead", KILLABLE, EXITS[8], "failed", "cancelled", "cancelled"),
]
OUTCOME_CASES = [
    pytest.param(spec, exit, column, cause, state, id=f"{name}-{column}-{cause}")
    for name, spec, exit, notice, within, after in OUTCOMES
    for column, state in {
        "notice": notice,
        "cancel": within,
        **dict.fromkeys(AFTER_FORCE, after),
    }.items()
    for cause in Cause
    if state is not None
]


@pytest.mark.parametrize(("spec", "exit", "column", "cause", "state"), OUTCOME_CASES)
def test_the_outcome_of_a_job_that_was_asked_to_stop(
    spec: JobSpec, exit: Exit, column: str, cause: Cause, state: str
) -> None:
    if cause is Cause.DEADLINE and column != "notice" and state in ("cancelled", "failed"):
        state = "timed_out"
    record = COLUMNS[column](cause)
    ended, events = advance(spec, record, Ended(exit, at(8.0)))
    job = job_view(spec, ended, 9, now=8.0)
    assert (job.state, events) == (state, ("job.finished",))
    assert (job.cancel_requested, job.cause) == (True, cause)
    assert job.certificate is not None
    assert job.certificate.request_to_dead == 7.0
    if isinstance(exit, Exited):
        assert (job.exit_code, job.signal) == (exit.code, exit.signal)
    if isinstance(exit, type(raised())):
        assert job.error == exit.error


@pytest.mark.parametrize(
    ("exit", "state"),
    [
        (RETURNED, "succeeded"),
        (raised(), "failed"),
        (Exited(0, None, PROOF), "succeeded"),
        (Exited(3, None, PROOF), "failed"),
        (Exited(None, 9, PROOF), "failed"),
        (NeverStarted(error("no such file"), PROOF), "failed"),
        (Vanished(error("gone"), PROOF), "failed"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("record", [Starting(1, 2), RUNNING])
def test_the_outcome_of_a_job_that_nobody_asked_to_stop(
    record: Record, exit: Exit, state: str
) -> None:
    job = job_view(KILLABLE, advance(KILLABLE, record, Ended(exit, at(8.0))).record, 9, now=8.0)
    assert job.state == state
    assert (job.cancel_requested, job.cause, job.certificate, job.late) == (
        False,
        None,
        None,
        False,
    )


@pytest.mark.parametrize("exit", [RETURNED, raised(), THROUGH])
def test_what_leaves_after_it_was_called_stuck_is_late(exit: Exit) -> None:
    ended = advance(ASYNC, stuck(rung=Rung.CANCEL), Ended(exit, at(99.0))).record
    assert isinstance(ended, Final)
    assert ended.late


@pytest.mark.parametrize("column", AFTER_FORCE)
def test_what_returns_after_force_is_late(column: str) -> None:
    ended = advance(ASYNC, COLUMNS[column](Cause.USER), Ended(RETURNED, at(8.0))).record
    assert isinstance(ended, Final)
    assert ended.late


@pytest.mark.parametrize("column", ["notice", "cancel"])
@pytest.mark.parametrize("exit", EXITS)
def test_what_leaves_in_time_is_not_late(column: str, exit: Exit) -> None:
    ended = advance(ASYNC, COLUMNS[column](Cause.USER), Ended(exit, at(8.0))).record
    assert isinstance(ended, Final)
    assert not ended.late


HOW = [
    # what happened, then how it ended: unasked, asked to leave, killed
    (Exited(0, None, PROOF), "exited", "cooperative", "forced"),
    (Exited(None, 15, PROOF), "exited", "cooperative", "forced"),
    (NeverStarted(None, PROOF), "never_started", "never_started", "never_started"),
    (Vanished(error("gone"), PROOF), "vanished", "vanished", "vanished"),
    (raised(), "raised", "raised", "raised"),
    (RETURNED, "returned", "returned", "returned"),
]


@pytest.mark.parametrize(("exit", "unasked", "asked", "killed"), HOW, ids=repr)
def test_how_it_ended(exit: Exit, unasked: str, asked: str, killed: str) -> None:
    def how(record: Record) -> How:
        ended = advance(KILLABLE, record, Ended(exit, at(8.0))).record
        assert isinstance(ended, Final)
        return ended.how

    assert how(RUNNING) == unasked
    assert how(cancelling(rung=Rung.NOTICE)) == unasked
    assert how(cancelling(rung=Rung.CANCEL)) == asked
    assert {how(COLUMNS[column](Cause.USER)) for column in AFTER_FORCE} == {killed}


def test_letting_the_cancel_through_is_cooperative() -> None:
    ended = advance(ASYNC, cancelling(), Ended(THROUGH, at(8.0))).record
    assert isinstance(ended, Final)
    assert ended.how is How.COOPERATIVE


def test_a_spawn_that_comes_through_late_is_put_on_record() -> None:
    _, record = cancel(KILLABLE, Starting(1, 2), make_request(5.0))
    record = advance(KILLABLE, record, Started(at(6.0))).record
    assert (record.state, record.started) == (S.CANCELLING, at(6.0))  # type: ignore[union-attr]
    record = advance(KILLABLE, record, Ended(Exited(None, 15, PROOF), at(7.0))).record
    assert record.started == at(6.0)  # type: ignore[union-attr]


def test_a_job_never_entered_because_of_a_stop_is_cancelled_not_failed() -> None:
    for exit in (NeverStarted(None, PROOF), NeverStarted(error("no such file"), PROOF)):
        ended = advance(KILLABLE, cancelling(), Ended(exit, at(6.0))).record
        assert ended.state is S.CANCELLED


# --- another attempt --------------------------------------------------------------------------


@pytest.mark.parametrize("record", [Starting(1, 2), RUNNING])
def test_an_attempt_that_ends_may_be_followed_by_another(record: Record) -> None:
    moved, events = advance(KILLABLE, record, Ended(raised(), at(6.0), at(9.0)))
    assert isinstance(moved, Backoff)
    assert (moved.attempt, moved.how, moved.restart_at) == (1, How.RAISED, at(9.0))
    assert events == ("job.attempt_ended", "job.backoff")
    again = advance(KILLABLE, moved, Launch()).record
    assert (again.state, again.attempt) == (S.STARTING, 2)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("cause", Cause)
def test_no_attempt_follows_a_cause_that_forbids_it(column: str, cause: Cause) -> None:
    record = COLUMNS[column](cause)
    moved = advance(KILLABLE, record, Ended(raised(), at(6.0), at(9.0))).record
    assert (moved.state is S.BACKOFF) == (cause in CAN_BE_FOLLOWED)
    assert moved.state in FINAL_STATES or cause in CAN_BE_FOLLOWED


@pytest.mark.parametrize("column", ["cancel", "stuck"])
def test_no_attempt_follows_once_a_user_has_joined_a_shutdown(column: str) -> None:
    _, record = cancel(KILLABLE, COLUMNS[column](Cause.SHUTDOWN), make_request(5.0))
    moved = advance(KILLABLE, record, Ended(THROUGH, at(6.0), at(9.0))).record
    assert moved.state is S.CANCELLED


# --- the ladder -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rung", "killable", "in_process"),
    [
        (Rung.NOTICE, Rung.CANCEL, Rung.CANCEL),
        (Rung.CANCEL, Rung.FORCE, None),
        (Rung.FORCE, Rung.VERIFY, Rung.VERIFY),
        (Rung.VERIFY, None, None),
    ],
)
def test_the_rungs_follow_each_other(
    rung: Rung, killable: Rung | None, in_process: Rung | None
) -> None:
    stop = make_stop(rung=rung)
    assert next_rung(KILLABLE, stop) is killable
    assert next_rung(ASYNC, stop) is in_process


def test_when_each_rung_began_is_on_the_certificate() -> None:
    spec = make_spec(notice=2.0)
    _, record = cancel(spec, RUNNING, make_request(1.0))
    for rung, now in ((Rung.CANCEL, 3.0), (Rung.FORCE, 13.0), (Rung.VERIFY, 13.0)):
        record = advance(spec, record, Climb(rung, at(now))).record
    assert isinstance(record, Cancelling)
    assert record.stop.rung_ends == 13.0 + VERIFY_SECONDS
    certificate = certificate_of(advance(spec, record, Ended(EXITS[5], at(14.0))).record)
    assert certificate is not None
    assert [step.rung for step in certificate.rungs] == list(Rung)
    assert certificate.request_to_dead == 13.0


def test_a_stuck_job_says_why_and_where() -> None:
    for spec, rung, why in (
        (KILLABLE, Rung.VERIFY, "after it was killed"),
        (ASYNC, Rung.CANCEL, "cannot be killed"),
        (ASYNC, Rung.VERIFY, "cannot be killed"),
    ):
        record = advance(spec, cancelling(rung=rung), Resist(("here",), at(20.0))).record
        job = job_view(spec, record, 9, now=20.0)
        assert (job.state, job.where) == (S.STUCK, ("here",))
        assert why in (job.why or "")


# --- what a step keeps, and what it puts on record ------------------------------------------------


@pytest.mark.parametrize(("state", "kind"), FILLED, ids=cell_id)
def test_when_the_body_was_entered_is_never_forgotten(state: JobState, kind: type) -> None:
    for spec, record, input in itertools.product(
        (ASYNC, KILLABLE), records_of(state), inputs_of(kind)
    ):
        moved = advance(spec, record, input).record
        if isinstance(input, Started):
            expected = record.started if state is S.STUCK else at(6.0)  # type: ignore[union-attr]
        elif isinstance(moved, Starting):
            continue  # another attempt, or the first
        else:
            expected = getattr(record, "started", None)
        assert moved.started == expected  # type: ignore[union-attr]


@pytest.mark.parametrize("record", [RUNNING, cancelling(), stuck()], ids=repr)
def test_the_result_and_the_last_progress_are_on_the_final_record(record: Record) -> None:
    progress = Progress(3.0, 4.0)
    ended = advance(ASYNC, record, Ended(RETURNED, at(8.0), None, progress)).record
    job = job_view(ASYNC, ended, 9, now=8.0)
    assert (job.result, job.progress) == ("value", progress)


@pytest.mark.parametrize("record", [RUNNING, cancelling(), stuck()], ids=repr)
def test_what_did_not_return_has_no_result(record: Record) -> None:
    job = job_view(ASYNC, advance(ASYNC, record, Ended(raised(), at(8.0))).record, 9, now=8.0)
    assert (job.result, job.progress, job.error) == (None, None, error())


def test_a_job_that_exits_by_itself_tells_its_exit_code() -> None:
    ended = advance(KILLABLE, RUNNING, Ended(Exited(3, None, PROOF), at(8.0))).record
    assert job_view(KILLABLE, ended, 9, now=8.0).exit_code == 3


@pytest.mark.parametrize(
    ("record", "how"),
    [(RUNNING, "exited"), (cancelling(cause=Cause.SHUTDOWN), "cooperative")],
    ids=["running", "cancelling"],
)
def test_a_job_that_waits_to_restart_tells_how_the_attempt_before_ended(
    record: Record, how: str
) -> None:
    moved = advance(
        KILLABLE, record, Ended(Exited(3, None, PROOF), at(6.0), restart_at=at(9.0))
    ).record
    job = job_view(KILLABLE, moved, 9, now=6.0)
    assert (job.state, job.exit_code, job.how) == (S.BACKOFF, 3, how)
    assert isinstance(moved, Backoff)
    assert moved.restart_at == at(9.0)


def test_whether_another_attempt_follows_is_asked_of_the_cause_of_the_request() -> None:
    for cause in Cause:
        _, record = cancel(KILLABLE, RUNNING, make_request(1.0, cause=cause))
        assert job_view(KILLABLE, record, 9, now=1.0).cause == cause
        moved = advance(KILLABLE, record, Ended(EXITS[5], at(6.0), at(9.0))).record
        assert (moved.state is S.BACKOFF) == (cause in CAN_BE_FOLLOWED)


def test_a_pending_job_is_proven_never_to_have_started() -> None:
    request = make_request(5.0)
    _, ended = cancel(KILLABLE, Pending(1, 1), request)
    certificate = certificate_of(ended)
    assert certificate is not None
    assert certificate.proof.means == "never_started"
    assert certificate.proof.detail == "the body was never entered"


@pytest.mark.parametrize("record", [Pending(1, 1), BACKOFF], ids=repr)
def test_what_ends_before_it_runs_was_on_no_rung_of_the_ladder(record: Record) -> None:
    request = make_request(5.0, grace=4.0)
    _, ended = cancel(make_spec(notice=3.0), record, request)
    assert isinstance(ended, Final)
    assert ended.ended == request.at
    assert ended.stop == Stop(Cause.USER, request, (), 0, Rung.CANCEL, (), 0.0, 5.0, 4.0)


@pytest.mark.parametrize("record", [Pending(1, 1), BACKOFF], ids=repr)
def test_a_cancel_that_came_before_its_job_ends_it_when_it_comes(record: Record) -> None:
    ended = advance(KILLABLE, record, Cancel(make_request(5.0), now=at(8.0))).record
    assert isinstance(ended, Final)
    assert ended.ended == at(8.0)
    certificate = certificate_of(ended)
    assert certificate is not None
    assert certificate.request_to_dead == 3.0


def test_a_short_notice_is_given_as_well() -> None:
    _, moved = cancel(make_spec(notice=0.5), RUNNING, make_request(5.0))
    assert isinstance(moved, Cancelling)
    assert (moved.stop.rung, moved.stop.rung_ends, moved.stop.kill_at) == (Rung.NOTICE, 5.5, 15.5)


def test_a_limit_cuts_the_ladder_short() -> None:
    request = msgspec.structs.replace(make_request(5.0), limit=9.0)
    _, moved = cancel(make_spec(notice=60.0), RUNNING, request)
    assert isinstance(moved, Cancelling)
    assert (moved.stop.rung, moved.stop.rung_ends, moved.stop.kill_at) == (Rung.NOTICE, 9.0, 9.0)


@pytest.mark.parametrize(
    ("limit", "outcome"), [(10.9, "escalated"), (11.0, "joined"), (11.1, "joined")]
)
def test_only_an_earlier_limit_is_stricter(limit: float, outcome: str) -> None:
    request = msgspec.structs.replace(make_request(5.0), limit=limit)
    answered, moved = cancel(KILLABLE, cancelling(kill_at=11.0), request)
    assert isinstance(moved, Cancelling)
    assert (answered, moved.stop.kill_at) == (outcome, min(limit, 11.0))


@pytest.mark.parametrize(
    ("now", "grace", "outcome"),
    [
        (5.0, 9.9, "escalated"),
        (5.0, 10.0, "joined"),  # the same grace asks for nothing more, although it would be sooner
        (62.0, 9.0, "joined"),  # a smaller one that ends when the present one does
        (61.9, 9.0, "escalated"),
    ],
)
def test_only_a_smaller_grace_that_ends_earlier_is_stricter(
    now: float, grace: float, outcome: str
) -> None:
    record = cancelling(rung=Rung.NOTICE, kill_at=71.0, grace=10.0)
    answered, _ = cancel(KILLABLE, record, make_request(now, grace=grace), grace_given=True)
    assert answered == outcome


def test_a_request_that_joins_moves_no_deadline() -> None:
    record = cancelling(rung=Rung.NOTICE, kill_at=17.0)
    _, moved = cancel(KILLABLE, record, make_request(5.0))
    assert isinstance(moved, Cancelling)
    assert moved.stop == msgspec.structs.replace(
        record.stop, later=(make_request(5.0),), later_count=1
    )


def test_a_request_that_joins_a_stuck_job_leaves_why_and_where_and_since() -> None:
    record = stuck()
    _, moved = cancel(KILLABLE, record, make_request(40.0))
    assert isinstance(moved, Stuck)
    assert (moved.why, moved.where, moved.since) == (record.why, record.where, record.since)
    assert moved.stop.later_count == 1


def test_a_rung_that_is_entered_once_is_on_the_certificate_once() -> None:
    _, record = cancel(make_spec(notice=60.0), RUNNING, make_request(5.0))
    for now, grace in ((6.0, 8.0), (7.0, 2.0)):
        _, record = cancel(KILLABLE, record, make_request(now, grace=grace), grace_given=True)
    assert isinstance(record, Cancelling)
    assert record.stop.rungs == ((Rung.NOTICE, at(5.0)), (Rung.CANCEL, at(6.0)))
    assert (record.stop.grace, record.stop.kill_at) == (2.0, 9.0)


def test_the_smallest_grace_is_the_measure_of_the_next_request() -> None:
    record: Record = cancelling(kill_at=100.0, grace=60.0)
    _, record = cancel(KILLABLE, record, make_request(5.0, grace=20.0), grace_given=True)
    record = advance(KILLABLE, record, Climb(Rung.CANCEL, at(6.0))).record
    assert isinstance(record, Cancelling)
    assert record.stop.grace == 20.0
    outcome, _ = cancel(KILLABLE, record, make_request(4.0, grace=20.0), grace_given=True)
    assert outcome is CancelOutcome.JOINED


def test_force_does_not_lengthen_the_grace_on_record() -> None:
    _, moved = cancel(KILLABLE, cancelling(grace=3.0), make_request(2.0, grace=60.0, force=True))
    assert isinstance(moved, Cancelling)
    assert moved.stop.grace == 3.0


@pytest.mark.parametrize(
    ("rung", "kill_at", "ends"),
    [
        (Rung.CANCEL, 17.0, 17.0),  # `force` is due when it was due
        (Rung.FORCE, 9.0, 9.0),  # and is never later than it happened
        (Rung.VERIFY, 9.0, 9.0 + VERIFY_SECONDS),
    ],
)
def test_when_a_rung_ends_that_was_climbed_to(rung: Rung, kill_at: float, ends: float) -> None:
    record = cancelling(rung=Rung.NOTICE, kill_at=17.0)
    moved, events = advance(KILLABLE, record, Climb(rung, at(9.0)))
    assert isinstance(moved, Cancelling)
    assert (moved.stop.kill_at, moved.stop.rung_ends) == (kill_at, ends)
    assert (moved.stop.rungs[-1], events) == ((rung, at(9.0)), ("job.escalated",))


@pytest.mark.parametrize(
    ("spec", "rung", "why"),
    [
        (KILLABLE, Rung.VERIFY, "still alive 5 s after it was killed"),
        (ASYNC, Rung.CANCEL, "does not leave, and what runs in this process cannot be killed"),
    ],
    ids=["killable", "async"],
)
def test_a_stuck_job_says_in_words_why(spec: JobSpec, rung: Rung, why: str) -> None:
    record = advance(spec, cancelling(rung=rung), Resist((), at(20.0))).record
    job = job_view(spec, record, 9, now=20.0)
    assert (job.why, job.stuck_since) == (why, when(at(20.0).wall))


# --- random walks -----------------------------------------------------------------------------


@st.composite
def steps(draw: st.DrawFn) -> tuple[JobSpec, list[tuple[str, Any]]]:
    spec = make_spec(
        can_force=draw(st.booleans()),
        notice=draw(st.sampled_from([0.0, 0.0, 3.0])),
        grace=draw(st.sampled_from([0.0, 10.0])),
    )
    step = st.one_of(
        st.tuples(st.just("launch"), st.none()),
        st.tuples(st.just("started"), st.none()),
        st.tuples(st.just("ended"), st.tuples(st.sampled_from(EXITS), st.booleans())),
        st.tuples(
            st.just("cancel"),
            st.tuples(
                st.sampled_from(Cause),
                st.sampled_from([None, 0.0, 1.0, 5.0, 100.0]),
                st.booleans(),
                st.booleans(),
            ),
        ),
        st.tuples(st.just("climb"), st.none()),
        st.tuples(st.just("pass"), st.sampled_from([0.1, 2.0, 20.0])),
    )
    return spec, draw(st.lists(step, max_size=14))


def apply(
    spec: JobSpec, record: Record, step: tuple[str, Any], now: float
) -> tuple[CancelOutcome | None, Record]:
    """One step of a walk; what the state refuses leaves the record alone."""
    name, value = step
    if name == "cancel":
        cause, grace, force, replaces = value
        request = make_request(
            now, cause=cause, grace=spec.grace if grace is None else grace, force=force
        )
        return cancel(
            spec,
            record,
            request,
            grace_given=grace is not None,
            successor=SUCCESSOR if replaces else None,
        )
    input: Input
    match name:
        case "launch":
            input = Launch()
        case "started":
            input = Started(at(now))
        case "ended":
            exit, again = value
            input = Ended(exit, at(now), at(now + 1.0) if again else None)
        case _ if isinstance(record, Cancelling):
            rung = next_rung(spec, record.stop)
            input = Climb(rung, at(now)) if rung else Resist(("here",), at(now))
        case _:
            return None, record
    try:
        return None, advance(spec, record, input).record
    except Refused:
        return None, record


LATER_STATES = {
    S.PENDING: 0,
    S.STARTING: 1,
    S.RUNNING: 2,
    S.BACKOFF: 2,
    S.CANCELLING: 3,
    S.STUCK: 4,
}


@given(steps())
def test_any_walk_keeps_the_promises(walk: tuple[JobSpec, list[tuple[str, Any]]]) -> None:
    spec, todo = walk
    record: Record = Pending(1, 1)
    now = 1.0
    for step in todo:
        now += step[1] if step[0] == "pass" else 0.01
        if step[0] == "pass":
            continue
        outcome, moved = apply(spec, record, step, now)
        check_step(record, outcome, moved)
        record = moved


def check_step(record: Record, outcome: CancelOutcome | None, moved: Record) -> None:
    assert moved.version >= record.version
    if isinstance(record, Final):
        assert moved is record  # I1
    if isinstance(record, Cancelling) and isinstance(moved, Cancelling):
        assert moved.stop.kill_at <= record.stop.kill_at  # I5
        assert list(Rung).index(moved.stop.rung) >= list(Rung).index(record.stop.rung)
        assert moved.stop.first is record.stop.first
        assert len(moved.stop.later) <= 16
    if isinstance(record, Cancelling | Stuck) and isinstance(moved, Backoff):
        assert record.stop.cause in CAN_BE_FOLLOWED  # I10
    both = isinstance(record, Cancelling | Stuck) and isinstance(moved, Cancelling | Stuck)
    if both and record.stop.cause not in CAN_BE_FOLLOWED:
        assert moved.stop.cause is record.stop.cause
    if outcome is not None and not isinstance(moved, Final):  # I4
        assert LATER_STATES[moved.state] >= LATER_STATES[record.state]
        assert moved.state in (S.CANCELLING, S.STUCK)


@given(steps(), st.sampled_from(sorted(WAYS)))
def test_a_repeated_request_changes_nothing_but_its_count(
    walk: tuple[JobSpec, list[tuple[str, Any]]], way: str
) -> None:
    spec, todo = walk
    record: Record = Pending(1, 1)
    for number, step in enumerate(todo):
        _, record = apply(spec, record, step, 1.0 + number)
    request, grace_given = WAYS[way]
    request = make_request(100.0, grace=request.grace, force=request.force)
    _, once = cancel(spec, record, request, grace_given=grace_given)
    if isinstance(once, Cancelling) and once.stop.rung is Rung.FORCE:
        once = advance(spec, once, Climb(Rung.VERIFY, at(100.0))).record
    outcome, twice = cancel(spec, once, request, grace_given=grace_given)
    assert outcome in ("joined", "stuck", "already_cancelled", "already_finished")
    assert twice.state is once.state
    if isinstance(once, Cancelling) and isinstance(twice, Cancelling):
        assert twice.stop.kill_at == once.stop.kill_at
        assert twice.stop.rung is once.stop.rung

"""The table of methods, their parameters, and the records on the wire."""

from __future__ import annotations

import inspect
import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import _model, _results
from supervisor._errors import InvalidArguments, JobNotFound, ProtocolError
from supervisor._methods import METHODS, StartParams, parse_params
from supervisor._model import (
    CancelOutcome,
    CancelReply,
    CancelRequest,
    Cause,
    Certificate,
    Command,
    DisconnectPolicy,
    How,
    Job,
    JobErrorInfo,
    JobEvent,
    JobFilter,
    JobPage,
    JobRequest,
    JobState,
    LogEntry,
    LogPage,
    LogsLagged,
    Progress,
    ProgressEvent,
    Proof,
    Rung,
    RungTime,
    Statistics,
)
from supervisor._server.dispatch import HANDLERS
from supervisor._wire import decode, encode_notification, encode_result
from supervisor._wire_records import (
    entries_from_wire,
    entry_to_wire,
    filter_to_wire,
    from_wire,
    item_from_wire,
    item_to_wire,
    job_from_wire,
    job_to_wire,
    page_to_wire,
    request_to_wire,
    to_wire,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)


def job(**changes: Any) -> Job:
    return Job(
        **{
            "id": "a",
            "name": "nap",
            "kind": "async",
            "state": JobState.RUNNING,
            "attempt": 1,
            "version": 2,
            "seq": 3,
            "created_at": NOW,
            **changes,
        }
    )


ASKED = CancelRequest(requester="me", cause=Cause.USER, at=NOW, grace=1.5, reason="enough")
FULL = job(
    state=JobState.CANCELLED,
    labels={"a": "b"},
    command=("sh", "-c", "x"),
    cause=Cause.USER,
    how=How.FORCED,
    result={"kept": [None, {"x": None}]},
    error=JobErrorInfo(type="E", message="m", notes=("n",), traceback="t"),
    progress=Progress(1, 2, "m"),
    where=("pid 1",),
    ended_at=NOW + timedelta(seconds=1),
    exit_code=-9,
    certificate=Certificate(
        first_request=ASKED,
        later_requests=(ASKED,),
        later_count=1,
        how=How.FORCED,
        rungs=(RungTime(Rung.CANCEL, NOW), RungTime(Rung.FORCE, NOW)),
        request_to_dead=0.25,
        proof=Proof("cgroup_empty"),
    ),
)


# --- the table -----------------------------------------------------------------------------------


def test_every_method_has_a_handler_a_summary_and_typed_params() -> None:
    assert set(METHODS) == set(HANDLERS)
    for method in METHODS.values():
        assert method.summary.endswith((".", "?"))
        assert attrs.has(method.params)
        assert attrs.has(method.result)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_an_unknown_field_is_refused_and_the_known_ones_are_listed(name: str) -> None:
    method = METHODS[name]
    with pytest.raises(InvalidArguments) as info:
        parse_params(method, {"no_such": 1})
    assert info.value.data["path"] == "$.params.no_such"
    known = sorted(field.name for field in attrs.fields(method.params))
    assert info.value.data["allowed"] == known
    assert all(field in str(info.value) for field in known)


@given(
    st.sampled_from(sorted(METHODS)),
    st.dictionaries(
        st.sampled_from(
            [*sorted({f.name for m in METHODS.values() for f in attrs.fields(m.params)}), "x"]
        ),
        st.none()
        | st.booleans()
        | st.floats()
        | st.text()
        | st.lists(st.text())
        | st.dictionaries(st.text(), st.integers())
        | st.just([{}])
        | st.just({"argv": [1]}),
    ),
)
def test_params_are_parsed_or_the_place_of_the_fault_is_told(
    name: str, params: dict[str, Any]
) -> None:
    try:
        parsed = parse_params(METHODS[name], params)
    except InvalidArguments as exc:
        assert exc.data["path"].startswith("$.params")
    else:
        assert isinstance(parsed, METHODS[name].params)
        durations = [getattr(parsed, n, None) for n in ("grace", "timeout", "notice")]
        assert all(each is None or (each >= 0 and math.isfinite(each)) for each in durations)


@pytest.mark.parametrize("field", ["grace", "timeout", "notice"])
@pytest.mark.parametrize("value", [-1, -0.001, math.inf, math.nan, "1", True, 1e300])
def test_durations_are_finite_and_not_negative(field: str, value: Any) -> None:
    with pytest.raises(InvalidArguments) as info:
        parse_params(METHODS["job.start"], {"name": "a", field: value})
    assert info.value.data["path"] == f"$.params.{field}"


@pytest.mark.parametrize("job_id", ["", ".a", "a b", "a/b", "ä", "a\n", "x" * 129, 7, None])
def test_odd_ids_are_refused(job_id: Any) -> None:
    with pytest.raises(InvalidArguments) as info:
        parse_params(METHODS["job.get"], {"job_id": job_id})
    assert info.value.data["path"] == "$.params.job_id"


@pytest.mark.parametrize("job_id", ["a", "0", "A.b_c:d-e", "x" * 128])
def test_ids_may_be(job_id: str) -> None:
    assert parse_params(METHODS["job.get"], {"job_id": job_id}).job_id == job_id


def test_choices_are_listed_wherever_they_are() -> None:
    with pytest.raises(InvalidArguments) as info:
        parse_params(METHODS["job.cancel_many"], {"filter": {"state": ["running", "dead"]}})
    assert info.value.data["path"] == "$.params.filter.state[1]"
    assert info.value.data["allowed"] == [state.value for state in JobState]


def start(**params: Any) -> JobRequest:
    parsed = parse_params(METHODS["job.start"], params)
    assert isinstance(parsed, StartParams)
    return parsed.to_request(DisconnectPolicy.KEEP)


def test_a_start_names_a_job_or_brings_a_command() -> None:
    assert start(name="nap", args={"x": 1}).work == "nap"
    assert start(name="nap").name is None
    assert start(command=["ls"]).work == Command(["ls"])
    request = start(command={"argv": ["ls"], "cwd": "/", "env": {"A": "b"}}, name="look")
    assert request.work == Command(["ls"], "/", {"A": "b"})
    assert request.name == "look"
    for wrong in (
        {},
        {"command": ["ls"], "args": {}},
        {"command": {"argv": ["ls"], "env": {"A=": "b"}}},
        {"command": ["a\0"]},
    ):
        with pytest.raises(InvalidArguments):
            start(**wrong)


def test_secrets_are_not_shown() -> None:
    for name, params in (
        ("session.hello", {"token": "hush", "resume_token": "hush"}),
        ("job.start", {"command": {"argv": ["x"], "env": {"A": "hush"}}}),
    ):
        assert "hush" not in repr(parse_params(METHODS[name], params))


# --- records ------------------------------------------------------------------------------------

RECORDS = [
    FULL,
    job(),
    JobPage((FULL, job()), "i", 7, "next"),
    CancelReply(
        outcome=CancelOutcome.JOINED,
        job_id="a",
        seq=1,
        job=FULL,
        first_request=ASKED,
        certificate=FULL.certificate,
    ),
    CancelReply(outcome=CancelOutcome.RECORDED, job_id="a", seq=1),
    JobEvent(
        instance="i",
        seq=1,
        time=NOW,
        type="job.finished",
        job_id="a",
        attempt=1,
        state=JobState.FAILED,
        data={"how": "raised", "nested": {"x": None}},
    ),
    LogEntry(job_id="a", attempt=1, n=1, time=NOW, stream="stdout", text="x", base64="eA=="),
    LogPage(entries=(), next=0, eof=True),
    ProgressEvent(job_id="a", attempt=1, progress=Progress(1)),
    LogsLagged(job_id="a", from_n=1, to_n=2),
    Statistics(
        instance="i",
        seq=1,
        jobs={"running": 1},
        slots=None,
        slots_used=1,
        tombstones=0,
        watchers=0,
        log_bytes=0,
        accepting=True,
    ),
    JobFilter(job_ids=("a",), state=(JobState.RUNNING,)),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_come_back_as_they_were(record: Any) -> None:
    sent = json.loads(encode_result(1, to_wire(record)))["result"]
    assert from_wire(type(record), sent) == record


def test_none_is_absent_and_times_end_in_z() -> None:
    wire = job_to_wire(job())
    assert None not in wire.values()
    assert wire["created_at"] == "2026-01-02T03:04:05.678900Z"
    assert wire["labels"] == {}
    assert "grace" in wire
    assert "timeout" not in wire
    assert json.loads(json.dumps(wire)) == wire


def test_every_field_of_a_record_has_its_name_on_the_wire() -> None:
    for record in (FULL, RECORDS[2], RECORDS[5], ASKED):
        names = {field.name for field in attrs.fields(type(record))}
        assert set(to_wire(record)) <= names


class Hostile(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("boo")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def circular() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (math.nan, "JSON"),
        (math.inf, "JSON"),
        ({1, 2}, "set"),
        (b"bytes", "bytes"),
        (object(), "object"),
        ({(1, 2): 3}, "tuple"),
        ("\ud800", "surrogates"),
        (nested(100_000), "nested"),
        (circular(), "JSON"),
        (10**5000, "JSON"),
        (Hostile(a=1), "boo"),
        ("x" * (1024 * 1024), "bytes as JSON"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:8],
)
def test_a_result_that_json_cannot_hold_is_told_and_the_record_comes_whole(
    result: Any, why: str
) -> None:
    wire = job_to_wire(job(state=JobState.SUCCEEDED, result=result))
    assert "result" not in wire
    assert why in wire["result_error"]
    back = job_from_wire(json.loads(encode_result(1, wire))["result"])
    assert back.result is None
    assert back.result_error == wire["result_error"]


class Raises(dict[str, int]):
    """Raises these, one each time it is read, and then no more."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__(a=1)
        self._errors = [*errors]

    def items(self) -> Any:
        if self._errors:
            raise self._errors.pop(0)
        return super().items()


class Mute(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("errors", "why"),
    [
        ([SystemExit(3)], "3"),
        ([GeneratorExit()], "GeneratorExit"),
        ([Mute()], "Mute"),
        ([KeyboardInterrupt(), KeyboardInterrupt()], "interrupts"),
    ],
)
def test_a_result_that_raises_anything_is_told(errors: list[BaseException], why: str) -> None:
    wire = job_to_wire(job(state=JobState.SUCCEEDED, result=Raises(*errors)))
    assert "result" not in wire
    assert why in wire["result_error"]


@pytest.mark.parametrize("then", [[], [SystemExit(3)]])
def test_the_users_interrupt_is_not_taken_for_the_results(then: list[BaseException]) -> None:
    with pytest.raises(KeyboardInterrupt):
        job_to_wire(job(result=Raises(KeyboardInterrupt(), *then)))


@pytest.mark.parametrize(
    "result", [0, "", [], {}, False, (1, 2), {1: 2, None: 3}, 10**100, nested(300)]
)
def test_a_result_that_json_can_hold_arrives(result: Any) -> None:
    wire = job_to_wire(job(state=JobState.SUCCEEDED, result=result))
    sent = decode(encode_result(1, {"job": wire}))
    assert job_from_wire(sent.result["job"]).result == json.loads(json.dumps(result))  # type: ignore[union-attr]


def test_a_list_leaves_large_results_to_get() -> None:
    page = page_to_wire(JobPage((job(result="x" * 5000), job(result="y")), "i", 1))
    assert "job.get" in page["jobs"][0]["result_error"]
    assert page["jobs"][1]["result"] == "y"
    assert "result" in job_to_wire(job(result="x" * 5000))


def test_unknown_fields_from_a_newer_peer_are_passed_over() -> None:
    assert job_from_wire({**job_to_wire(job()), "aura": "blue"}) == job()


@pytest.mark.parametrize("value", [None, [], {}, {"id": 7}, "job"])
def test_a_record_that_is_none_is_the_peers_fault(value: Any) -> None:
    with pytest.raises(ProtocolError):
        job_from_wire(value)


def test_watch_items_come_back() -> None:
    items = [
        record
        for record in RECORDS
        if isinstance(record, (JobEvent, LogEntry, ProgressEvent, LogsLagged))
    ]
    assert len(items) == 4
    for item in items:
        method, params = item_to_wire(item)
        sent = json.loads(encode_notification(method, {"subscription_id": "e1", **params}))
        assert item_from_wire(sent["method"], sent["params"]) == item
    assert item_from_wire("session.closing", {}) is None


def test_entries_come_back_as_results_and_errors() -> None:
    reply = CancelReply(outcome=CancelOutcome.CANCELLED, job_id="a", seq=1)
    entries = [entry_to_wire(reply), entry_to_wire(JobNotFound("no b", similar=["c"]))]
    first, second = entries_from_wire(entries, lambda value: from_wire(CancelReply, value))
    assert first == reply
    assert type(second) is JobNotFound
    assert second.data == {"similar": ["c"]}
    with pytest.raises(ProtocolError):
        entries_from_wire([{}], lambda value: value)


# --- what a client sends ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        JobRequest("nap", args={"x": 1}, job_id="a", grace=0.0, timeout=5, labels={"a": "b"}),
        JobRequest(Command(["ls", "-l"], "/", {"A": "b"}), name="look", if_remembered="run"),
        JobRequest("nap", id_conflict_policy="fail", id_reuse_policy="allow", notice=1),
    ],
)
def test_a_request_arrives_as_it_was_meant(request_: JobRequest) -> None:
    params = json.loads(json.dumps(request_to_wire(request_)))
    arrived = start(**params)
    assert attrs.evolve(arrived, on_disconnect=None) == request_


async def some_job() -> None: ...


def test_what_cannot_go_over_the_wire_is_refused_here() -> None:
    with pytest.raises(TypeError, match=r"@registry\.job"):
        request_to_wire(JobRequest(some_job))
    for wrong in (
        JobRequest("nap", (1,)),
        JobRequest("nap", name="another"),
        JobRequest(Command([b"ls"])),
        JobRequest(Command(["ls"], env={"A": b"x"})),
    ):
        with pytest.raises(InvalidArguments):
            request_to_wire(wrong)


def test_a_filter_arrives_as_it_was_meant() -> None:
    filter = JobFilter(job_ids=("a",), state=(JobState.RUNNING,), labels={"a": "b"})
    for name, wrap in (("job.list", {}), ("job.cancel_many", {"filter": 1})):
        wire = json.loads(json.dumps(filter_to_wire(filter)))
        params = parse_params(METHODS[name], {"filter": wire} if wrap else wire)
        assert (params.filter if wrap else params).to_filter() == filter
    assert filter_to_wire(JobFilter()) == {}


def test_every_record_that_travels_is_tried_here() -> None:
    tried = {type(record) for record in RECORDS}
    results = {method.result for method in METHODS.values()}
    models = {cls for _, cls in inspect.getmembers(_model, inspect.isclass)}
    assert {cls for cls in results if cls in models} <= tried
    assert all(attrs.has(cls) for cls in results)
    assert {cls.__module__ for cls in results} == {_results.__name__, _model.__name__}


@pytest.mark.parametrize(
    ("method", "params", "path"),
    [
        ("job.list", {"state": ["running"] * 17}, "$.params.state"),
        ("job.start", {"command": ["x"] * 10_001}, "$.params.command"),
        ("job.start", {"command": {"argv": ["x"] * 10_001}}, "$.params.command.argv"),
        ("job.start", {"name": "nap", "labels": {"a": "x" * 4097}}, "$.params.labels"),
        ("job.start", {"name": "nap", "labels": {"x" * 4097: "a"}}, "$.params.labels"),
    ],
)
def test_what_is_kept_or_looked_at_often_is_bounded(
    method: str, params: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidArguments) as refused:
        parse_params(METHODS[method], params)
    assert refused.value.data["path"].startswith(path)
    assert len(str(refused.value)) < 200
    assert re.search(r"[Uu]p to|<=|to 10000", str(refused.value))

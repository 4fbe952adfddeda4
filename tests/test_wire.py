"""The codec: whatever comes in, an event comes out, and what goes out comes in again."""

from __future__ import annotations

import inspect
import json
import pickle
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import _errors, _wire
from supervisor._errors import (
    AmbiguousJobId,
    InvalidArguments,
    JobNotFound,
    Overloaded,
    SupervisorError,
)
from supervisor._wire import (
    CODES,
    SECOND_LOOK,
    Batch,
    ErrorReply,
    Event,
    InvalidRequest,
    Malformed,
    Notification,
    ParseError,
    Request,
    Result,
    decode,
    encode_batch,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
    error_of,
    exception_of,
    json_bytes,
)

IDS = st.integers(-(2**63), 2**63 - 1) | st.text(max_size=256).filter(lambda t: t.isprintable())
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def problems(event: Event) -> list[Malformed]:
    items = event.items if isinstance(event, Batch) else (event,)
    return [item for item in items if isinstance(item, Malformed)]


# --- reading -------------------------------------------------------------------------------------


@given(st.binary() | st.text() | JSON.map(json.dumps))
def test_anything_decodes_to_an_event(data: bytes | str) -> None:
    event = decode(data)
    for problem in problems(event):
        code, message, rest = error_of(problem.error)
        assert code in CODES.values()
        assert message
        assert rest["path"].startswith("$")
        json.loads(encode_error(problem.id, problem.error))


MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "1.0", 2, None]),
        "id": IDS | st.sampled_from([None, True, 1.5, [], {}, 2**64]),
        "method": st.sampled_from(["job.get", "", None, 3, {}]),
        "params": st.sampled_from([None, {}, [], [1], 3, {"a": 1}]),
        "result": JSON,
        "error": st.sampled_from([None, {}, {"code": 1, "message": "x"}, {"code": "1"}, 7]),
        "extra": JSON,
    },
)


@given(MEMBERS | st.lists(MEMBERS | JSON))
def test_what_is_nearly_a_message_is_read_or_told_apart(value: Any) -> None:
    event = decode(json.dumps(value))
    for problem in problems(event):
        assert error_of(problem.error)[0] in (-32600, -32602)


@given(st.integers(1, 100_000), st.sampled_from(["[", '{"a":', '[{"a":']))
def test_nesting_of_any_depth_is_an_event(depth: int, opening: str) -> None:
    for text in (opening * depth, "[" * depth + "]" * depth):
        assert problems(decode(text)) or depth < 2000


def test_a_fault_deep_down_among_many_takes_little_memory_to_find() -> None:
    name = "n" * 64
    text = f'{{"{name}":' * 100 + "[" + "0," * 20_000 + "NaN]" + "}" * 100
    tracemalloc.start()
    try:
        event = decode('{"jsonrpc":"2.0","id":7,"method":"x","params":' + text + "}")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert isinstance(event, Malformed) and event.id == 7
    path = event.error.data["path"]
    assert path.startswith("$.params.nnn") and path.endswith("...")
    assert len(path) == 500


def test_a_batch_can_be_bounded() -> None:
    assert isinstance(decode("[1,2]", batch_items=2), Batch)
    event = decode("[1,2,3]", batch_items=2)
    assert isinstance(event, Malformed) and event.error.data == {"path": "$", "limit": 2}


@pytest.mark.parametrize(
    ("text", "id", "path"),
    [
        (
            '{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":[1,{"b":NaN}]}}',
            7,
            "$.params.a[1].b",
        ),
        ('{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":-Infinity}}', 7, "$.params.a"),
        ('{"jsonrpc":"2.0","id":"7","method":"x","params":{"a":1e999}}', "7", "$.params.a"),
        ('{"jsonrpc":"2.0","id":0,"method":"x","params":{"a":%s}}' % ("9" * 9999), 0, "$.params.a"),
        ('{"jsonrpc":"2.0","id":0,"method":"x","params":{"a":"\\ud800"}}', 0, "$.params.a"),
    ],
)
def test_a_value_that_cannot_be_is_found_and_the_request_answered(
    text: str, id: int | str, path: str
) -> None:
    event = decode(text)
    assert isinstance(event, Malformed)
    assert (event.id, event.error.data["path"]) == (id, path)
    assert isinstance(event.error, InvalidArguments)


def test_a_value_that_cannot_be_outside_of_the_params_is_an_invalid_request() -> None:
    for text in ('{"jsonrpc":"2.0","id":1e999,"method":"x"}', '{"id":1,"method":NaN}', "[NaN]"):
        event = decode(text)
        assert isinstance(event, Malformed)
        assert isinstance(event.error, InvalidRequest)
        assert event.error.data["path"] != "$.params"


def test_malformed_json_tells_the_offset() -> None:
    event = decode(b'{"a": x}')
    assert isinstance(event, Malformed)
    assert isinstance(event.error, ParseError)
    assert event.error.data == {"path": "$", "offset": 6}


def test_a_wrong_notification_is_not_to_be_answered() -> None:
    event = decode('{"jsonrpc":"2.0","method":"x","params":[1]}')
    assert isinstance(event, Malformed)
    assert not event.answer


@pytest.mark.parametrize("params", ["", ',"params":{}', ',"params":null'])
def test_params_may_be_missing(params: str) -> None:
    text = '{"jsonrpc":"2.0","id":1,"method":"x"' + params + "}"
    assert decode(text) == Request(1, "x", {})


def test_bytes_and_text_are_the_same() -> None:
    text = '{"jsonrpc":"2.0","id":"ü","method":"x"}'
    assert decode(text) == decode(text.encode()) == decode(bytearray(text.encode()))


# --- there and back ------------------------------------------------------------------------------


@given(IDS, st.text(), st.dictionaries(st.text(), JSON))
def test_requests_and_notifications_come_back(
    id: int | str, method: str, params: dict[str, Any]
) -> None:
    assert decode(encode_request(id, method, params)) == Request(id, method, params)
    assert decode(encode_notification(method, params)) == Notification(method, params)


@given(IDS, JSON)
def test_results_come_back(id: int | str, value: Any) -> None:
    back = decode(encode_result(id, value))
    assert isinstance(back, Result)
    assert (back.id, back.result) == (id, value)
    assert type(back.id) is type(id)


def test_a_batch_comes_back_in_order() -> None:
    parts = [encode_result(1, "a"), encode_error(2, JobNotFound("no")), encode_notification("m")]
    event = decode(encode_batch(parts))
    assert isinstance(event, Batch)
    assert [type(item) for item in event.items] == [Result, ErrorReply, Notification]


def test_text_that_is_no_unicode_is_sent_all_the_same() -> None:
    sent = encode_result(1, {"\udc80": ["a\udcffb", ("\ud800",)], "fine": 1})
    back = decode(sent)
    assert isinstance(back, Result)
    assert back.result == {"\ufffd": ["a\ufffdb", ["\ufffd"]], "fine": 1}


# --- errors --------------------------------------------------------------------------------------

CLASSES = sorted(
    {
        cls
        for module in (_errors, _wire)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, SupervisorError)
    },
    key=lambda cls: cls.__name__,
)
# These tell of this side, and are never sent.
LOCAL = {"ConnectionLost", "ProtocolError", "SupervisorError"}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_comes_back_as_it_was(cls: type[SupervisorError]) -> None:
    data = {"matches": ["a"]} if cls is AmbiguousJobId else {"path": "$.x", "message": 1, "self": 2}
    error = cls("what happened")
    error.data = dict(data)
    sent = decode(encode_error(3, error))
    assert isinstance(sent, ErrorReply)
    assert sent.data["kind"] == cls.kind
    assert sent.data["retryable"] is cls.retryable
    back = exception_of(sent.code, sent.message, sent.data)
    assert str(back) == "what happened"
    assert back.data == data
    if cls.__name__ not in LOCAL:
        assert type(back) is cls
    assert sent.code == CODES.get(cls.kind, -32603)


def test_numbers_and_kinds_meet_once() -> None:
    assert len(set(CODES.values())) == len(CODES)
    assert CODES["wait_timeout"] == -32017


def test_a_foreign_error_is_known_by_its_number() -> None:
    assert type(exception_of(-32001, "gone")) is JobNotFound
    assert type(exception_of(12345, "?", {"kind": ["odd"]})) is SupervisorError


@pytest.mark.parametrize("retryable", [True, False])
def test_whether_a_refusal_is_worth_repeating_is_what_the_peer_says(retryable: bool) -> None:
    data = {"kind": "overloaded", "retryable": retryable, "retry_after": 1}
    error = exception_of(-32013, "too much", data)
    assert type(error) is Overloaded
    assert error.retryable is retryable
    assert error.data == {"retry_after": 1}
    assert pickle.loads(pickle.dumps(error)).retryable is retryable
    assert error_of(error)[2] == data


def test_a_peer_that_does_not_say_so_means_what_the_kind_means() -> None:
    for data in ({}, {"retryable": "yes"}):
        assert exception_of(-32013, "too much", data).retryable is True
        assert exception_of(-32001, "gone", data).retryable is False


def test_what_is_not_ours_keeps_its_text_to_itself() -> None:
    code, message, data = error_of(ValueError("secret"))
    assert code == -32603
    assert "secret" not in message
    assert data == {"kind": "internal_error", "retryable": False}


def test_data_that_json_cannot_hold_does_not_lose_the_answer() -> None:
    sent = decode(encode_error(1, JobNotFound("x", good=1, bad=object())))
    assert isinstance(sent, ErrorReply)
    assert sent.data == {"good": 1, "kind": "job_not_found", "retryable": False}


def test_json_is_json() -> None:
    assert json_bytes({"a": [1, None]}) == b'{"a":[1,null]}'


def test_only_small_messages_get_a_second_look() -> None:
    for size, path in ((100, "$.params.a"), (SECOND_LOOK, "$")):
        text = '{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":NaN,"b":"%s"}}' % ("x" * size)
        event = decode(text)
        assert isinstance(event, Malformed)
        assert event.error.data["path"] == path
        assert event.id == (7 if size == 100 else None)
    assert event.error.kind == "parse_error"
    assert event.error.data["offset"] == text.index("NaN")

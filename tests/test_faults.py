"""What is told of wrong parameters: where, what, and what would do; and never a secret."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor._errors import InvalidArguments
from supervisor._methods import METHODS, parse_params
from supervisor._model import JobState

STATES = ", ".join(state.value for state in JobState)


@pytest.mark.parametrize(
    ("name", "params", "path", "told"),
    [
        (
            "job.list",
            {"limit": 0},
            ".limit",
            "limit must be a whole number from 1 to 1000, not the number 0",
        ),
        ("job.list", {"limit": 10**6}, ".limit", "from 1 to 1000, not the number 1000000"),
        ("job.list", {"limit": "5"}, ".limit", "from 1 to 1000, not the string '5'"),
        ("job.logs", {"job_id": "a", "limit": 0}, ".limit", "from 1 to 10000"),
        ("job.logs", {"job_id": "a", "since": -1}, ".since", "a whole number of 0 or more"),
        (
            "events.subscribe",
            {"since": 5},
            ".since",
            "an object with instance, seq, not the number 5",
        ),
        (
            "events.subscribe",
            {"since": {"seq": 1}},
            ".since",
            "since lacks instance; an object with",
        ),
        ("events.subscribe", {"since": {"instance": "a", "seq": None}}, ".since.seq", "not null"),
        (
            "events.subscribe",
            {"filter": {"states": 1}},
            ".filter.states",
            "labels, name, parent_id",
        ),
        ("events.subscribe", {"filter": []}, ".filter", "not a list of 0 items"),
        (
            "job.list",
            {"state": ["running", "x"]},
            ".state[1]",
            f"state[1] must be one of {STATES}, not",
        ),
        (
            "job.list",
            {"state": 5},
            ".state",
            f"one of {STATES} or a list of up to 16 of them, not the number 5",
        ),
        (
            "job.list",
            {"job_ids": "a"},
            ".job_ids",
            "a list of up to 10000 job ids, not the string 'a'",
        ),
        ("job.get", {}, "", "the request lacks job_id; an object with job_id would do"),
        ("job.get", {"job_id": "a b"}, ".job_id", "a letter or digit first), not the string 'a b'"),
        ("job.get", {"job_id": "x" * 999}, ".job_id", "not a string of 999 characters"),
        (
            "job.start",
            {"command": "ls"},
            ".command",
            "a list of 1 to 10000 strings or an object with argv",
        ),
        (
            "job.start",
            {"command": ["a", 1]},
            ".command[1]",
            "command[1] must be a string, not the number",
        ),
        (
            "job.start",
            {"labels": {"a": 1}},
            ".labels[...]",
            "every value in labels must be a string",
        ),
        (
            "job.start",
            {"labels": {str(n): "" for n in range(70)}},
            ".labels",
            "not an object with 70",
        ),
        (
            "job.start",
            {"timeout": -1},
            ".timeout",
            "a number from 0 to 1000000000, not the number -1",
        ),
        ("job.start_many", {"jobs": [{}, 7]}, ".jobs[1]", "not the number 7"),
        (
            "job.start_many",
            {"jobs": [{}] * 10_001},
            ".jobs",
            "up to 10000 objects, not a list of 10001",
        ),
        ("job.cancel", {"job_id": "a", "force": "yes"}, ".force", "true or false"),
        (
            "job.cancel",
            {"job_id": "a", "wait": "x"},
            ".wait",
            "one of accepted, finished, not the string",
        ),
        (
            "$/cancelRequest",
            {"id": 1.5},
            ".id",
            "a whole number or a string of up to 256 characters",
        ),
    ],
)
def test_a_fault_is_told_with_its_place_its_value_and_what_would_do(
    name: str, params: dict[str, Any], path: str, told: str
) -> None:
    with pytest.raises(InvalidArguments) as info:
        parse_params(METHODS[name], params)
    assert info.value.data["path"] == f"$.params{path}"
    assert told in str(info.value)
    assert str(info.value).startswith(name)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("session.hello", {"token": "12345" * 1000}),
        ("session.hello", {"resume_token": 12345}),
        ("session.hello", {"token": 12345.5}),
        ("job.start", {"command": {"argv": ["a"], "env": "12345"}}),
        ("job.start", {"command": {"argv": ["a"], "env": {"A": 12345}}}),
        ("job.start", {"name": "a", "args": "12345"}),
    ],
)
def test_a_fault_never_tells_a_secret(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments) as info:
        parse_params(METHODS[name], params)
    assert "12345" not in f"{info.value} {info.value.data}"


@given(st.sampled_from(sorted(METHODS)), st.recursive(st.none() | st.text(), st.lists))
def test_whatever_is_wrong_can_be_told(name: str, value: Any) -> None:
    for field in attrs.fields(METHODS[name].params):
        try:
            parse_params(METHODS[name], {field.name: value})
        except InvalidArguments as error:
            assert str(error) and len(str(error)) < 2000

"""`call`: what the words of the command line become, and what errors are told as."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor._errors import (
    Forbidden,
    InvalidArguments,
    JobNotFound,
    SupervisorError,
    Unauthenticated,
)
from supervisor._wire import InvalidRequest, MethodNotFound, WaitTimedOut
from supervisor.cli.call import _told, parse_words
from supervisor.cli.exits import CliError, Exit
from supervisor.cli.pretty import indented


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ([], {}),
        (["job_id=build"], {"job_id": "build"}),
        (["limit=10"], {"limit": "10"}),
        (["limit:=10"], {"limit": 10}),
        (["force:=true", "reason=a=b:=c"], {"force": True, "reason": "a=b:=c"}),
        (["reason="], {"reason": ""}),
        (["reason=:=x"], {"reason": ":=x"}),
        (["reason=one\ntwo"], {"reason": "one\ntwo"}),
        (['labels:={"a": "b"}'], {"labels": {"a": "b"}}),
        (["x:=null"], {"x": None}),
        (['{"job_id": "a", "force": true}'], {"job_id": "a", "force": True}),
        ([' {"a": 1}', "b:=2"], {"a": 1, "b": 2}),
    ],
)
def test_words_become_parameters(words: list[str], params: dict[str, Any]) -> None:
    assert parse_words(words) == params


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["job_id"], "write name=text"),
        (["=x"], "write name=text"),
        (["a b=x"], "write name=text"),
        (["[1]"], "write name=text"),
        (["limit:=ten"], "text is given as name=text"),
        (["limit:="], "is no JSON"),
        (["limit:=NaN"], "NaN is no number"),
        (["{"], "is no JSON"),
        (["{}", "-"], "stdin is no JSON"),
        (["a=1", "a:=2"], "given twice"),
        (['{"a": 1}', "a:=2"], "given twice"),
        (["a:=" + "[" * 100_000], "is no JSON"),
    ],
)
def test_words_that_are_no_parameters(
    words: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(CliError, match=told) as info:
        parse_words(words)
    assert info.value.code == Exit.USAGE


def test_parameters_may_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": [1]}\n'))
    assert parse_words(["-", "b=c"]) == {"a": [1], "b": "c"}
    monkeypatch.setattr(sys, "stdin", io.StringIO("[1]"))
    with pytest.raises(CliError, match="one JSON object"):
        parse_words(["-"])


@given(
    st.from_regex(r"[A-Za-z_]\w{0,5}", fullmatch=True).filter(str.isascii),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
)
def test_any_json_can_be_given(name: str, value: Any) -> None:
    assert parse_words([f"{name}:={json.dumps(value)}"]) == {name: value}
    assert parse_words([json.dumps({name: value})]) == {name: value}


@given(st.text())
def test_any_word_is_a_parameter_or_a_mistake(word: str) -> None:
    if word == "-":
        return
    try:
        parse_words([word])
    except CliError as error:
        assert error.code == Exit.USAGE


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (JobNotFound("no job 'a'"), Exit.NO_SUCH_JOB, "job_not_found (-32001): no job 'a'"),
        (InvalidArguments("x", path="$.params.a"), Exit.USAGE, "invalid_params (-32602): x"),
        (InvalidRequest("twice", path="$.id"), Exit.USAGE, "invalid_request (-32600): twice"),
        (WaitTimedOut("still running"), Exit.TOO_SLOW, "wait_timeout (-32017): still running"),
        (Forbidden("no"), Exit.REFUSED, "forbidden (-32016): no"),
        (SupervisorError("oh"), Exit.FAILED, "internal_error (-32603): oh"),
    ],
)
def test_errors_have_their_name_and_code(error: SupervisorError, code: Exit, text: str) -> None:
    told = _told(error, "job.get", [])
    assert (told.code, str(told)) == (code, text)


def test_a_refused_token_says_what_to_do() -> None:
    told = _told(Unauthenticated("who are you?"), "job.get", [])
    assert told.code == Exit.REFUSED
    assert "--token-file" in str(told)


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (["job.get", "events.subscribe"], "did you mean job.get?"),
        (["x"], "`trio-supervisor schema` lists them"),
        (None, "`trio-supervisor schema` lists them"),
    ],
)
def test_a_method_there_is_not(known: Any, told: str) -> None:
    error = _told(MethodNotFound("no method", known=known), "job.gat", [])
    assert error.code == Exit.USAGE
    assert told in str(error)


def test_text_that_should_have_been_a_number_is_hinted_at() -> None:
    error = InvalidArguments("Expected `int`, got `str`", path="$.params.limit")
    assert "limit:=10 gives JSON" in str(_told(error, "job.list", ["name=x", "limit=10"]))
    assert "gives" not in str(_told(error, "job.list", ["limit=ten"]))
    assert "gives" not in str(_told(error, "job.list", ["limit:=10"]))


def test_json_for_people_is_safe_and_the_same() -> None:
    value = {"text": "\x1b[31m\u202e\ud800", "many": list(range(40)), "lines": "a\nb"}
    shown = indented(value)
    assert json.loads(shown) == value
    assert "\x1b" not in shown and "\u202e" not in shown
    assert shown.startswith("{\n  ")
    assert indented({"ok": True}) == '{"ok": true}'

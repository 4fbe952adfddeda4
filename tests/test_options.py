"""Checks of what callers pass: each error says what was wrong, where, and what would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from supervisor._errors import InvalidArguments
from supervisor._model import ReusePolicy
from supervisor._options import (
    check_choice,
    check_job_id,
    check_labels,
    check_number,
    check_seconds,
    check_text,
)

NAN, INF = float("nan"), float("inf")


class Secretive:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("value", [0, 0.0, 1, 2.5, 10**9])
def test_seconds_that_do(value: float) -> None:
    assert check_seconds("grace", value) == value
    assert isinstance(check_seconds("grace", value), float)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -1e-9,
        NAN,
        INF,
        -INF,
        10**400,
        pytest.param(10**5000, id="huge"),
        True,
        "1",
        None,
        [1],
        Secretive(),
    ],
)
def test_seconds_that_do_not(value: Any) -> None:
    with pytest.raises(InvalidArguments, match="grace") as caught:
        check_seconds("grace", value)
    assert caught.value.data == {"path": "$.grace"}
    assert "second" in str(caught.value)


@pytest.mark.parametrize(
    "value", [NAN, INF, 10**400, pytest.param(10**5000, id="huge"), True, "1", None]
)
def test_numbers_that_do_not(value: Any) -> None:
    with pytest.raises(InvalidArguments, match="done"):
        check_number("done", value)


@pytest.mark.parametrize("value", [0, -5, 2.5])
def test_numbers_that_do(value: float) -> None:
    assert check_number("done", value) == value


@pytest.mark.parametrize("value", ["", "x" * 5000, 5, None, b"x"])
def test_texts_that_do_not(value: Any) -> None:
    with pytest.raises(InvalidArguments, match="reason"):
        check_text("reason", value)


def test_texts_that_do() -> None:
    assert check_text("reason", "x" * 4096) == "x" * 4096


@pytest.mark.parametrize("value", ["maybe", None, 5, ["allow"], {}])
def test_a_word_that_is_none_of_the_choices_lists_them(value: Any) -> None:
    with pytest.raises(InvalidArguments, match="'allow', 'allow_failed_only'"):
        check_choice("policy", ReusePolicy, value)


def test_a_word_that_is_one_of_the_choices() -> None:
    assert check_choice("policy", ReusePolicy, "allow") is ReusePolicy.ALLOW


@pytest.mark.parametrize(
    "value", [["a"], None, {"a": 1}, {1: "a"}, {"": "a"}, {str(n): "" for n in range(65)}]
)
def test_labels_that_do_not(value: Any) -> None:
    with pytest.raises(InvalidArguments) as caught:
        check_labels(value)
    assert caught.value.data == {"path": "$.labels"}


def test_labels_are_copied() -> None:
    given = {"a": "b"}
    checked = check_labels(given)
    given["a"] = "c"
    assert checked == {"a": "b"}


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (check_job_id, "x" * 100_000),
        (check_labels, {"x" * 100_000: 1}),
        (lambda value: check_choice("p", ReusePolicy, value), "x" * 100_000),
    ],
)
def test_an_error_does_not_repeat_a_novel(check: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(InvalidArguments) as caught:
        check(value)
    assert len(str(caught.value)) < 300

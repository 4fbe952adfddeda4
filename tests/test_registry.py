"""Jobs by name: schemas from parameters, arguments checked before the job exists."""

from __future__ import annotations

import functools
import json
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import attrs
import msgspec
import pytest

from supervisor._errors import InvalidArguments, UnknownJobName
from supervisor._registry import RegisteredJob, Registry


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Point:
    x: int
    y: int = 0


def registered(function: Any) -> RegisteredJob:
    registry = Registry()
    registry.job(function)
    return registry.get(function.__name__)


def bound(job: RegisteredJob, args: Any) -> dict[str, Any]:
    work = job.bind(args)
    assert isinstance(work, functools.partial)
    return work.keywords


# --- registering ------------------------------------------------------------------------------


def test_a_function_is_registered_by_its_name_and_stays_itself() -> None:
    registry = Registry()

    @registry.job
    async def greet(name: str) -> None:
        """Say hello."""

    @registry.job(name="other", grace=1, notice=2, timeout=3)
    async def whatever() -> None: ...

    job = registry.get("greet")
    assert (job.function, job.doc, job.grace) == (greet, "Say hello.", None)
    other = registry.get("other")
    assert (other.grace, other.notice, other.timeout) == (1, 2, 3)
    assert [each.name for each in registry] == ["greet", "other"]
    assert "greet, other" in repr(registry)


def test_a_name_can_be_taken_once() -> None:
    registry = Registry()

    @registry.job
    async def greet() -> None: ...

    with pytest.raises(ValueError, match="'greet' is registered already"):
        registry.job(greet)


def _blocking() -> None: ...


async def _any_number(*names: str) -> None: ...


async def _any_names(**names: str) -> None: ...


async def _positional(a: int, /) -> None: ...


async def _no_json(a: complex, b: type) -> None: ...


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (_blocking, "async"),
        (_any_number, "named parameters only"),
        (_any_names, "named parameters only"),
        (_positional, "named parameters only"),
        (_no_json, "JSON cannot carry"),
    ],
)
def test_a_function_that_cannot_be_started_by_name_is_refused(function: Any, match: str) -> None:
    registry = Registry()
    with pytest.raises(TypeError, match=match):
        registry.job(function)
    assert list(registry) == []


def test_an_unknown_name_lists_what_there_is() -> None:
    registry = Registry()
    with pytest.raises(UnknownJobName, match="none is"):
        registry.get("x")

    @registry.job
    async def greet() -> None: ...

    with pytest.raises(UnknownJobName, match="registered: greet") as caught:
        registry.get("x")
    assert caught.value.data == {"known": ["greet"]}


# --- arguments --------------------------------------------------------------------------------


async def everything(
    name: str,
    count: int = 1,
    ratio: float = 0.5,
    tags: list[str] = ["a"],  # noqa: B006
    when: datetime | None = None,
    colour: Colour = Colour.RED,
    point: Point | None = None,
    *,
    size: Annotated[int, msgspec.Meta(ge=0)] = 0,
    anything=None,  # type: ignore[no-untyped-def]
) -> None:
    """Takes all sorts."""


def test_arguments_are_converted_to_their_types() -> None:
    job = registered(everything)
    given = bound(
        job,
        {
            "name": "x",
            "ratio": 1,
            "when": "2024-01-02T03:04:05Z",
            "colour": "blue",
            "point": {"x": 3},
            "anything": [1, {"a": None}],
        },
    )
    assert (given["ratio"], given["colour"], given["point"]) == (1.0, Colour.BLUE, Point(3))
    assert given["when"].year == 2024
    assert given["anything"] == [1, {"a": None}]
    assert (given["count"], given["tags"]) == (1, ["a"])


def test_a_default_that_can_change_is_not_shared() -> None:
    job = registered(everything)
    bound(job, {"name": "x"})["tags"].append("b")
    assert bound(job, {"name": "x"})["tags"] == ["a"]


@pytest.mark.parametrize(
    ("args", "path"),
    [
        (None, "$.args"),
        ({}, "$.args"),
        ({"name": None}, "$.args.name"),
        ({"name": "x", "count": "1"}, "$.args.count"),
        ({"name": "x", "count": 1.5}, "$.args.count"),
        ({"name": "x", "count": True}, "$.args.count"),
        ({"name": "x", "tags": ["a", 1]}, "$.args.tags[1]"),
        ({"name": "x", "point": {"y": 1}}, "$.args.point"),
        ({"name": "x", "point": {"x": "1"}}, "$.args.point.x"),
        ({"name": "x", "colour": "green"}, "$.args.colour"),
        ({"name": "x", "size": -1}, "$.args.size"),
        ({"name": "x", "when": "yesterday"}, "$.args.when"),
        ({"name": "x", "nmae": "y"}, "$.args"),
        ({1: 2}, "$.args"),
        (["x"], "$.args"),
        ("x", "$.args"),
        (5, "$.args"),
    ],
    ids=repr,
)
def test_wrong_arguments_say_where_and_what_would_do(args: Any, path: str) -> None:
    job = registered(everything)
    with pytest.raises(InvalidArguments, match="it takes name, count, ratio") as caught:
        job.bind(args)
    assert caught.value.data == {"path": path}


def test_a_job_without_parameters_takes_no_arguments() -> None:
    async def nothing() -> None: ...

    job = registered(nothing)
    assert bound(job, None) == bound(job, {}) == {}
    with pytest.raises(InvalidArguments, match="it takes no arguments"):
        job.bind({"a": 1})


def test_deep_nesting_is_refused_in_words() -> None:
    job = registered(everything)
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    try:
        job.bind({"name": "x", "anything": nested})
    except InvalidArguments as exc:
        assert exc.data["path"].startswith("$.args")
    while nested:
        nested = nested.pop()


# --- schemas ----------------------------------------------------------------------------------


def test_a_schema_is_json_and_closed() -> None:
    registry = Registry()
    registry.job(everything)
    [described] = registry.describe()
    assert (described["name"], described["doc"]) == ("everything", "Takes all sorts.")
    schema = json.loads(json.dumps(described["schema"]))
    definition = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    assert definition["required"] == ["name"]
    assert definition["additionalProperties"] is False
    assert definition["properties"]["size"]["minimum"] == 0


def test_descriptions_come_by_name() -> None:
    registry = Registry()
    for name in ("b", "c", "a"):

        @registry.job(name=name)
        async def work() -> None: ...

    assert [each["name"] for each in registry.describe()] == ["a", "b", "c"]

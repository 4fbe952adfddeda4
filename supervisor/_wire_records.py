"""How the records of `_model` look on the wire, and back.

Field names are the same; what is None is absent. Times are RFC 3339 in UTC, durations are seconds.
A job's result may be anything in Python: it goes over the wire when JSON can hold it and it is not
too large, else `result_error` says why not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any, Final, TypeVar

import attrs
import msgspec

from ._errors import InvalidArguments, ProtocolError, SupervisorError
from ._model import (
    Command,
    EventsLost,
    Job,
    JobEvent,
    JobFilter,
    JobPage,
    JobRequest,
    LogEntry,
    LogsLagged,
    ProgressEvent,
)
from ._options import check_seconds
from ._wire import error_value, exception_of

__all__ = [
    "RESULT_LIMIT",
    "RESULT_LIMIT_IN_LISTS",
    "entries_from_wire",
    "entry_to_wire",
    "filter_to_wire",
    "from_wire",
    "item_from_wire",
    "item_to_wire",
    "job_from_wire",
    "job_to_wire",
    "page_to_wire",
    "request_to_wire",
    "to_wire",
]

T = TypeVar("T")

RESULT_LIMIT: Final = 1024 * 1024
"""Bytes of JSON that the result of a job may have on the wire."""

RESULT_LIMIT_IN_LISTS: Final = 4 * 1024
"""The same where many jobs share one answer; `job.get` has the rest."""

DEPTH_TO_SPARE: Final = 64
"""How much deeper than a result the message around it may be."""

# --- to the wire ---------------------------------------------------------------------------------


@cache
def _names_of(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))


_names: Final[Callable[[Any], tuple[str, ...]]] = _names_of


def to_wire(value: Any) -> Any:
    """A record, or what records hold, as JSON values; None fields are left out.

    A `Job` anywhere in it has the result that `job_to_wire` gives it.
    """
    return _plain(value, RESULT_LIMIT)


def _plain(value: Any, limit: int) -> Any:
    convert = _converter(type(value))
    return value if convert is None else convert(value, limit)


@cache
def _converter_of(cls: Any) -> Callable[[Any, int], Any] | None:
    """What makes JSON values of this type; None: they are that already."""
    if cls is Job:
        return _job_plain
    if attrs.has(cls):
        return _record_plain
    if issubclass(cls, Enum):
        return lambda value, _: value.value
    if issubclass(cls, datetime):
        return lambda value, _: msgspec.to_builtins(value)
    if issubclass(cls, Mapping):
        return lambda value, limit: {key: _plain(item, limit) for key, item in value.items()}
    if issubclass(cls, (list, tuple)):
        return lambda value, limit: [_plain(item, limit) for item in value]
    return None


# mypy takes a type for unhashable here.
_converter: Final[Callable[[Any], Callable[[Any, int], Any] | None]] = _converter_of


def _record_plain(record: Any, limit: int) -> dict[str, Any]:
    return {
        name: _plain(value, limit)
        for name in _names(type(record))
        if (value := getattr(record, name)) is not None
    }


_JOB_FIELDS: Final = tuple(name for name in _names(Job) if name != "result")
_job_values: Final = attrgetter(*_JOB_FIELDS)


def _job_plain(job: Job, limit: int) -> dict[str, Any]:
    wire = {
        name: value if (convert := _converter(type(value))) is None else convert(value, limit)
        for name, value in zip(_JOB_FIELDS, _job_values(job), strict=True)
        if value is not None
    }
    if job.result is not None:
        try:
            wire["result"] = _json_value(job.result, limit)
        except _NotJson as exc:
            wire["result_error"] = str(exc)
    return wire


def job_to_wire(job: Job, *, result_limit: int = RESULT_LIMIT) -> dict[str, Any]:
    """A job's record as JSON values.

    Args:
        job: the record.
        result_limit: bytes of JSON that its result may have; a larger one is left out, like one
            that JSON cannot hold, and `result_error` says so.
    """
    return _job_plain(job, result_limit)


class _NotJson(Exception):
    """Why a result cannot be sent."""


def _json_value(value: Any, limit: int) -> Any:
    """The value as JSON has it: a copy, so that nothing odd in it can hurt later.

    The standard library's encoder, because it refuses what JSON does not know (sets, bytes, NaN)
    instead of making something of it.
    """
    try:
        return _as_json(value, limit)
    except KeyboardInterrupt:
        # The user's, or raised by code of the result itself: only that comes a second time.
        if not _interrupts(value, limit):
            raise
        raise _NotJson("the result interrupts whoever reads it") from None


def _interrupts(value: Any, limit: int) -> bool:
    try:
        _as_json(value, limit)
    except KeyboardInterrupt:
        return True
    except _NotJson:
        pass
    return False


def _as_json(value: Any, limit: int) -> Any:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        if len(text) > limit:
            raise _NotJson(
                f"the result has {len(text)} bytes as JSON; up to {limit} are sent here"
                + ("; job.get sends more" if limit < RESULT_LIMIT else "")
            )
        # Read back with something around it: what passes here passes in a message, too.
        copy = msgspec.json.decode(b"[" * DEPTH_TO_SPARE + text + b"]" * DEPTH_TO_SPARE)
        for _ in range(DEPTH_TO_SPARE):
            copy = copy[0]
        return copy
    except (_NotJson, KeyboardInterrupt):
        raise
    except RecursionError:
        raise _NotJson("the result is nested too deeply for JSON") from None
    except BaseException as exc:  # noqa: ASYNC103
        # A mapping or str subclass of the job's may raise anything, SystemExit included. Nothing
        # here awaits, so this is no cancellation.
        raise _NotJson(f"JSON cannot hold the result: {_text_of(exc)}"[:1000]) from None  # noqa: ASYNC104


def _text_of(error: BaseException) -> str:
    """What it says, if that can be had: it may be of the job's making."""
    try:
        return str(error) or type(error).__name__
    except BaseException:  # noqa: ASYNC103
        return type(error).__name__  # noqa: ASYNC104


def entry_to_wire(value: Any) -> dict[str, Any]:
    """One entry of a bulk answer: a record or why there is none."""
    if isinstance(value, BaseException):
        return {"error": error_value(value)}
    return {"result": _plain(value, RESULT_LIMIT_IN_LISTS)}


def page_to_wire(page: JobPage) -> dict[str, Any]:
    """A page of a list; large results are left out of it."""
    wire = _plain(page, RESULT_LIMIT_IN_LISTS)
    assert isinstance(wire, dict)
    return wire


_NOTIFIED_AS: Final[Mapping[type[Any], str]] = {
    JobEvent: "events.event",
    LogEntry: "events.log",
    ProgressEvent: "events.progress",
    LogsLagged: "events.lagged",
}
_NOTIFIED: Final = {name: cls for cls, name in _NOTIFIED_AS.items()}


def item_to_wire(
    item: JobEvent | LogEntry | ProgressEvent | LogsLagged | EventsLost,
) -> tuple[str, dict[str, Any]]:
    """An item of a watch as method and params of its notification (without `subscription_id`).

    `EventsLost` has none: clients make it, and no watch in a server has it.
    """
    return _NOTIFIED_AS[type(item)], to_wire(item)


# --- and back ------------------------------------------------------------------------------------


def from_wire(cls: type[T], value: Any) -> T:
    """A record from its JSON values; fields that are not known here are passed over.

    Raises:
        ProtocolError: the values do not make such a record.
    """
    try:
        return msgspec.convert(value, cls)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise ProtocolError(f"the peer sent no proper {cls.__name__}: {exc}") from exc


def job_from_wire(value: Any) -> Job:
    """A job's record; see `from_wire`."""
    return from_wire(Job, value)


def item_from_wire(
    method: str, params: Mapping[str, Any]
) -> JobEvent | LogEntry | ProgressEvent | LogsLagged | None:
    """The item that a notification carries; None if it is of another kind.

    Raises:
        ProtocolError: it is of that kind, but not well formed.
    """
    cls = _NOTIFIED.get(method)
    if cls is None:
        return None
    item: JobEvent | LogEntry | ProgressEvent | LogsLagged = from_wire(cls, params)
    return item


def entries_from_wire(
    entries: Iterable[Mapping[str, Any]], read: Callable[[Any], T]
) -> list[T | SupervisorError]:
    """The entries of a bulk answer, each read by `read`, or the error that stood in its place."""
    return [_entry(entry, read) for entry in entries]


def _entry(entry: Mapping[str, Any], read: Callable[[Any], T]) -> T | SupervisorError:
    if "result" in entry:
        return read(entry["result"])
    error = entry.get("error")
    if not isinstance(error, Mapping):
        raise ProtocolError("the peer sent an entry with neither result nor error")
    return exception_of(error.get("code", 0), str(error.get("message", "")), error.get("data"))


# --- what a client sends -------------------------------------------------------------------------


def request_to_wire(request: JobRequest) -> dict[str, Any]:
    """The params of `job.start` for this request; what is not given is left out.

    Raises:
        TypeError: the work is a plain callable; over the wire jobs go by name.
        InvalidArguments: something in it cannot go over the wire.
    """
    params: dict[str, Any] = {"command": None, "name": request.name}
    if isinstance(request.work, str):
        if request.name not in (None, request.work):
            raise InvalidArguments(
                "over the wire a registered job keeps its name; leave name= out", path="$.name"
            )
        params["name"] = request.work
    elif isinstance(request.work, Command):
        params["command"] = _command_to_wire(request.work)
    else:
        raise TypeError(
            f"{request.work!r} cannot be started over the wire; register it with @registry.job "
            "in the server and start it by name, or start a supervisor.Command"
        )
    if request.arguments:
        raise InvalidArguments(
            "positional arguments cannot go over the wire; give them by name in args=",
            path="$.arguments",
        )
    for name in _REQUEST_FIELDS:
        params[name] = getattr(request, name)
    for name in ("grace", "notice", "timeout"):  # JSON has no infinity: it would be lost
        if params[name] is not None:
            check_seconds(name, params[name])
    return {key: _plain(value, 0) for key, value in params.items() if value is not None}


_REQUEST_FIELDS: Final = tuple(
    name for name in _names(JobRequest) if name not in ("work", "arguments", "name")
)


def _command_to_wire(command: Command) -> dict[str, Any]:
    texts = [*command.argv, *(command.env or {}), *(command.env or {}).values()]
    if any(isinstance(text, bytes) for text in texts):
        raise InvalidArguments(
            "a command that goes over the wire is all text, no bytes", path="$.command"
        )
    wire: dict[str, Any] = {"argv": list(command.argv)}
    if command.cwd is not None:
        wire["cwd"] = command.cwd
    if command.env is not None:
        wire["env"] = dict(command.env)
    return wire


def filter_to_wire(filter: JobFilter) -> dict[str, Any]:
    """A filter as params; what is None is left out."""
    wire = to_wire(filter)
    assert isinstance(wire, dict)
    return wire

"""The methods of the control channel: what each takes, what it gives, and who may call it.

One table, `METHODS`. Parameters are decoded straight into attrs classes, and everything that can be
checked by looking at them alone is checked there: types, ranges, choices, unknown fields. An error
names the place (`data.path`, such as `$.params.grace`) and, where that helps, what would do.

How records look on the wire is in `_wire_records`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import attrs
import msgspec
from msgspec import Meta, inspect

from ._errors import InvalidArguments, Unsupported
from ._model import (
    CancelReply,
    Command,
    ConflictPolicy,
    DisconnectPolicy,
    Job,
    JobFilter,
    JobPage,
    JobRequest,
    JobState,
    LogPage,
    ReusePolicy,
    Statistics,
)
from ._wire import MethodNotFound

__all__ = [
    "METHODS",
    "Ack",
    "CancelManyParams",
    "CancelParams",
    "CancelRequestParams",
    "FilterParams",
    "GetParams",
    "HelloParams",
    "HelloResult",
    "JobResult",
    "ListParams",
    "LogsParams",
    "ManyResult",
    "Method",
    "NoParams",
    "PingResult",
    "Scope",
    "ServerInfo",
    "ShutdownParams",
    "StartManyParams",
    "StartParams",
    "StartResult",
    "SubscribeParams",
    "SubscribeResult",
    "UnsubscribeParams",
    "WaitParams",
    "method_named",
    "parse_params",
]


class Scope(StrEnum):
    """What a token may do."""

    OBSERVE = "observe"
    SUBMIT = "submit"
    """Start registered jobs."""
    EXEC = "exec"
    """Start commands: remote execution, so a scope of its own."""
    CANCEL = "cancel"
    ADMIN = "admin"


# --- params --------------------------------------------------------------------------------------

JobId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$(?!\n)")]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Labels = Annotated[dict[str, str], Meta(max_length=64)]
Token = Annotated[str, Meta(min_length=1, max_length=1024)]


@attrs.frozen(kw_only=True)
class NoParams:
    """Of a method that takes none."""


NO_PARAMS: Final = NoParams()


@attrs.frozen(kw_only=True)
class HelloParams:
    client: Annotated[str, Meta(max_length=256)] | None = None
    token: Token | None = attrs.field(default=None, repr=False)
    resume_token: Token | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class CommandParams:
    argv: Annotated[list[str], Meta(min_length=1)]
    cwd: Text | None = None
    env: dict[str, str] | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class StartParams:
    """With `command`, `name` is what to call the job; without, it is the registered job."""

    name: Name | None = None
    command: Annotated[list[str], Meta(min_length=1)] | CommandParams | None = None
    args: dict[str, Any] | None = None
    job_id: JobId | None = None
    labels: Labels | None = None
    timeout: Seconds | None = None
    grace: Seconds | None = None
    notice: Seconds | None = None
    on_disconnect: DisconnectPolicy | None = None
    id_conflict_policy: ConflictPolicy = ConflictPolicy.USE_EXISTING
    id_reuse_policy: ReusePolicy = ReusePolicy.USE_EXISTING
    if_remembered: Literal["cancel", "run"] = "cancel"

    def to_request(self, default_on_disconnect: DisconnectPolicy) -> JobRequest:
        """What to start.

        Raises:
            InvalidArguments: the parameters contradict each other, or name no runnable command.
        """
        return JobRequest(
            self._work(),
            args=self.args,
            job_id=self.job_id,
            name=self.name if self.command is not None else None,
            labels=self.labels,
            grace=self.grace,
            notice=self.notice,
            timeout=self.timeout,
            on_disconnect=self.on_disconnect or default_on_disconnect,
            id_conflict_policy=self.id_conflict_policy,
            id_reuse_policy=self.id_reuse_policy,
            if_remembered=self.if_remembered,
        )

    def _work(self) -> str | Command:
        if self.command is None:
            if self.name is None:
                raise InvalidArguments(
                    "give name (a registered job) or command (a program)", path="$.name"
                )
            return self.name
        if self.args is not None:
            raise InvalidArguments(
                "args go with the name of a registered job; a command has them in its argv",
                path="$.args",
            )
        given = self.command
        try:
            if not isinstance(given, CommandParams):
                return Command(given)
            env: dict[str | bytes, str | bytes] | None = None
            if given.env is not None:
                env = dict(given.env.items())
            return Command(given.argv, given.cwd, env)
        except (TypeError, ValueError) as exc:
            raise InvalidArguments(str(exc), path="$.command") from exc


@attrs.frozen(kw_only=True)
class StartManyParams:
    jobs: Annotated[list[StartParams], Meta(max_length=10_000)]


@attrs.frozen(kw_only=True)
class CancelParams:
    job_id: JobId
    reason: Text | None = None
    grace: Seconds | None = None
    force: bool = False
    attempt: Annotated[int, Meta(ge=1)] | None = None
    wait: Literal["accepted", "finished"] = "accepted"
    timeout: Seconds | None = None
    if_unknown: Literal["error", "remember"] = "error"


@attrs.frozen(kw_only=True)
class FilterParams:
    job_ids: Annotated[list[JobId], Meta(max_length=10_000)] | None = None
    state: JobState | list[JobState] | None = None
    name: Name | None = None
    labels: Labels | None = None
    parent_id: JobId | None = None

    def to_filter(self) -> JobFilter:
        """The filter that was meant."""
        state = (self.state,) if isinstance(self.state, JobState) else self.state
        return JobFilter(
            job_ids=None if self.job_ids is None else tuple(self.job_ids),
            state=None if state is None else tuple(state),
            name=self.name,
            labels=self.labels,
            parent_id=self.parent_id,
        )


@attrs.frozen(kw_only=True)
class CancelManyParams:
    filter: FilterParams
    reason: Text | None = None
    grace: Seconds | None = None
    force: bool = False
    wait: Literal["accepted", "finished"] = "accepted"
    timeout: Seconds | None = None


@attrs.frozen(kw_only=True)
class GetParams:
    job_id: JobId


@attrs.frozen(kw_only=True)
class WaitParams:
    job_id: JobId
    timeout: Seconds | None = None


@attrs.frozen(kw_only=True)
class ListParams(FilterParams):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Text | None = None


@attrs.frozen(kw_only=True)
class LogsParams:
    job_id: JobId
    since: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000


@attrs.frozen(kw_only=True)
class Position:
    instance: Name
    seq: Annotated[int, Meta(ge=0)]


@attrs.frozen(kw_only=True)
class SubscribeParams:
    since: Position | None = None
    filter: FilterParams | None = None
    logs: bool = False
    progress: bool = False


@attrs.frozen(kw_only=True)
class UnsubscribeParams:
    subscription_id: Name


@attrs.frozen(kw_only=True)
class ShutdownParams:
    mode: Literal["cancel", "drain"] = "cancel"
    grace: Seconds | None = None


@attrs.frozen(kw_only=True)
class CancelRequestParams:
    id: int | Annotated[str, Meta(max_length=256)]


# --- results that are not records of the model --------------------------------------------------


@attrs.frozen(kw_only=True)
class HelloResult:
    """`resumed` counts the jobs that `resume_token` of the request brought back."""

    server: str
    protocol: str
    instance: str
    head_seq: int
    limits: Mapping[str, float]
    scopes: tuple[str, ...]
    session_id: str
    resume_token: str = attrs.field(repr=False)
    resumed: int = 0


@attrs.frozen(kw_only=True)
class PingResult:
    now: datetime
    head_seq: int


@attrs.frozen(kw_only=True)
class StartResult:
    job: Job
    created: bool
    seq: int


@attrs.frozen(kw_only=True)
class JobResult:
    job: Job


@attrs.frozen(kw_only=True)
class ManyResult:
    """One entry each, in order: `{"result": ...}` or `{"error": ...}`; see `entries_from_wire`."""

    results: tuple[Mapping[str, Any], ...]


@attrs.frozen(kw_only=True)
class SubscribeResult:
    subscription_id: str
    instance: str
    from_seq: int
    head_seq: int


@attrs.frozen(kw_only=True)
class ServerInfo:
    server: str
    protocol: str
    sessions: int
    lingering: int
    statistics: Statistics
    jobs: tuple[Mapping[str, Any], ...]
    """Name, doc and JSON Schema of the registered jobs."""


@attrs.frozen(kw_only=True)
class Ack:
    """Done; there is nothing to say about it."""

    ok: bool = True


# --- the table -----------------------------------------------------------------------------------


@attrs.frozen
class Method:
    """One method. `scope` None: no scope is needed, only an authenticated session."""

    name: str
    params: type[Any]
    result: type[Any]
    scope: Scope | None
    summary: str


METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (
        Method("session.hello", HelloParams, HelloResult, None, "Say who you are; resume."),
        Method("session.ping", NoParams, PingResult, None, "Is anybody there?"),
        Method("job.start", StartParams, StartResult, Scope.SUBMIT, "Start a job."),
        Method("job.start_many", StartManyParams, ManyResult, Scope.SUBMIT, "Start many jobs."),
        Method("job.run", StartParams, JobResult, Scope.SUBMIT, "Start a job, wait for its end."),
        Method("job.cancel", CancelParams, CancelReply, Scope.CANCEL, "Ask a job to stop."),
        Method("job.cancel_many", CancelManyParams, ManyResult, Scope.CANCEL, "Stop many jobs."),
        Method("job.get", GetParams, JobResult, Scope.OBSERVE, "One job as it is now."),
        Method("job.wait", WaitParams, JobResult, Scope.OBSERVE, "Wait for a job's end."),
        Method("job.list", ListParams, JobPage, Scope.OBSERVE, "Jobs, a page at a time."),
        Method("job.logs", LogsParams, LogPage, Scope.OBSERVE, "Lines of a job's log."),
        Method("events.subscribe", SubscribeParams, SubscribeResult, Scope.OBSERVE, "Watch."),
        Method("events.unsubscribe", UnsubscribeParams, Ack, Scope.OBSERVE, "Watch no longer."),
        Method("server.info", NoParams, ServerInfo, Scope.OBSERVE, "Counters, registered jobs."),
        Method("server.shutdown", ShutdownParams, Ack, Scope.ADMIN, "End all jobs, then leave."),
        Method("$/cancelRequest", CancelRequestParams, Ack, None, "End a wait of your own."),
    )
}

LATER: Final = frozenset({"rpc.discover"})
"""Specified, and not built yet."""


def method_named(name: str) -> Method:
    """The row of the table.

    Raises:
        MethodNotFound: there is none; `data["known"]` lists those there are.
        Unsupported: it is specified, but not built yet.
    """
    method = METHODS.get(name)
    if method is not None:
        return method
    if name in LATER:
        raise Unsupported(f"{name} is not offered by this version", method=name)
    raise MethodNotFound(f"no method named {name[:64]!r}", path="$.method", known=list(METHODS))


def parse_params(method: Method, params: Mapping[str, Any]) -> Any:
    """The parameters as an instance of `method.params`.

    Raises:
        InvalidArguments: a field is unknown, missing, of the wrong type or out of range;
            `data["path"]` says which, `data["allowed"]` what would do where that is a short list.
    """
    if not params and method.params is NoParams:
        return NO_PARAMS
    if unknown := _unknown_field(_SHAPES[method.params], params, "$.params"):
        path, known = unknown
        raise InvalidArguments(
            f"{method.name} has no parameter {path.removeprefix('$.params.')}; "
            f"{_those(known)} would do",
            path=path,
            allowed=sorted(known),
        )
    try:
        return msgspec.convert(params, method.params)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise _explained(method, str(exc)) from None


def _those(known: Iterable[str]) -> str:
    return ", ".join(sorted(known)) or "no parameter at all"


_AT_PATH: Final = re.compile(r" - at `(?:key in )?\$(.*)`$", re.DOTALL)


def _explained(method: Method, message: str) -> InvalidArguments:
    """msgspec's message with its path put where ours are, and with the choices there are."""
    found = _AT_PATH.search(message)
    path = found[1] if found else ""
    text = message[: found.start()] if found else message
    data: dict[str, Any] = {"path": f"$.params{path}"}
    if allowed := _choices(inspect.type_info(method.params), path):
        data["allowed"] = allowed
        text = f"{text}; one of {', '.join(allowed)} would do"
    elif "matching regex" in text:
        text = "a job id has 1 to 128 letters, digits and . _ : - and begins with a letter or digit"
    return InvalidArguments(f"{method.name}: {text} (at $.params{path})", **data)


def _choices(info: inspect.Type, path: str) -> list[str]:
    """The words that may stand at this path, if only some may."""
    found: list[inspect.Type] = [info]
    for name in re.findall(r"\.(\w+)", path):
        found = [
            field.type
            for it in _alternatives(found)
            for field in _fields(it)
            if field.encode_name == name
        ]
    words: list[str] = []
    for it in _alternatives(found):
        if isinstance(it, inspect.EnumType):
            words += [str(member.value) for member in it.cls]
        elif isinstance(it, inspect.LiteralType):
            words += [str(value) for value in it.values]
    return list(dict.fromkeys(words))


def _alternatives(infos: Iterable[inspect.Type]) -> list[inspect.Type]:
    """Every type that a value, or an item of it, may have."""
    out: list[inspect.Type] = []
    todo = list(infos)
    while todo:
        match todo.pop():
            case inspect.UnionType(types=types):
                todo.extend(types)
            case inspect.ListType(item_type=item):
                todo.append(item)
            case inspect.Metadata(type=inner):
                todo.append(inner)
            case other:
                out.append(other)
    return out


def _fields(info: inspect.Type) -> tuple[inspect.Field, ...]:
    return info.fields if isinstance(info, inspect.DataclassType) else ()


@attrs.frozen
class _Shape:
    """The names an object may have, and below which of them there are further objects of ours."""

    names: frozenset[str]
    below: Mapping[str, _Shape]


def _shape_of(info: inspect.Type) -> _Shape:
    fields = _fields(info)
    below = {
        field.encode_name: _shape_of(inner)
        for field in fields
        for inner in _alternatives([field.type])
        if isinstance(inner, inspect.DataclassType)
    }
    return _Shape(frozenset(field.encode_name for field in fields), below)


_SHAPES: Final = {
    method.params: _shape_of(inspect.type_info(method.params)) for method in METHODS.values()
}


def _unknown_field(shape: _Shape, value: Any, path: str) -> tuple[str, frozenset[str]] | None:
    """The first field that has no place here, and the names that have."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            if found := _unknown_field(shape, item, f"{path}[{place}]"):
                return found
    elif isinstance(value, Mapping):
        if not value.keys() <= shape.names:
            return f"{path}.{min(value.keys() - shape.names)[:64]}", shape.names
        for name, inner in shape.below.items():
            if name in value and (found := _unknown_field(inner, value[name], f"{path}.{name}")):
                return found
    return None

"""The protocol as an OpenRPC document, made from the types that the code runs on.

What is described is what goes over the wire: a record's field that may be None is absent then, and
every other one is there; parameters are closed, and may be null where they may be left out.
Records are open: a later version may add fields, and clients pass over those they do not know.

Words come from the docstrings of the classes: the text is the description, `Args` tells the fields.
Notifications that the server sends are among the methods, without a result and with
`x-sender: server`. The shape of an error's `data` is a JSON Schema, as that of everything else.

OpenRPC: https://spec.open-rpc.org. JSON Schema: draft 7, as OpenRPC has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from inspect import cleandoc
from typing import Any, Final

import attrs
import msgspec
from msgspec import inspect

from . import _errors, _wire
from ._errors import SupervisorError
from ._methods import (
    JOB_ID_PATTERN,
    METHODS,
    NOTIFICATIONS,
    CancelEntry,
    Method,
    NoParams,
    Refusal,
    StartEntry,
)
from ._model import Job
from ._openrpc_examples import EXAMPLES
from ._wire import CODES, SUBPROTOCOL, json_bytes

__all__ = ["COMMON", "OPENRPC", "VERSION", "document", "document_json"]

OPENRPC: Final = "1.4.1"
"""The version of the specification that the document follows."""

VERSION: Final = "1.0.0"
"""Of the protocol: what is added raises the second number, what breaks clients the first."""

ABOUT: Final = (
    f"JSON-RPC 2.0 over one websocket at `/ws`, subprotocol `{SUBPROTOCOL}`. Parameters go by "
    "name. Durations are seconds, times are RFC 3339 in UTC, and a field that does not apply is "
    "absent. Methods with `x-sender: server` are notifications that the server sends."
)

_SCHEMAS: Final = "#/components/schemas/"


@cache
def document_json() -> bytes:
    """The document as JSON in UTF-8."""
    return json_bytes(document())


@cache
def document() -> dict[str, Any]:
    """The document. It is made once, and not to be changed."""
    return {
        "openrpc": OPENRPC,
        "info": {
            "title": "trio-supervisor",
            "version": VERSION,
            "description": ABOUT,
            "license": {"name": "MIT"},
        },
        "methods": [
            *(_request(method) for method in METHODS.values()),
            *(_notification(name, cls) for name, cls in NOTIFICATIONS.items()),
        ],
        "components": {"schemas": _schemas(), "errors": _error_components()},
    }


# --- methods -------------------------------------------------------------------------------------

CLIENT_NOTIFICATIONS: Final = frozenset({"$/cancelRequest"})

COMMON: Final = (
    "invalid_request",
    "invalid_params",
    "internal_error",
    "request_cancelled",
    "overloaded",
    "unauthenticated",
)
"""What any method may answer; besides, `forbidden` where a scope is needed."""


def _request(method: Method) -> dict[str, Any]:
    out: dict[str, Any] = {
        "name": method.name,
        "summary": method.summary,
        **({"description": method.more} if method.more else {}),
        "tags": [{"name": _group(method.name)}],
        "paramStructure": "by-name",
        "params": _content(method.params),
    }
    if method.name not in CLIENT_NOTIFICATIONS:
        out["result"] = {"name": method.result.__name__, "schema": _ref(method.result.__name__)}
        out["errors"] = [{"$ref": f"#/components/errors/{kind}"} for kind in _kinds_of(method)]
    if method.scope is not None:
        out["x-scope"] = method.scope.value
    return out | _examples(method.name) | {"x-sender": "client"}


def _kinds_of(method: Method) -> Iterable[str]:
    """Every kind of error that it may answer, in the order of the codes."""
    kinds = {*COMMON, *method.errors}
    if method.scope is not None:
        kinds.add("forbidden")
    return [kind for kind in CODES if kind in kinds]


def _notification(name: str, cls: type[Any]) -> dict[str, Any]:
    summary, _, more = _told(cls)[0].partition("; ")
    return {
        "name": name,
        "summary": f"{summary.rstrip('.')}.",
        **({"description": _sentence(more)} if more else {}),
        "tags": [{"name": _group(name)}],
        "paramStructure": "by-name",
        "params": _content(cls),
        **_examples(name),
        "x-sender": "server",
    }


def _group(name: str) -> str:
    return name.partition(".")[0] if "." in name else "session"


def _content(cls: type[Any]) -> list[dict[str, Any]]:
    """The fields of an object as parameters: first what must be there, and what is its own."""
    if cls is NoParams:
        return []
    schema = _schemas()[cls.__name__]
    params = [
        {
            "name": name,
            **({"description": field["description"]} if "description" in field else {}),
            "required": name in schema["required"],
            "schema": {key: value for key, value in field.items() if key != "description"},
        }
        for name, field in schema["properties"].items()
    ]
    own = cls.__annotations__
    return sorted(params, key=lambda param: (not param["required"], param["name"] not in own))


def _examples(name: str) -> dict[str, Any]:
    pairs = [
        {
            "name": title,
            "params": [{"name": key, "value": value} for key, value in params.items()],
            **({} if result is None else {"result": {"name": "result", "value": result}}),
        }
        for title, params, result in EXAMPLES.get(name, ())
    ]
    return {"examples": pairs} if pairs else {}


# --- errors --------------------------------------------------------------------------------------

_STRINGS: Final = {"type": "array", "items": {"type": "string"}}
_PATH: Final = {"path": {"type": "string", "description": "Where in the message the fault is."}}

_DATA: Final[Mapping[str, dict[str, Any]]] = {
    "parse_error": {
        **_PATH,
        "offset": {"type": "integer", "description": "The byte at which it stopped being JSON."},
    },
    "invalid_request": {
        **_PATH,
        "limit": {"type": "integer", "description": "What was exceeded."},
    },
    "method_not_found": {
        **_PATH,
        "known": {**_STRINGS, "description": "The methods there are."},
    },
    "invalid_params": {
        **_PATH,
        "allowed": {"type": "array", "description": "What would do, where that is a short list."},
    },
    "job_not_found": {"similar": {**_STRINGS, "description": "Ids that look like it."}},
    "replay_gone": {
        "instance": {"type": "string", "description": "The supervisor that is here now."},
        "oldest_seq": {"type": "integer", "description": "What can be replayed begins here."},
        "head_seq": {"type": "integer", "description": "The position of the newest event."},
    },
    "job_id_conflict": {
        "job_id": {"type": "string", "description": "The id that is taken."},
        "state": {"$ref": f"{_SCHEMAS}JobState", "description": "Of the job that has it."},
    },
    "unknown_job_name": {"known": {**_STRINGS, "description": "The names that are registered."}},
    "overloaded": {
        "retry_after": {"type": "number", "description": "Seconds after which to try again."}
    },
    "forbidden": {"scope": {"type": "string", "description": "What the token lacks."}},
    "wait_timeout": {
        "job": {"$ref": f"{_SCHEMAS}{Job.__name__}", "description": "The job at that moment."}
    },
}
"""What the data of each kind may tell besides `kind` and `retryable`."""

_ALWAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "invalid_request": ("path",),
    "invalid_params": ("path",),
    "parse_error": ("path",),
    "method_not_found": ("path", "known"),
    "unknown_job_name": ("known",),
    "overloaded": ("retry_after",),
    "wait_timeout": ("job",),
}
"""What of it is always there."""

_CLASSES: Final[Mapping[str, type[SupervisorError]]] = {
    cls.kind: cls
    for module in (_errors, _wire)
    for cls in vars(module).values()
    if isinstance(cls, type)
    and issubclass(cls, SupervisorError)
    # An ambiguous id is told as its base; the base of all stands for what has no class.
    and cls not in (SupervisorError, _errors.AmbiguousJobId)
}

_WITHOUT_CODE: Final = ("internal_error", *sorted(_CLASSES.keys() - CODES.keys()))
"""The kinds that share the number of an internal error."""


def _error_components() -> dict[str, Any]:
    return {
        kind: {"code": code, "message": _meaning(kind), "data": _ref(_data_name(kind))}
        for kind, code in CODES.items()
    }


def _meaning(kind: str) -> str:
    if kind not in _CLASSES:
        return "Something failed in the server; its log says more."
    text = _one_line(_doc(_CLASSES[kind]).partition("\n\n")[0])
    return re.sub(r" \((?:the )?\w+(?: operator)? acts\)", "", text)


def _data_name(kind: str) -> str:
    return "".join(map(str.capitalize, kind.split("_"))) + "Data"


def _data_schema(kind: str) -> dict[str, Any]:
    known = _CLASSES.get(kind, SupervisorError)
    is_kind: dict[str, Any] = {"const": kind}
    retryable: dict[str, Any] = {"const": known.retryable}
    if kind == "internal_error":
        is_kind, retryable = {"enum": list(_WITHOUT_CODE)}, {"type": "boolean"}
    return {
        "title": _data_name(kind),
        "type": "object",
        "properties": {"kind": is_kind, "retryable": retryable, **_DATA.get(kind, {})},
        "required": ["kind", "retryable", *_ALWAYS.get(kind, ())],
    }


# --- records -------------------------------------------------------------------------------------


@cache
def _schemas() -> dict[str, Any]:
    """Every object that goes over the wire, by name."""
    taken = [method.params for method in METHODS.values() if method.params is not NoParams]
    sent = [method.result for method in METHODS.values()]
    sent += [*NOTIFICATIONS.values(), Refusal]
    schemas = {name: _taken(schema) for name, schema in _generated(taken).items()}
    schemas |= {name: _sent(schema) for name, schema in _generated(sent).items()}
    schemas |= {_data_name(kind): _data_schema(kind) for kind in CODES}
    for cls in (StartEntry, CancelEntry):
        schemas[cls.__name__]["oneOf"] = [{"required": ["result"]}, {"required": ["error"]}]
    refused = schemas[Refusal.__name__]["properties"]["data"]
    del refused["type"]
    refused["anyOf"] = [_ref(_data_name(kind)) for kind in CODES]
    return dict(sorted(schemas.items()))


def _generated(types: list[type[Any]]) -> dict[str, Any]:
    """The schemas of these types and of all they are made of, with the words of their classes."""
    _, schemas = msgspec.json.schema_components(types, ref_template=_SCHEMAS + "{name}")
    for cls, info in _classes_in(inspect.multi_type_info(types)).items():
        schema = schemas[cls.__name__]
        text, told = _told(cls)
        schema |= {"description": text} if text else {}
        if isinstance(info, inspect.EnumType):
            schema |= {"type": "string", "enum": [member.value for member in info.cls]}
            continue
        for field in info.fields:
            inner = schema["properties"][field.name]
            _mark_time(inner, field.type)
            inner |= {"description": told[field.name]} if field.name in told else {}
    return schemas


def _classes_in(
    infos: Iterable[inspect.Type],
) -> dict[type[Any], inspect.DataclassType | inspect.EnumType]:
    """The classes that make components."""
    found: dict[type[Any], inspect.DataclassType | inspect.EnumType] = {}
    todo = list(infos)
    while todo:
        info = todo.pop()
        match info:
            case inspect.DataclassType(cls=cls) if cls not in found:
                found[cls] = info
                todo += [field.type for field in info.fields]
            case inspect.EnumType(cls=cls):
                found[cls] = info
            case inspect.Metadata(type=inner) | inspect.CollectionType(item_type=inner):
                todo.append(inner)
            case inspect.UnionType(types=types):
                todo += types
    return found


def _mark_time(schema: dict[str, Any], info: inspect.Type) -> None:
    """All our times are aware, which the type alone does not tell."""
    if isinstance(info, inspect.UnionType):
        for choice, inner in zip(schema["anyOf"], info.types, strict=True):
            _mark_time(choice, inner)
    elif isinstance(info, inspect.DateTimeType):
        schema["format"] = "date-time"


def _taken(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of what we read: nothing unknown, and null is the same as left out."""
    for field in schema.get("properties", {}).values():
        if field.get("default", ...) is None:
            del field["default"]
    if "properties" in schema:
        schema["additionalProperties"] = False
    _plain_patterns(schema)
    return schema


def _plain_patterns(schema: Any) -> None:
    """In JSON Schema `$` is the end of the text; only Python lets a newline follow."""
    if isinstance(schema, dict):
        if schema.get("pattern") == JOB_ID_PATTERN:
            schema["pattern"] = JOB_ID_PATTERN.removesuffix(r"(?!\n)")
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            _plain_patterns(inner)


def _sent(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of what we write: what is None is absent, the rest is there."""
    required = []
    for name, field in schema.get("properties", {}).items():
        field.pop("default", None)
        choices = field.get("anyOf", [])
        if {"type": "null"} in choices:
            rest = [choice for choice in choices if choice != {"type": "null"}]
            del field["anyOf"]
            field |= rest[0] if len(rest) == 1 else {"anyOf": rest}
        elif field.keys() - {"description"}:  # one without a type may be anything: None, too
            required.append(name)
    if "properties" in schema:
        schema["required"] = required
    return schema


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"{_SCHEMAS}{name}"}


# --- words ---------------------------------------------------------------------------------------

_ENTRY: Final = re.compile(r"^    (\w+): (.*(?:\n     +\S.*)*)", re.MULTILINE)


def _told(cls: type[Any]) -> tuple[str, dict[str, str]]:
    """What its docstring says, and what it and those of its bases say of each field."""
    fields: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if attrs.has(base):
            _, _, args = _doc(base).partition("Args:\n")
            fields |= {name: _sentence(text) for name, text in _ENTRY.findall(args)}
    text = re.split(r"^(?:Args|Attributes|Raises):", _doc(cls), flags=re.MULTILINE)[0]
    return _one_line(text), fields


def _doc(cls: type[Any]) -> str:
    return cleandoc(cls.__doc__ or "")


def _sentence(text: str) -> str:
    text = _one_line(text)
    return f"{text[0].upper()}{text[1:]}" if text[0] != "`" else text


def _one_line(text: str) -> str:
    """Without line breaks, and with the names that JSON has for things of Python."""
    text = re.sub(r'data\["(\w+)"\]', r"data.\1", " ".join(text.split()))
    text = re.sub(r"\bNone (is|for|on)\b", r"absent \1", text)
    return re.sub(r"\b(True|False)\b", lambda found: found[0].lower(), text)

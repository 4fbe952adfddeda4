"""JSON-RPC 2.0 without any I/O: bytes or text in, frozen events out; and the way back.

Both sides of the control channel use it; it knows no socket, no session and no method.

- `decode` never raises. What cannot be read is a `Malformed` event, which says where the fault is
  (`data.path`) and is addressed to the request it came from whenever that can be told.
- An id is an integer or a string, and is echoed as it came, type included. `0` is an id.
- Parameters go by name. None, null and `{}` are the same; a list is refused.
- Every error carries `data.kind` and `data.retryable`. The table `CODES` is the only place where
  kinds and numbers meet.

JSON-RPC 2.0: https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from . import _errors
from ._errors import InvalidArguments, SupervisorError

__all__ = [
    "CODES",
    "SUBPROTOCOL",
    "Batch",
    "ErrorReply",
    "Event",
    "Id",
    "InvalidRequest",
    "Malformed",
    "MethodNotFound",
    "Notification",
    "ParseError",
    "Request",
    "Result",
    "WaitTimedOut",
    "decode",
    "encode_batch",
    "encode_error",
    "encode_notification",
    "encode_request",
    "encode_result",
    "error_of",
    "error_value",
    "exception_of",
    "json_bytes",
    "told",
]

SUBPROTOCOL: Final = "v1.jsonrpc.supervisor"

Id: TypeAlias = int | str

ID_LENGTH: Final = 256
"""Characters in a string id; both sides keep the ids that are in flight."""

RESUMED_ELSEWHERE: Final = (1008, "resumed by another connection")
"""The code and the reason with which a session is closed that another connection has resumed."""

SECOND_LOOK: Final = 64 * 1024
"""Bytes of a message up to which a fault in it is looked for at length."""

PATH_LENGTH: Final = 500
"""Characters of the path to a fault, at most."""

CODES: Final[Mapping[str, int]] = {
    "parse_error": -32700,
    "invalid_request": -32600,
    "method_not_found": -32601,
    "invalid_params": -32602,
    "internal_error": -32603,
    "request_cancelled": -32800,
    "job_not_found": -32001,
    "unsupported": -32004,
    "version_not_supported": -32009,
    "replay_gone": -32010,
    "job_id_conflict": -32011,
    "unknown_job_name": -32012,
    "overloaded": -32013,
    "shutting_down": -32014,
    "unauthenticated": -32015,
    "forbidden": -32016,
    "wait_timeout": -32017,
}
_KINDS: Final = {code: kind for kind, code in CODES.items()}


# --- events --------------------------------------------------------------------------------------


class Request(msgspec.Struct, frozen=True):
    """A call that wants an answer."""

    id: Id
    method: str
    params: dict[str, Any]


class Notification(msgspec.Struct, frozen=True):
    """A call that wants none."""

    method: str
    params: dict[str, Any]


class Result(msgspec.Struct, frozen=True):
    """The answer to a request."""

    id: Id
    result: Any


class ErrorReply(msgspec.Struct, frozen=True):
    """The refusal of a request; `id` is None if the peer could not tell of which."""

    id: Id | None
    code: int
    message: str
    data: dict[str, Any]


class Malformed(msgspec.Struct, frozen=True):
    """What could not be read.

    `id` is that of the request, where it could be made out. `answer` is False for a notification:
    those are never answered, not even when they are wrong.
    """

    id: Id | None
    error: SupervisorError
    answer: bool = True


class Batch(msgspec.Struct, frozen=True):
    """Several messages in one, in their order; never empty."""

    items: tuple[Request | Notification | Result | ErrorReply | Malformed, ...]


Item: TypeAlias = Request | Notification | Result | ErrorReply | Malformed
Event: TypeAlias = Item | Batch


# --- errors --------------------------------------------------------------------------------------


class ParseError(SupervisorError):
    """The message is not JSON."""

    kind = "parse_error"


class InvalidRequest(SupervisorError):
    """The message is JSON, but no JSON-RPC 2.0, or comes at the wrong time."""

    kind = "invalid_request"


class MethodNotFound(SupervisorError):
    """There is no such method."""

    kind = "method_not_found"


class WaitTimedOut(SupervisorError):
    """The wait was longer than it might be; `data["job"]` is the record at that moment.

    The wire's form of `trio.TooSlowError`.
    """

    kind = "wait_timeout"
    retryable = True


_CLASSES: Final[dict[str, type[SupervisorError]]] = {
    cls.kind: cls
    for cls in (
        _errors.InvalidArguments,
        _errors.JobNotFound,
        _errors.JobIdConflict,
        _errors.UnknownJobName,
        _errors.Unsupported,
        _errors.VersionNotSupported,
        _errors.Overloaded,
        _errors.ShuttingDown,
        _errors.ReplayGone,
        _errors.RequestCancelled,
        _errors.Unauthenticated,
        _errors.Forbidden,
        _errors.LaunchError,
        ParseError,
        InvalidRequest,
        MethodNotFound,
        WaitTimedOut,
    )
}


def error_of(error: BaseException) -> tuple[int, str, dict[str, Any]]:
    """An exception as code, message and data.

    What is not a `SupervisorError` is an internal error, and its text stays on this side.
    """
    if not isinstance(error, SupervisorError):
        message = "internal error; the server's log says more"
        return CODES["internal_error"], message, {"kind": "internal_error", "retryable": False}
    code = CODES.get(error.kind, CODES["internal_error"])
    data = {key: value for key, value in error.data.items() if _is_json(value)}
    return code, str(error), {**data, "kind": error.kind, "retryable": error.retryable}


def _is_json(value: Any) -> bool:
    """What an error was given along may be anything; what JSON cannot hold stays here."""
    try:
        json_bytes(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def exception_of(code: int, message: str, data: Mapping[str, Any] | None = None) -> SupervisorError:
    """Code, message and data as the exception they came from, as far as it is known here."""
    rest = dict(data or {})
    retryable = rest.pop("retryable", None)
    kind = rest.pop("kind", None)
    known = _CLASSES.get(kind if isinstance(kind, str) else _KINDS.get(code, ""), SupervisorError)
    if known is _errors.JobNotFound and "matches" in rest:
        known = _errors.AmbiguousJobId
    error = known(message)
    error.data = rest
    if isinstance(retryable, bool):
        error.retryable = retryable
    return error


# --- reading -------------------------------------------------------------------------------------

_ENVELOPE: Final = frozenset({"jsonrpc", "id", "method", "params"})
_ANSWER: Final = frozenset({"jsonrpc", "id", "result", "error"})
_decode_json: Final = msgspec.json.Decoder().decode


def decode(data: bytes | bytearray | str, *, batch_items: int | None = None) -> Event:
    """Read one message; one with more items than `batch_items` is malformed."""
    try:
        value = _decode_json(data)
    except RecursionError:
        return Malformed(None, ParseError("nested too deeply", path="$"))
    except (ValueError, UnicodeError) as exc:
        return _malformed_json(data, exc)
    if type(value) is list:
        return _batch(value, batch_items)
    return _item(value, "$")


def _batch(values: list[Any], limit: int | None) -> Event:
    if not values:
        return Malformed(None, InvalidRequest("an empty batch", path="$"))
    if limit is not None and len(values) > limit:
        text = f"a batch of {len(values)} messages; {limit} is the limit, send several batches"
        return Malformed(None, InvalidRequest(text, path="$", limit=limit))
    return Batch(tuple(_item(value, f"$[{place}]") for place, value in enumerate(values)))


def _item(value: Any, path: str) -> Item:
    if type(value) is not dict:
        return _wrong(None, f"a message is an object, not {told(value)}", path)
    method = value.get("method")
    if method is None and ("result" in value or "error" in value):
        return _answer(value, path)
    id = value.get("id", msgspec.UNSET)
    if id is not msgspec.UNSET and (problem := _id_problem(id)):
        return _wrong(None, problem, f"{path}.id")
    known_id = None if id is msgspec.UNSET else id
    if value.get("jsonrpc") != "2.0":
        return _wrong(known_id, 'jsonrpc must be "2.0"', f"{path}.jsonrpc")
    if type(method) is not str:
        return _wrong(known_id, f"method must be a string, not {told(method)}", f"{path}.method")
    if not value.keys() <= _ENVELOPE:
        extra = min(value.keys() - _ENVELOPE)
        text = f"unknown member {_clip(extra)}; a request has jsonrpc, id, method, params"
        return _wrong(known_id, text, f"{path}.{_clip(extra)}")
    params = value.get("params")
    if params is None:
        params = {}
    elif type(params) is not dict:
        return _positional(id, params, path)
    if id is msgspec.UNSET:
        return Notification(method, params)
    return Request(id, method, params)


def _positional(id: Any, params: Any, path: str) -> Malformed:
    text = f"params go by name, as an object, not as {told(params)}"
    error = InvalidArguments(text, path=f"{path}.params")
    if id is msgspec.UNSET:
        return Malformed(None, error, answer=False)
    return Malformed(id, error)


def _answer(value: dict[str, Any], path: str) -> Item:
    id = value.get("id")
    if id is not None and (problem := _id_problem(id)):
        return _wrong(None, problem, f"{path}.id", answer=False)
    if not value.keys() <= _ANSWER or value.get("jsonrpc") != "2.0":
        return _wrong(None, "no JSON-RPC 2.0 answer", path, answer=False)
    error = value.get("error")
    if error is None:
        if id is None or "result" not in value:
            return _wrong(None, "an answer has an id, and a result or an error", path, answer=False)
        return Result(id, value["result"])
    code, message = (error.get("code"), error.get("message")) if type(error) is dict else (0, 0)
    if type(code) is not int or type(message) is not str or value.get("result") is not None:
        return _wrong(None, "an error has a code and a message", f"{path}.error", answer=False)
    data = error.get("data")
    return ErrorReply(id, code, message, data if type(data) is dict else {})


def _id_problem(id: Any) -> str | None:
    if type(id) is int and -(2**63) <= id < 2**63:
        return None
    if type(id) is str and len(id) <= ID_LENGTH:
        return None
    return (
        f"an id is an integer of up to 64 bits or a string of up to {ID_LENGTH} characters, "
        f"not {told(id)}"
    )


def _wrong(id: Id | None, message: str, path: str, answer: bool = True) -> Malformed:
    return Malformed(id, InvalidRequest(message, path=path), answer)


def told(value: Any) -> str:
    """A value in a few words: JSON's name for its type, and what it is if that is short."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return f"the number {_clip(value)}"
        case str():
            return f"the string {_clip(value)!r}"
        case list():
            return "an array"
        case _:
            return "an object"


def _clip(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 64 else f"{text[:61]}..."


# --- what the fast decoder refuses: find out where, and whose request it is ----------------------


class _BadNumber:
    """A number that has no place in a message, where it stood."""

    def __init__(self, text: str) -> None:
        self.text = _clip(text)


def _malformed_json(data: bytes | bytearray | str, exc: Exception) -> Malformed:
    """A second look, by the slower but more lenient decoder of the standard library.

    NaN, Infinity, numbers out of range and lone surrogates have a place in the document; if they
    are all that is wrong, the error names it and goes to the request that it came in. In a large
    message that would take too long.
    """
    if len(data) > SECOND_LOOK:
        return _not_json(data, exc)
    try:
        value = json.loads(data, parse_constant=_BadNumber, parse_float=_number, parse_int=_integer)
        fault = _find_fault(value)
    except (ValueError, RecursionError):
        fault = None
        value = None
    if fault is None:
        return _not_json(data, exc)
    path, problem = fault
    id = value.get("id") if type(value) is dict else None
    addressed = id is not None and _can_be_echoed(id) and "method" in value
    if addressed and path.startswith("$.params"):
        return Malformed(id, InvalidArguments(problem, path=path))
    return Malformed(id if addressed else None, InvalidRequest(problem, path=path))


def _not_json(data: bytes | bytearray | str, exc: Exception) -> Malformed:
    return Malformed(None, ParseError(f"not JSON: {exc}", **_where(data, exc)))


def _can_be_echoed(id: Any) -> bool:
    """An id with half a surrogate pair would come back as another."""
    return _id_problem(id) is None and (type(id) is not str or _is_unicode(id))


def _number(text: str) -> float | _BadNumber:
    number = float(text)
    return number if math.isfinite(number) else _BadNumber(text)


def _integer(text: str) -> int | _BadNumber:
    # Python refuses to convert thousands of digits, and so do we.
    return int(text) if len(text) <= 300 else _BadNumber(text)


def _find_fault(value: Any) -> tuple[str, str] | None:
    """The first thing in a document that cannot be, and what is wrong with it.

    Takes little memory, whatever the document: only the walks under way are kept.
    """
    steps: list[str | int] = []
    walks = [iter([("$", value)])]
    while walks:
        for step, value in walks[-1]:
            if problem := _problem(value):
                return _path([*steps, step]), problem
            if isinstance(value, (dict, list)):
                steps.append(step)
                walks.append(_members(value))
                break
        else:
            del walks[-1], steps[-1:]
    return None


def _members(value: dict[str, Any] | list[Any]) -> Iterator[tuple[Any, Any]]:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value)


def _problem(value: Any) -> str | None:
    match value:
        case _BadNumber():
            return f"{value.text} is not a finite number in range"
        case str() if not _is_unicode(value):
            return "text with half a surrogate pair"
        case dict():
            if broken := next((key for key in value if not _is_unicode(key)), None):
                return f"the name {_clip(broken)!a} has half a surrogate pair"
    return None


def _path(steps: Iterable[str | int]) -> str:
    parts = (f"[{step}]" if isinstance(step, int) else f".{_clip(step)}" for step in steps)
    path = "".join(parts).removeprefix(".")
    return path if len(path) <= PATH_LENGTH else f"{path[: PATH_LENGTH - 3]}..."


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_AT_BYTE: Final = re.compile(r"\(byte (\d+)\)")


def _where(data: bytes | bytearray | str, exc: Exception) -> dict[str, Any]:
    """The offset of the fault, where the decoder told it; malformed JSON has no paths."""
    if isinstance(exc, UnicodeError):
        offset = exc.start if isinstance(exc, (UnicodeDecodeError, UnicodeEncodeError)) else 0
        return {"path": "$", "offset": offset}
    found = _AT_BYTE.search(str(exc))
    return {"path": "$", "offset": int(found[1]) if found else len(data)}


# --- writing -------------------------------------------------------------------------------------

_encode_json: Final = msgspec.json.Encoder().encode


def json_bytes(value: Any) -> bytes:
    """A value as JSON in UTF-8; half surrogate pairs (undecodable bytes) become U+FFFD."""
    try:
        return _encode_json(value)
    except UnicodeEncodeError:
        return _encode_json(_scrub(value))


def _scrub(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_scrub(key): _scrub(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_scrub(item) for item in value]
    return value


def encode_request(id: Id, method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """A call that wants an answer."""
    return json_bytes({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}})


def encode_notification(method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """A call that wants none."""
    return json_bytes({"jsonrpc": "2.0", "method": method, "params": params or {}})


def encode_result(id: Id, result: Any) -> bytes:
    """The answer to a request."""
    return json_bytes({"jsonrpc": "2.0", "id": id, "result": result})


def encode_error(id: Id | None, error: BaseException) -> bytes:
    """The refusal of a request."""
    return json_bytes({"jsonrpc": "2.0", "id": id, "error": error_value(error)})


def error_value(error: BaseException) -> dict[str, Any]:
    """The `error` member of a refusal."""
    code, message, data = error_of(error)
    return {"code": code, "message": message, "data": data}


def encode_batch(answers: Iterable[bytes]) -> bytes:
    """Several messages, each encoded already, as one."""
    return b"[" + b",".join(answers) + b"]"

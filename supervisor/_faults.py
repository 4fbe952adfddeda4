"""What is wrong with parameters, where, and what would do.

msgspec finds the fault and its place; here it is put into the words of the protocol, from the types
that it was checked against. Values are told, so that the sender finds them again, but never those
below a name that keeps a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import attrs
from msgspec import inspect

from ._errors import InvalidArguments
from ._wire import told

__all__ = ["explained", "refuse_unknown"]

SECRETS: Final = frozenset({"token", "resume_token", "env", "args"})


# --- unknown fields ------------------------------------------------------------------------------


@attrs.frozen
class _Shape:
    """The names an object may have, and below which of them there are further objects of ours."""

    names: frozenset[str]
    below: Mapping[str, _Shape]


def refuse_unknown(cls: type[Any], params: Mapping[str, Any], method: str) -> None:
    """Do nothing if every field has a place in this class, at any depth.

    Raises:
        InvalidArguments: one has none; `data["allowed"]` lists those that have.
    """
    found = _unknown_field(_shapes(cls), params, "$.params")
    if found is not None:
        path, known = found
        raise InvalidArguments(
            f"{method} has no parameter {path.removeprefix('$.params.')}; "
            f"{', '.join(sorted(known)) or 'no parameter at all'} would do",
            path=path,
            allowed=sorted(known),
        )


def _shape_of(cls: Any) -> _Shape:
    fields = _fields(inspect.type_info(cls))
    below = {
        field.encode_name: _shape_of(inner.cls)
        for field in fields
        for inner in _alternatives([field.type])
        if isinstance(inner, inspect.DataclassType)
    }
    return _Shape(frozenset(field.encode_name for field in fields), below)


_shapes: Final[Callable[[Any], _Shape]] = cache(_shape_of)


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


# --- wrong values --------------------------------------------------------------------------------

_AT_PATH: Final = re.compile(r" - at (?:`key` in )?`\$(.*)`$", re.DOTALL)
_AT_KEY: Final = re.compile(r"(.*) - at `key` in `", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")


class _Place(NamedTuple):
    """Where in the parameters a fault is: the types that may stand there, and what does."""

    types: list[inspect.Type]
    value: Any


def explained(
    cls: type[Any], params: Mapping[str, Any], method: str, problem: Exception
) -> InvalidArguments:
    """Why the parameters make no instance of this class, given what msgspec says."""
    message = str(problem)
    found = _AT_PATH.search(message)
    path = found[1] if found else ""
    place = _place(inspect.type_info(cls), params, path)
    name = path.removeprefix(".")
    wanted = " or ".join(dict.fromkeys(map(_wanted, place.types)))
    if isinstance(problem, RecursionError):
        text = "nested too deeply"
    elif missing := _MISSING.match(message):
        text = f"{name or 'the request'} lacks {missing[1]}; {wanted} would do"
    elif key := _AT_KEY.match(message):
        text = f"a name in {name} will not do: {key[1]}"
    elif not wanted:
        text = f"{message[: found.start()] if found else message} (at $.params{path})"
    elif name.endswith("[...]"):
        text = f"every value in {name.removesuffix('[...]')} must be {wanted}"
    else:
        text = f"{name or 'params'} must be {wanted}, not {_shown(name, place.value)}"
    choices = _choices(place.types)
    more = {"allowed": choices} if choices else {}
    return InvalidArguments(f"{method}: {text}", path=f"$.params{path}", **more)


def _place(info: inspect.Type, value: Any, path: str) -> _Place:
    types = [info]
    for name, number in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", path):
        if name:
            types = [
                field.type
                for it in _unwrapped(types)
                for field in _fields(it)
                if field.encode_name == name
            ]
            value = value.get(name) if isinstance(value, Mapping) else None
        else:
            types = list(map(_inner, _unwrapped(types)))
            value = value[int(number)] if number.isdecimal() and isinstance(value, list) else None
    return _Place(_unwrapped(types), value)


def _inner(info: inspect.Type) -> inspect.Type:
    match info:
        case inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
            return inner
    return inspect.NoneType()


def _shown(name: str, value: Any) -> str:
    """A value in a few words; of a secret, only how long it is."""
    match value:
        case str() if len(value) > 64 or SECRETS & set(re.findall(r"\w+", name)):
            return f"a string of {len(value)} characters"
        case int() | float() if SECRETS & set(re.findall(r"\w+", name)):
            return "a number"
        case list():
            return f"a list of {len(value)} items"
        case dict():
            return f"an object with {len(value)} names"
    return told(value)


def _wanted(info: inspect.Type) -> str:
    """What may stand there."""
    match info:
        case inspect.IntType(ge=least, le=most):
            return f"a whole number{_between(least, most)}"
        case inspect.FloatType(ge=least, le=most):
            return f"a number{_between(least, most)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType(pattern=str()):
            return "a job id (1 to 128 letters, digits and . _ : -, a letter or digit first)"
        case inspect.StrType(min_length=least, max_length=most):
            return f"a string{_size(least, most, 'characters') if most else ''}"
        case inspect.ListType(item_type=item, min_length=least, max_length=most):
            return f"a list{_size(least, most, _plural(item))}"
        case inspect.DictType(max_length=most):
            return f"an object{_size(None, most, 'names') if most else ''}"
        case inspect.DataclassType():
            names = ", ".join(field.encode_name for field in info.fields)
            return f"an object with {names}" if names else "an empty object"
        case inspect.EnumType() | inspect.LiteralType():
            return f"one of {', '.join(_choices([info]))}"
    return ""


def _plural(info: inspect.Type) -> str:
    match _unwrapped([info]):
        case [inspect.StrType(pattern=str())]:
            return "job ids"
        case [inspect.StrType()]:
            return "strings"
        case [inspect.EnumType()]:
            return "of them"
    return "objects"


def _between(least: float | None, most: float | None) -> str:
    if least is None:
        return ""
    return f" of {least} or more" if most is None else f" from {least} to {most:.0f}"


def _size(least: int | None, most: int | None, what: str) -> str:
    if most is None:
        return f" {_of(what)}" if least is None else f" of {least} or more {what}"
    return f" of up to {most} {what}" if least is None else f" of {least} to {most} {what}"


def _of(what: str) -> str:
    return what if what.startswith("of ") else f"of {what}"


def _choices(infos: Iterable[inspect.Type]) -> list[str]:
    """The words that may stand there, if only some may; an item of a list counts as well."""
    words: list[str] = []
    for it in _alternatives(infos):
        if isinstance(it, inspect.EnumType):
            words += [str(member.value) for member in it.cls]
        elif isinstance(it, inspect.LiteralType):
            words += [str(value) for value in it.values]
    return list(dict.fromkeys(words))


# --- types ---------------------------------------------------------------------------------------


def _unwrapped(infos: Iterable[inspect.Type]) -> list[inspect.Type]:
    """Every type that a value may have, but null."""
    out: list[inspect.Type] = []
    todo = [*infos][::-1]
    while todo:
        match todo.pop():
            case inspect.UnionType(types=types):
                todo.extend(reversed(types))
            case inspect.Metadata(type=inner):
                todo.append(inner)
            case inspect.NoneType():
                pass
            case other:
                out.append(other)
    return out


def _alternatives(infos: Iterable[inspect.Type]) -> list[inspect.Type]:
    """Every type that a value, or an item of it, may have."""
    out: list[inspect.Type] = []
    for it in _unwrapped(infos):
        out += _alternatives([it.item_type]) if isinstance(it, inspect.ListType) else [it]
    return out


def _fields(info: inspect.Type) -> tuple[inspect.Field, ...]:
    return info.fields if isinstance(info, inspect.DataclassType) else ()

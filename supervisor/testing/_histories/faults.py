"""What can become of a message or of a connection; each fault happens once."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast

import attrs

from ..errors import BadOption

__all__ = [
    "DOWN",
    "UP",
    "CutAt",
    "CutIn",
    "Drop",
    "Duplicate",
    "Fault",
    "Pasted",
    "Reorder",
    "Silence",
]

UP: Literal["up"] = "up"
DOWN: Literal["down"] = "down"
"""Up is from the client to the server."""


class Pasted:
    """A record whose repr can be pasted, and is short: it leaves out what is as by default."""

    __slots__ = ()

    def __repr__(self) -> str:
        said = []
        for field in attrs.fields(cast(Any, type(self))):
            value = getattr(self, field.name)
            if field.default is attrs.NOTHING:
                said.append(_shown(value))
            elif value != field.default:
                said.append(f"{field.name}={_shown(value)}")
        return f"{type(self).__name__}({', '.join(said)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What Hypothesis prints."""
        printer.text(repr(self))


def _shown(value: Any) -> str:
    """Functions by their name: that is what one can paste."""
    if callable(value):
        return str(getattr(value, "__qualname__", None) or repr(value))
    return repr([*value]) if isinstance(value, tuple) else repr(value)


def _way(instance: object, attribute: attrs.Attribute[str], value: object) -> None:
    if value not in (UP, DOWN):
        raise BadOption(
            f'{type(instance).__name__}(way=) must be "up" (from the client to the server) or '
            f'"down", not {value!r}'
        )


def _whole(instance: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadOption(
            f"{type(instance).__name__}({attribute.name}=) must be a whole number, not {value!r}"
        )


@attrs.frozen(repr=False)
class Drop(Pasted):
    """The message never arrives.

    Args:
        way: "up", from the client to the server, or "down".
        message: which one that way, from 0 on, over all connections of the run; if another fault
            had it already, the next one.
    """

    way: str = attrs.field(validator=_way)
    message: int = attrs.field(validator=_whole)


@attrs.frozen(repr=False)
class Duplicate(Pasted):
    """The message arrives twice.

    Args:
        way: "up", from the client to the server, or "down".
        message: which one that way, from 0 on, over all connections of the run; if another fault
            had it already, the next one.
    """

    way: str = attrs.field(validator=_way)
    message: int = attrs.field(validator=_whole)


@attrs.frozen(repr=False)
class Reorder(Pasted):
    """The message arrives after the next one; never, if the connection has no next one.

    Args:
        way: "up", from the client to the server, or "down".
        message: which one that way, from 0 on, over all connections of the run; if another fault
            had it already, the next one.
    """

    way: str = attrs.field(validator=_way)
    message: int = attrs.field(validator=_whole)


@attrs.frozen(repr=False)
class CutIn(Pasted):
    """The connection ends when so much of the message has passed.

    Args:
        way: "up", from the client to the server, or "down".
        message: which one that way, from 0 on, over all connections of the run; if another fault
            had it already, the next one.
        offset: bytes of it that pass, counted round if it is shorter.
        reset: whether the client is told of an error, or of an end.
    """

    way: str = attrs.field(validator=_way)
    message: int = attrs.field(validator=_whole)
    offset: int = attrs.field(validator=_whole)
    reset: bool = True


@attrs.frozen(repr=False)
class CutAt(Pasted):
    """The connection ends when so many bytes have passed, HTTP heads included.

    Args:
        way: "up", from the client to the server, or "down".
        byte: how many pass, over all connections of the run.
        reset: whether the client is told of an error, or of an end.
    """

    way: str = attrs.field(validator=_way)
    byte: int = attrs.field(validator=_whole)
    reset: bool = True


@attrs.frozen(repr=False)
class Silence(Pasted):
    """From this message on nothing passes any more, either way, and nobody is told.

    Args:
        way: "up", from the client to the server, or "down".
        message: which one that way, from 0 on, over all connections of the run; if another fault
            had it already, the next one.
    """

    way: str = attrs.field(validator=_way)
    message: int = attrs.field(validator=_whole)


Fault: TypeAlias = Drop | Duplicate | Reorder | CutIn | CutAt | Silence

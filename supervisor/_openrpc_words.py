"""Schemas of the OpenRPC document in a few words, for pages and terminals."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["default_of", "name_in", "type_of"]

BOUNDLESS = 10**9
"""A bound that only keeps nonsense out is not worth telling."""


def name_in(ref: str) -> str:
    """The name at the end of a reference: `Job` of `#/components/schemas/Job`."""
    return ref.rpartition("/")[2]


def type_of(schema: Mapping[str, Any], named: Callable[[str], str] = str) -> str:
    """What values the schema allows, in words; null is not worth a word.

    Args:
        schema: of a field.
        named: what to write for the name of another schema.
    """
    match schema:
        case {"$ref": ref}:
            return named(name_in(ref))
        case {"anyOf": choices}:
            words = [type_of(choice, named) for choice in choices if choice != {"type": "null"}]
            return " or ".join(words)
        case {"enum": values}:
            return " or ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"type": "array", "items": items}:
            return f"list of {type_of(items, named)}s{_size(schema, 'Items')}"
        case {"type": "array"}:
            return "list"
        case {"type": "object", "additionalProperties": {"type": _} as inner}:
            return f"object of {type_of(inner, named)}s"
        case {"type": "string"}:
            return _text(schema)
        case {"type": "integer" | "number" as kind}:
            return f"{kind}{_range(schema)}"
        case {"type": kind}:
            return str(kind)
    return "anything"


def _text(schema: Mapping[str, Any]) -> str:
    if schema.get("format") == "date-time":
        return "time"
    return "job id" if "pattern" in schema else f"string{_size(schema, 'Length')}"


def _size(schema: Mapping[str, Any], what: str) -> str:
    """How long it may be."""
    said = _between(schema.get(f"min{what}"), schema.get(f"max{what}"))
    return f" ({said}{' characters' if what == 'Length' else ''})" if said else ""


def _range(schema: Mapping[str, Any]) -> str:
    said = _between(schema.get("minimum"), schema.get("maximum"))
    return f" ({said})" if said else ""


def _between(least: float | None, most: float | None) -> str:
    if most is None or most >= BOUNDLESS:
        return "" if least is None else f"{least:,} or more"
    return f"up to {most:,.0f}" if least is None else f"{least:,} to {most:,.0f}"


def default_of(schema: Mapping[str, Any]) -> str:
    """The default as JSON; nothing if there is none."""
    return json.dumps(schema["default"]) if "default" in schema else ""

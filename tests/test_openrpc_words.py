"""Schemas in a few words."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor._openrpc import document
from supervisor._openrpc_words import default_of, name_in, type_of


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "#/components/schemas/Job"}, "<Job>"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Job"}}, "list of <Job>s"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string"),
        ({"anyOf": [{"type": "string"}, {"type": "boolean"}]}, "string or boolean"),
        ({"type": "string", "minLength": 1, "maxLength": 9}, "string (1 to 9 characters)"),
        ({"type": "string", "maxLength": 9000}, "string (up to 9,000 characters)"),
        ({"type": "string", "format": "date-time"}, "time"),
        ({"type": "string", "pattern": "^a$"}, "job id"),
        ({"type": "string", "enum": ["a", "b"]}, "`a` or `b`"),
        ({"const": False}, "`false`"),
        ({"type": "integer", "minimum": 0}, "integer (0 or more)"),
        ({"type": "number", "minimum": 0, "maximum": 1e9}, "number (0 or more)"),
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "integer (1 to 1,000)"),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "list of strings (1 or more)",
        ),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "object of numbers"),
        ({"type": "object"}, "object"),
        ({"type": "array"}, "list"),
        ({"description": "."}, "anything"),
    ],
)
def test_words(schema: dict[str, Any], words: str) -> None:
    assert type_of(schema, lambda name: f"<{name}>") == words


def test_every_parameter_has_words() -> None:
    for method in document()["methods"]:
        for param in method["params"]:
            assert type_of(param["schema"]) != "anything"


def test_defaults() -> None:
    assert default_of({"default": False}) == "false"
    assert default_of({"default": "a"}) == '"a"'
    assert default_of({}) == ""


def test_names() -> None:
    assert name_in("#/components/errors/overloaded") == "overloaded"

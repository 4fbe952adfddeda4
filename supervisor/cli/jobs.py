"""`jobs`: what can be started by name, and with which arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .connection import Where, where_options
from .output import print_document, print_table, say
from .text import one_line
from .verbs import ask_server, json_option

if TYPE_CHECKING:
    from .._client.client import Client

__all__ = ["command"]


@click.command("jobs")
@click.option("--app", metavar="MODULE:ATTR", help="Look into this registry, not into a server.")
@where_options
@json_option
def command(app: str | None, url: str | None, token_file: Path | None, as_json: bool) -> int:
    """List what can be started by name, with its parameters."""
    if app is not None:
        from .app import load_app

        return _show(load_app(app).describe(), as_json)

    async def ask(client: Client) -> int:
        return _show((await client.server_info()).jobs, as_json)

    return ask_server(Where(url=url, token_file=token_file), ask)


def _show(jobs: Iterable[Mapping[str, Any]], as_json: bool) -> int:
    listed = list(jobs)
    if as_json:
        print_document({"jobs": listed})
        return 0
    if not listed:
        say("no jobs are registered; `serve --app MODULE:ATTR` serves a registry of them")
    print_table(
        ("NAME", "PARAMETERS", "WHAT IT DOES"),
        [
            (job["name"], " ".join(parameters_of(job.get("schema", {}))), _first_line(job))
            for job in listed
        ],
        wrap=["WHAT IT DOES", "PARAMETERS"],
    )
    return 0


def _first_line(job: Mapping[str, Any]) -> str:
    return one_line(str(job.get("doc", "")).partition("\n\n")[0])


def parameters_of(schema: Mapping[str, Any]) -> list[str]:
    """The parameters in a JSON Schema of an object as `name:type`, or `[name:type=default]`."""
    definitions = schema.get("$defs", {})
    reference = str(schema.get("$ref", "")).rpartition("/")[2]
    body = definitions.get(reference, schema)
    required = body.get("required", ())
    return [
        _parameter(name, shape, name in required)
        for name, shape in body.get("properties", {}).items()
    ]


def _parameter(name: str, shape: Mapping[str, Any], required: bool) -> str:
    word = f"{name}:{_type_of(shape)}"
    if required:
        return word
    default = f"={shape['default']!r}" if "default" in shape else ""
    return f"[{word}{default}]"


def _type_of(shape: Mapping[str, Any]) -> str:
    if "anyOf" in shape:
        return "|".join(_type_of(choice) for choice in shape["anyOf"])
    if "enum" in shape:
        return "|".join(map(str, shape["enum"]))
    if "$ref" in shape:
        return str(shape["$ref"]).rpartition("/")[2]
    kind = shape.get("type", "any")
    return "|".join(map(str, kind)) if isinstance(kind, list) else str(kind)

"""`schema`: the protocol, as an OpenRPC document for programs and in words for people."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .._errors import ProtocolError
from .call import complete_method
from .connection import Where, where_options
from .exits import usage_error
from .output import is_terminal, print_document, print_table, print_text
from .pretty import indented
from .text import clean
from .verbs import ask_server, json_option

if TYPE_CHECKING:
    from .._client.client import Client

__all__ = ["command", "of_one"]

Document = Mapping[str, Any]


@click.command("schema")
@click.argument("method", metavar="[METHOD]", required=False, shell_complete=complete_method)
@click.option(
    "--server", is_flag=True, help="Ask a running server, not this version; --url does so, too."
)
@where_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    method: str | None,
    server: bool,
    url: str | None,
    token_file: Path | None,
    as_json: bool,
) -> int:
    """Show the protocol, or one method of it.

    Prints the OpenRPC document: of one method, with what it refers to. On a terminal, in words.
    """
    said = ctx.get_parameter_source("url") is ParameterSource.COMMANDLINE
    if not (server or said):
        from .._openrpc import document

        return _show(document(), method, as_json)

    async def ask(client: Client) -> int:
        document = await client.request("rpc.discover", {}, _read)
        try:
            return _show(document, method, as_json)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ProtocolError("the server's document is not of OpenRPC's form") from error

    return ask_server(Where(url=url, token_file=token_file), ask)


def _read(value: Any) -> Document:
    from .._methods import Discovery
    from .._wire_records import from_wire, to_wire

    wire: Document = to_wire(from_wire(Discovery, value))
    return wire


def _show(document: Document, method: str | None, as_json: bool) -> int:
    if method is not None:
        document = of_one(document, method)
    if as_json or not is_terminal(sys.stdout):
        print_document(document)
    elif method is None:
        _show_all(document)
    else:
        _show_one(document)
    return 0


def of_one(document: Document, name: str) -> Document:
    """The document of one method: that, and all it refers to.

    Raises:
        CliError: there is no such method.
    """
    found = [method for method in document["methods"] if method["name"] == name]
    if not found:
        from difflib import get_close_matches

        near = get_close_matches(name, [method["name"] for method in document["methods"]])
        would = f"did you mean {' or '.join(near)}?" if near else "`schema` alone lists them"
        raise usage_error(f"the protocol has no method {name!r}; {would}")
    needed: dict[str, dict[str, Any]] = {"schemas": {}, "errors": {}}
    todo: list[Any] = [found]
    while todo:
        for ref in _refs(todo.pop()):
            group, _, key = ref.removeprefix("#/components/").partition("/")
            if key not in needed[group]:
                needed[group][key] = document["components"][group][key]
                todo.append(needed[group][key])
    return {**document, "methods": found, "components": needed}


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _refs(item)
    elif isinstance(value, dict):
        if isinstance(ref := value.get("$ref"), str):
            yield ref
        for item in value.values():
            yield from _refs(item)


# --- in words ------------------------------------------------------------------------------------


def _show_all(document: Document) -> None:
    by_sender: dict[str, list[Any]] = {"client": [], "server": []}
    for method in document["methods"]:
        by_sender.setdefault(method.get("x-sender", "client"), []).append(method)
    print_table(
        ("METHOD", "SCOPE", "WHAT IT DOES"),
        [(it["name"], it.get("x-scope", ""), it.get("summary", "")) for it in by_sender["client"]],
        wrap=["WHAT IT DOES"],
    )
    print_text("")
    print_table(
        ("NOTIFICATION", "WHAT IT SAYS"),
        [(it["name"], it.get("summary", "")) for it in by_sender["server"]],
        wrap=["WHAT IT SAYS"],
    )
    print_text("\n`schema METHOD` shows one of them, `schema --json` prints the OpenRPC document.")


def _show_one(document: Document) -> None:
    (method,) = document["methods"]
    schemas = document["components"]["schemas"]
    scope = f"  (scope {method['x-scope']})" if "x-scope" in method else ""
    about = " ".join(filter(None, (method.get("summary"), method.get("description"))))
    lines = [f"{method['name']}{scope}", *_wrapped(about, "")]
    lines += _section("Parameters", _params(method, schemas))
    if "result" in method:
        record = schemas[method["result"]["schema"]["$ref"].rpartition("/")[2]]
        lines += _section("Result", _fields(record, schemas))
    kinds = [ref["$ref"].rpartition("/")[2] for ref in method.get("errors", [])]
    if kinds:
        lines += ["", "Errors", *_wrapped(", ".join(kinds), "  ")]
    print_text(clean("\n".join(lines)))
    for example in method.get("examples", [])[:1]:
        params = {param["name"]: param["value"] for param in example["params"]}
        print_text(f"\nExample\n{indented(params)}")


Field = tuple[str, str, str]
"""Name, what is to know of its value, meaning."""


def _section(title: str, fields: Iterable[Field]) -> Iterator[str]:
    lines = [
        line
        for name, value, meaning in fields
        for line in (*_wrapped(f"{name}: {value}", "  "), *_wrapped(meaning, "      "))
    ]
    return iter(["", title, *lines] if lines else [])


def _wrapped(text: str, margin: str) -> list[str]:
    width = min(100, shutil.get_terminal_size().columns)
    return textwrap.wrap(text, max(width, 40), initial_indent=margin, subsequent_indent=margin)


def _params(method: Mapping[str, Any], schemas: Document) -> Iterator[Field]:
    from .._openrpc_words import default_of

    for param in method["params"]:
        value = _words(param["schema"], schemas)
        default = default_of(param["schema"])
        value += ", required" if param.get("required") else f", default {default}" * bool(default)
        yield param["name"], value, param.get("description", "")


def _fields(record: Mapping[str, Any], schemas: Document) -> Iterator[Field]:
    for name, field in record.get("properties", {}).items():
        maybe = "" if name in record.get("required", ()) else ", may be absent"
        yield name, f"{_words(field, schemas)}{maybe}", field.get("description", "")


def _words(schema: Mapping[str, Any], schemas: Document) -> str:
    """The type in words; of a choice, what there is to choose from."""
    from .._openrpc_words import type_of

    def named(name: str) -> str:
        values = schemas.get(name, {}).get("enum")
        return name if values is None else " or ".join(values)

    return type_of(schema, named).replace("`", "")

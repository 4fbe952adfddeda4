"""Draws docs/reference.md from the OpenRPC document, which is made from the code.

python docs/draw_reference.py          write the page
python docs/draw_reference.py --check  exit 1 if the page is another
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from supervisor._openrpc import COMMON, VERSION, document
from supervisor._openrpc_words import default_of, name_in, type_of

PAGE = Path(__file__).with_name("reference.md")

INTRODUCTION = f"""\
# Reference of the control channel

<!-- drawn by docs/draw_reference.py from the code; do not edit -->

Every method, notification, record and error, version {VERSION} of the protocol.
[protocol.md](protocol.md) tells how to use them: getting in, the rules, cancelling, resuming.

This page is made from the OpenRPC document, which `trio-supervisor schema --json` prints, \
`rpc.discover` answers and `GET /openrpc.json` serves.
"""

ANY_ERROR = f"""\
Any method may also answer {", ".join(f"`{kind}`" for kind in COMMON)}, \
and `forbidden` where it needs a scope.
"""

DOCUMENT = document()
SCHEMAS: Mapping[str, Any] = DOCUMENT["components"]["schemas"]
ERRORS: Mapping[str, Any] = DOCUMENT["components"]["errors"]
REQUESTS = [method for method in DOCUMENT["methods"] if method["x-sender"] == "client"]
NOTIFICATIONS = [method for method in DOCUMENT["methods"] if method["x-sender"] == "server"]


def drawn() -> str:
    """The page."""
    parts = [INTRODUCTION, "## Methods", overview(), ANY_ERROR]
    parts += [part for method in REQUESTS for part in method_parts(method)]
    parts += ["## Notifications", "What the server sends unasked, to those who subscribed."]
    parts += [part for method in NOTIFICATIONS for part in method_parts(method)]
    parts += ["## Records", "A field that may be absent is marked with `?`."]
    parts += [part for name in sorted(records()) for part in record_parts(name)]
    parts += ["## Errors", errors()]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


# --- methods -------------------------------------------------------------------------------------


def overview() -> str:
    rows = [
        (link(method["name"]), method["summary"], code(method.get("x-scope", "")))
        for method in REQUESTS
    ]
    return table(("method", "", "scope"), rows)


def method_parts(method: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {method['name']}"
    yield "\n".join(filter(None, (method["summary"], sentences(method.get("description", "")))))
    if "x-scope" in method:
        yield f"Scope: `{method['x-scope']}`."
    yield params(method) if method["params"] else "No parameters."
    if "result" in method:
        yield from result_parts(method["result"])
    own = [name_in(it["$ref"]) for it in method.get("errors", ())]
    own = [kind for kind in own if kind not in (*COMMON, "forbidden")]
    if own:
        yield f"Errors: {', '.join(map(code, own))}."
    yield f"```json\n{example(method)}\n```"


def params(method: Mapping[str, Any]) -> str:
    # What the server leaves out has no default: it does not apply.
    if method["x-sender"] == "server":
        return table(("parameter", "type", "meaning"), map(sent_row, method["params"]))
    heads = ("parameter", "type", "required", "default", "meaning")
    return table(heads, map(taken_row, method["params"]))


def taken_row(param: Mapping[str, Any]) -> Iterable[str]:
    return (
        code(param["name"]),
        type_of(param["schema"], record_link),
        "yes" if param["required"] else "",
        code(default_of(param["schema"])),
        param["description"],
    )


def sent_row(param: Mapping[str, Any]) -> Iterable[str]:
    maybe = "" if param["required"] else "?"
    return (
        f"{code(param['name'])}{maybe}",
        type_of(param["schema"], record_link),
        param["description"],
    )


def result_parts(result: Mapping[str, Any]) -> Iterator[str]:
    name = name_in(result["schema"]["$ref"])
    yield f"Result: {sentences(SCHEMAS[name]['description'])}"
    yield fields(SCHEMAS[name])


def example(method: Mapping[str, Any]) -> str:
    """The first example as it goes over the wire."""
    pair = method["examples"][0]
    values = {param["name"]: param["value"] for param in pair["params"]}
    message = {"method": method["name"], "params": values}
    lines = [{"jsonrpc": "2.0", **({"id": 1} if "result" in pair else {}), **message}]
    if "result" in pair:
        lines.append({"jsonrpc": "2.0", "id": 1, "result": pair["result"]["value"]})
    return "\n".join(json.dumps(line) for line in lines)


# --- records -------------------------------------------------------------------------------------


def records() -> set[str]:
    """What is mentioned by name on the page: neither parameters nor results, which stand there."""
    shown = {name_in(m["result"]["schema"]["$ref"]) for m in REQUESTS if "result" in m}
    found: set[str] = set()
    todo: list[Any] = [
        [param["schema"] for method in DOCUMENT["methods"] for param in method["params"]],
        [SCHEMAS[name]["properties"] for name in shown],
        [{"$ref": "Refusal"}],
    ]
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            ref = value.get("$ref")
            name = name_in(ref) if isinstance(ref, str) else ""
            if name in SCHEMAS and name not in found and not is_data(name):
                found.add(name)
                todo.append(SCHEMAS[name])
            todo += value.values()
    return found


def is_data(name: str) -> bool:
    return name.endswith("Data")


def record_parts(name: str) -> Iterator[str]:
    schema = SCHEMAS[name]
    yield f"### {name}"
    yield sentences(schema["description"])
    yield f"One of {', '.join(map(code, schema['enum']))}." if "enum" in schema else fields(schema)


def fields(schema: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{code(name)}{'' if name in schema['required'] else '?'}",
            field_type(field),
            field["description"],
        )
        for name, field in schema["properties"].items()
    ]
    return table(("field", "type", "meaning"), rows)


def field_type(field: Mapping[str, Any]) -> str:
    names = [name_in(choice.get("$ref", "")) for choice in field.get("anyOf", ())]
    if names and all(map(is_data, names)):
        return "object, by kind: see [Errors](#errors)"
    return type_of(field, record_link)


# --- errors --------------------------------------------------------------------------------------


def errors() -> str:
    rows = [
        (
            str(error["code"]),
            code(kind),
            "yes" if data(error)["retryable"].get("const") else "",
            error["message"],
            "<br>".join(filter(None, (about(*it) for it in data(error).items()))),
        )
        for kind, error in ERRORS.items()
    ]
    return table(("code", "`data.kind`", "retryable", "meaning", "what else is in `data`"), rows)


def data(error: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = SCHEMAS[name_in(error["data"]["$ref"])]["properties"]
    return found


def about(name: str, field: Mapping[str, Any]) -> str:
    if name in ("kind", "retryable"):
        return ""
    return f"{code(name)}: {field['description']}"


# --- Markdown ------------------------------------------------------------------------------------


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def sentences(text: str) -> str:
    """One on each line."""
    return text.replace(". ", ".\n")


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return "".join(it for it in heading.lower() if it.isalnum() or it in "-_")


def link(name: str) -> str:
    """To a method on this page."""
    return f"[`{name}`](#{anchor(name)})"


def record_link(name: str) -> str:
    """To a record on this page; methods come first, and where the two are alike, records count."""
    again = "-1" if anchor(name) in METHOD_ANCHORS else ""
    return f"[{name}](#{anchor(name)}{again})"


METHOD_ANCHORS = frozenset(anchor(method["name"]) for method in DOCUMENT["methods"])


def main() -> None:
    if "--check" in sys.argv[1:]:
        current = PAGE.exists() and PAGE.read_text() == drawn()
        raise SystemExit(0 if current else f"{PAGE} is out of date: run {__file__}")
    PAGE.write_text(drawn())


if __name__ == "__main__":
    main()
